//! What the memories of all guests come to. Each call has its own limit, but hundreds of calls at their limits are more than a
//! machine has, and the system then ends the process that asked for most: this one.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory of a host's guests. Clones share it.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct GuestMemory {
    most: u64,
    held: Arc<Mutex<Held>>,
    /// Whose guests these are.
    plugin: Arc<str>,
}

/// By whom how much is held; who holds none stands in neither.
#[derive(Debug, Default)]
struct Held {
    all: u64,
    by_tenant: HashMap<Arc<str>, u64>,
    by_plugin: HashMap<Arc<str>, u64>,
    /// Of a tenant with a plugin.
    by_both: HashMap<(Arc<str>, Arc<str>), u64>,
}

/// What one call holds of it. Dropping it gives it back.
#[derive(Debug)]
pub(in crate::sandbox) struct MemoryShare {
    memory: GuestMemory,
    tenant: Arc<str>,
    held: u64,
}

/// Why there is no more for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::sandbox) enum NoMemory {
    #[error("no call may have more than {most} bytes of the host's memory")]
    TooMuch { most: u64 },
    #[error("others hold the host's memory")]
    TakenByOthers,
}

impl GuestMemory {
    /// `most` bytes, or three quarters of what this process may have.
    pub(in crate::sandbox) fn new(most: Option<u64>) -> Self {
        let most = most.unwrap_or_else(|| match available() {
            Some(bytes) => bytes / 4 * 3,
            None => {
                tracing::warn!("this machine does not say how much memory it has: set [limits] host_memory");
                u64::MAX
            }
        });
        Self {
            most,
            held: Arc::default(),
            plugin: "".into(),
        }
    }

    pub(in crate::sandbox) fn of_plugin(&self, name: &str) -> Self {
        Self {
            plugin: name.into(),
            ..self.clone()
        }
    }

    /// For a component that is asked for its tools, on nobody's behalf: for each by itself, as for a tenant of its own. No tenant
    /// has such a name.
    pub(in crate::sandbox) fn share_for_list(&self) -> MemoryShare {
        self.share(format!("\n{}", self.plugin).into())
    }

    pub(in crate::sandbox) fn share(&self, tenant: Arc<str>) -> MemoryShare {
        MemoryShare {
            memory: self.clone(),
            tenant,
            held: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryShare {
    /// Takes so many bytes more, if there are as many.
    pub(in crate::sandbox) fn take(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let bytes = bytes as u64;
        if bytes == 0 {
            return Ok(());
        }
        let Self { memory, tenant, .. } = self;
        let for_a_plugin = memory.most / 2;
        // What the rules below come to for who is alone.
        let most = memory.most / 8 * 3;
        let own = self.held.saturating_add(bytes);
        if own > most {
            return Err(NoMemory::TooMuch { most });
        }
        let mut held = memory.lock();
        let both = (tenant.clone(), memory.plugin.clone());
        let all = held.all + bytes;
        let of_tenant = held.by_tenant.get(tenant).unwrap_or(&0) + bytes;
        let of_plugin = held.by_plugin.get(&memory.plugin).unwrap_or(&0) + bytes;
        let of_both = held.by_both.get(&both).unwrap_or(&0) + bytes;
        // There is always some for the next, however many hold some: a tenant leaves a third of what it holds free, a plugin
        // leaves as much to its tenant's other plugins as it holds for it, and a tenant a third of what it holds of a plugin's
        // half. What one plugin holds takes nothing from another's half, or a tenant could close one to everybody by the others.
        let left_to_tenants = memory.most.checked_sub(all).map(|free| free.saturating_mul(3));
        let left_to_tenant = left_to_tenants.and_then(|left| left.checked_sub(of_tenant));
        let left_of_plugin = for_a_plugin.checked_sub(of_plugin).map(|left| left.saturating_mul(3));
        if left_to_tenant.is_none_or(|left| of_both > left) || left_of_plugin.is_none_or(|left| of_both > left) {
            return Err(NoMemory::TakenByOthers);
        }
        held.all = all;
        held.by_tenant.insert(tenant.clone(), of_tenant);
        held.by_plugin.insert(memory.plugin.clone(), of_plugin);
        held.by_both.insert(both, of_both);
        self.held = own;
        Ok(())
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        let Self { memory, tenant, held } = self;
        if *held == 0 {
            return;
        }
        let all = &mut *memory.lock();
        all.all = all.all.saturating_sub(*held);
        give_back(&mut all.by_tenant, tenant, *held);
        give_back(&mut all.by_plugin, &memory.plugin, *held);
        give_back(&mut all.by_both, &(tenant.clone(), memory.plugin.clone()), *held);
    }
}

fn give_back<K: Clone + Eq + Hash>(held: &mut HashMap<K, u64>, whose: &K, bytes: u64) {
    let left = held.get(whose).copied().unwrap_or(0).saturating_sub(bytes);
    match left {
        0 => held.remove(whose),
        left => held.insert(whose.clone(), left),
    };
}

/// Bytes that this process may have: those of the machine.
#[cfg(target_os = "macos")]
fn available() -> Option<u64> {
    let output = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "hw.memsize"])
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Bytes that this process may have: those of the machine, or fewer where its control group says so.
#[cfg(not(target_os = "macos"))]
fn available() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_files(&groups).filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.chain(machine).min()
}

/// `MemTotal:       24689708 kB`
#[cfg(any(not(target_os = "macos"), test))]
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The limits of this process's group and of all groups around it; of both versions of control groups. What is none, or says
/// `max`, is none.
#[cfg(any(not(target_os = "macos"), test))]
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
        let memory = GuestMemory::new(Some(800));
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        let plugin = memory.of_plugin("p");
        let mut first = plugin.share(a.clone());
        assert_eq!(first.take(301), Err(NoMemory::TooMuch { most: 300 }));
        assert_eq!(first.take(300), Ok(()));
        assert_eq!(plugin.share(a.clone()).take(1), Err(NoMemory::TakenByOthers));
        drop(first);
        assert_eq!(plugin.share(a).take(300), Ok(()));
        assert_eq!(memory.share(b).take(0), Ok(()));
        let held = memory.lock();
        assert!(
            held.all == 0 && held.by_tenant.is_empty() && held.by_plugin.is_empty() && held.by_both.is_empty(),
            "{held:?}"
        );
    }

    /// Each takes as much as it gets, and none is the last that gets some: of tenants that work together with a plugin each, of the
    /// tenants of one plugin, and of the plugins of one tenant.
    #[test]
    fn there_is_some_for_the_next() {
        let greedy = |tenant: &dyn Fn(u32) -> String, plugin: &dyn Fn(u32) -> String| {
            let memory = GuestMemory::new(Some(1 << 30));
            let mut shares = Vec::new();
            for number in 0..5 {
                let mut share = memory.of_plugin(&plugin(number)).share(tenant(number).into());
                let mut got = 0;
                let mut step = 1 << 30;
                while step > 0 {
                    match share.take(step) {
                        Ok(()) => got += step,
                        Err(_) => step /= 2,
                    }
                }
                shares.push((share, got));
            }
            shares.iter().map(|(_, got)| *got).collect::<Vec<_>>()
        };
        let one = |_| "one".to_owned();
        let many = |number: u32| number.to_string();
        for got in [greedy(&many, &one), greedy(&many, &many), greedy(&one, &many)] {
            assert!(got[0] > 350 << 20, "{got:?}");
            assert!(got.iter().all(|got| *got > 512 << 10), "{got:?}");
        }
        let of_one_tenant: usize = greedy(&one, &many).iter().sum();
        assert!(of_one_tenant <= 768 << 20, "a quarter is for others: {of_one_tenant}");
    }

    /// Whatever a tenant holds by other plugins, each of them is there for the others.
    #[test]
    fn no_plugin_is_closed_by_what_others_hold() {
        let memory = GuestMemory::new(Some(800));
        let plugins = ["p", "q", "r"].map(|plugin| memory.of_plugin(plugin));
        let mut shares = plugins.each_ref().map(|plugin| plugin.share("greedy".into()));
        for (share, bytes) in shares.iter_mut().zip([300, 200, 50]) {
            assert_eq!(share.take(bytes), Ok(()));
        }
        for plugin in &plugins {
            assert_eq!(plugin.share("modest".into()).take(60), Ok(()));
        }
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
        assert!(
            available() > Some(1 << 28),
            "this test itself needs some: {:?}",
            available()
        );
    }
}
