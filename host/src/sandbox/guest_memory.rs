//! What the memories of all guests come to. Each call has its own limit, but hundreds of calls at their limits are more than a
//! machine has, and the system then ends the process that asked for most: this one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The memory of a host's guests. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct GuestMemory {
    most: u64,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: u64,
    by_tenant: HashMap<Arc<str>, u64>,
}

/// What one call holds of it. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct MemoryShare {
    memory: GuestMemory,
    tenant: Arc<str>,
    held: u64,
}

impl GuestMemory {
    /// `most` bytes, or three quarters of what this process may have.
    pub(super) fn new(most: Option<u64>) -> Self {
        Self {
            most: most.unwrap_or_else(|| available() / 4 * 3),
            held: Arc::default(),
        }
    }

    /// A tenant always leaves some to others.
    const fn most_for_one(&self) -> u64 {
        self.most / 4 * 3
    }

    pub(super) fn share(&self, tenant: Arc<str>) -> MemoryShare {
        MemoryShare {
            memory: self.clone(),
            tenant,
            held: 0,
        }
    }
}

impl MemoryShare {
    /// Takes so many bytes more, if there are as many.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let mut held = self.memory.held.lock().unwrap_or_else(PoisonError::into_inner);
        let all = held.all.saturating_add(bytes);
        let of_tenant = held.by_tenant.get(&self.tenant).copied().unwrap_or(0);
        let of_tenant = of_tenant.saturating_add(bytes);
        if all > self.memory.most || of_tenant > self.memory.most_for_one() {
            return false;
        }
        held.all = all;
        held.by_tenant.insert(self.tenant.clone(), of_tenant);
        self.held += bytes;
        true
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        if self.held == 0 {
            return;
        }
        let mut held = self.memory.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(self.held);
        let left = held.by_tenant.get(&self.tenant).copied().unwrap_or(0);
        match left.saturating_sub(self.held) {
            0 => held.by_tenant.remove(&self.tenant),
            left => held.by_tenant.insert(self.tenant.clone(), left),
        };
    }
}

/// Bytes that this process may have: those of the machine, or fewer where its control group says so.
fn available() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_files(&groups).filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.chain(machine).min().unwrap_or(u64::MAX)
}

/// `MemTotal:       24689708 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The limits of this process's group and of all groups around it; of both versions of control groups. What is none, or says
/// `max`, is none.
fn group_files(groups: &str) -> impl Iterator<Item = PathBuf> {
    let file = |line: &str| {
        let (hierarchy, path) = line.split_once(':')?.1.split_once(':')?;
        let (root, name) = match hierarchy {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let own = Path::new(root).join(path.trim_start_matches('/'));
        let around: Vec<_> = own
            .ancestors()
            .take_while(|folder| folder.starts_with(root))
            .map(|folder| folder.join(name))
            .collect();
        Some(around)
    };
    groups
        .lines()
        .filter_map(file)
        .flatten()
        .collect::<Vec<_>>()
        .into_iter()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn calls_share_it_and_give_it_back() {
        let memory = GuestMemory::new(Some(100));
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        let (mut first, mut second) = (memory.share(a.clone()), memory.share(a));
        assert!(first.take(50) && second.take(25));
        assert!(!second.take(1), "a tenant leaves a quarter to others");
        let mut other = memory.share(b.clone());
        assert!(other.take(25));
        assert!(!memory.share(b).take(1), "there is no more");
        drop(first);
        assert!(second.take(50) && !second.take(1));
        drop((second, other));
        let held = memory.held.lock().unwrap();
        assert!(held.all == 0 && held.by_tenant.is_empty(), "{held:?}");
    }

    #[test]
    fn the_machine_and_the_groups_around_this_process_say_what_there_is() {
        assert_eq!(
            total("MemFree: 1 kB\nMemTotal:       24689708 kB\n"),
            Some(24_689_708 << 10)
        );
        assert_eq!(total("nonsense"), None);
        let files: Vec<_> = group_files("4:memory:/a\n0::/b/c\n1:cpu:/d\n").collect();
        let expected = [
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/b/c/memory.max",
            "/sys/fs/cgroup/b/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        assert!(available() > 1 << 28, "this test itself needs some: {}", available());
    }
}
