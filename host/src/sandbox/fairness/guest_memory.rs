//! The memory of all guests together. Each call has its own limit, but hundreds of calls at their limits need more than the
//! machine has, and the out-of-memory killer then ends the largest process: this one.

use std::collections::HashMap;
use std::hash::Hash;
#[cfg(any(not(target_os = "macos"), test))]
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Room for accounts, at first.
const MIN_ACCOUNTS: usize = 64;

/// The memory that a host's guests share. Clones share it too.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct GuestMemory {
    /// Bytes.
    limit: u64,
    held: Arc<Mutex<Held>>,
    /// The plugin whose guests take from this handle.
    plugin: Arc<str>,
}

/// Bytes held, by owner.
#[derive(Debug, Default)]
struct Held {
    all: u64,
    by_tenant: Accounts<Arc<str>>,
    by_plugin: Accounts<Arc<str>>,
    /// By tenant and plugin.
    by_both: Accounts<(Arc<str>, Arc<str>)>,
}

/// The accounts of owners of one kind. Accounts that nobody uses are removed before the map grows.
#[derive(Debug)]
struct Accounts<K>(HashMap<K, Account>);

/// The bytes that an owner holds. Read and written only while [`Held`] is locked.
#[derive(Clone, Debug, Default)]
struct Account(Arc<AtomicU64>);

/// The memory that one call holds. Dropping it releases the memory.
#[derive(Debug)]
pub(in crate::sandbox) struct MemoryShare {
    memory: GuestMemory,
    tenant: Arc<str>,
    held: u64,
    /// Looked up when the call first takes memory.
    owners: Option<Owners>,
}

/// The accounts of one call's owners.
#[derive(Debug)]
struct Owners {
    tenant: Account,
    plugin: Account,
    both: Account,
}

/// Why a call gets no more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::sandbox) enum NoMemory {
    #[error("a call can't have more than {limit} bytes of the host's memory")]
    TooMuch { limit: u64 },
    #[error("other calls hold the host's memory")]
    TakenByOthers,
}

impl GuestMemory {
    /// Allows `limit` bytes. The default is three quarters of the memory available to this process.
    pub(in crate::sandbox) fn new(limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or_else(|| match available() {
            Some(bytes) => bytes / 4 * 3,
            None => {
                tracing::warn!("can't find out how much memory this machine has: set [limits] host_memory");
                u64::MAX
            }
        });
        Self {
            limit,
            held: Arc::default(),
            plugin: "".into(),
        }
    }

    /// Bytes.
    pub(in crate::sandbox) const fn limit(&self) -> u64 {
        self.limit
    }

    pub(in crate::sandbox) fn for_plugin(&self, name: &str) -> Self {
        Self {
            plugin: name.into(),
            ..self.clone()
        }
    }

    /// The share for `list-tools`, which runs without a tenant. Each plugin counts as a tenant of its own here, with a name that
    /// no tenant can have.
    pub(in crate::sandbox) fn share_for_list(&self) -> MemoryShare {
        self.share(format!("\n{}", self.plugin).into())
    }

    pub(in crate::sandbox) fn share(&self, tenant: Arc<str>) -> MemoryShare {
        MemoryShare {
            memory: self.clone(),
            tenant,
            held: 0,
            owners: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryShare {
    /// Takes `bytes` more, or fails and takes nothing.
    pub(in crate::sandbox) fn take(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let bytes = bytes as u64;
        if bytes == 0 {
            return Ok(());
        }
        let Self {
            memory, tenant, owners, ..
        } = self;
        let plugin_limit = memory.limit / 2;
        // The most that the rules below allow a call that is alone.
        let limit = memory.limit / 8 * 3;
        let own = self.held.saturating_add(bytes);
        if own > limit {
            return Err(NoMemory::TooMuch { limit });
        }
        let mut held = memory.lock();
        let owners = owners.get_or_insert_with(|| held.owners(tenant, &memory.plugin));
        let all = held.all + bytes;
        let of_tenant = owners.tenant.get() + bytes;
        let of_plugin = owners.plugin.get() + bytes;
        let of_both = owners.both.get() + bytes;
        // However many hold memory, some is left for the next. A tenant leaves a third of what it holds free. A plugin leaves to
        // its tenant's other plugins as much as it holds for that tenant. Of a plugin's half, a tenant leaves a third of what it
        // holds. What one plugin holds doesn't count against another plugin's half: otherwise a tenant could use some plugins to
        // block another one for every tenant.
        let left_to_tenants = memory.limit.checked_sub(all).map(|free| free.saturating_mul(3));
        let left_to_tenant = left_to_tenants.and_then(|left| left.checked_sub(of_tenant));
        let left_of_plugin = plugin_limit.checked_sub(of_plugin).map(|left| left.saturating_mul(3));
        if left_to_tenant.is_none_or(|left| of_both > left) || left_of_plugin.is_none_or(|left| of_both > left) {
            return Err(NoMemory::TakenByOthers);
        }
        held.all = all;
        owners.tenant.set(of_tenant);
        owners.plugin.set(of_plugin);
        owners.both.set(of_both);
        self.held = own;
        Ok(())
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        let Some(owners) = &self.owners else { return };
        let mut held = self.memory.lock();
        held.all = held.all.saturating_sub(self.held);
        for account in [&owners.tenant, &owners.plugin, &owners.both] {
            account.set(account.get().saturating_sub(self.held));
        }
    }
}

impl Held {
    fn owners(&mut self, tenant: &Arc<str>, plugin: &Arc<str>) -> Owners {
        Owners {
            tenant: self.by_tenant.get(tenant),
            plugin: self.by_plugin.get(plugin),
            both: self.by_both.get(&(tenant.clone(), plugin.clone())),
        }
    }
}

impl<K: Clone + Eq + Hash> Accounts<K> {
    fn get(&mut self, owner: &K) -> Account {
        if let Some(account) = self.0.get(owner) {
            return account.clone();
        }
        if self.0.len() == self.0.capacity() {
            self.0.retain(|_, account| account.is_used());
            // Room for as many again, so that this is seldom.
            self.0.reserve(self.0.len().max(MIN_ACCOUNTS));
        }
        self.0.entry(owner.clone()).or_default().clone()
    }
}

impl<K> Default for Accounts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl Account {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Whether a call has it. Only those hold memory.
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Bytes available to this process: the memory of the machine.
#[cfg(target_os = "macos")]
fn available() -> Option<u64> {
    let output = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "hw.memsize"])
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Bytes available to this process: the memory of the machine, or less if a control group limits it.
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

/// The limit files of this process's control group and all its ancestors, for cgroups v1 and v2. The caller skips files that
/// don't exist or say `max`.
#[cfg(any(not(target_os = "macos"), test))]
fn group_files(groups: &str) -> impl Iterator<Item = PathBuf> {
    let file = |line: &str| {
        let (hierarchy, path) = line.split_once(':')?.1.split_once(':')?;
        let (root, name) = match hierarchy {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let group = Path::new(root).join(path.trim_start_matches('/'));
        let files: Vec<_> = group
            .ancestors()
            .take_while(|folder| folder.starts_with(root))
            .map(|folder| folder.join(name))
            .collect();
        Some(files)
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
    fn calls_share_memory_and_release_it() {
        let memory = GuestMemory::new(Some(800));
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        let plugin = memory.for_plugin("p");
        let mut first = plugin.share(a.clone());
        assert_eq!(first.take(301), Err(NoMemory::TooMuch { limit: 300 }));
        assert_eq!(first.take(300), Ok(()));
        assert_eq!(plugin.share(a.clone()).take(1), Err(NoMemory::TakenByOthers));
        drop(first);
        assert_eq!(plugin.share(a).take(300), Ok(()));
        assert_eq!(memory.share(b.clone()).take(0), Ok(()));
        assert_eq!(memory.lock().all, 0);
        assert_eq!(plugin.share(b).take(300), Ok(()));
    }

    #[test]
    fn accounts_of_owners_without_calls_are_removed() {
        let memory = GuestMemory::new(Some(1 << 30));
        let mut kept = memory.share("kept".into());
        assert_eq!(kept.take(7), Ok(()));
        for number in 0..10_000 {
            let mut share = memory.for_plugin(&number.to_string()).share(number.to_string().into());
            assert_eq!(share.take(1), Ok(()));
        }
        let held = memory.lock();
        let accounts = [held.by_tenant.0.len(), held.by_plugin.0.len(), held.by_both.0.len()];
        assert!(
            accounts.iter().all(|number| *number <= 4 * MIN_ACCOUNTS),
            "{accounts:?}"
        );
        let of_kept = held.by_tenant.0.get("kept").map(Account::get);
        assert_eq!((held.all, of_kept), (7, Some(7)));
    }

    /// Each call takes as much as it can, and the next one still gets some: across the tenants of one plugin, across tenants with
    /// a plugin each, and across the plugins of one tenant.
    #[test]
    fn greedy_calls_leave_memory_for_the_next() {
        let greedy = |tenant: &dyn Fn(u32) -> String, plugin: &dyn Fn(u32) -> String| {
            let memory = GuestMemory::new(Some(1 << 30));
            let mut shares = Vec::new();
            for number in 0..5 {
                let mut share = memory.for_plugin(&plugin(number)).share(tenant(number).into());
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

    /// A tenant that holds memory through several plugins leaves each of them usable for other tenants.
    #[test]
    fn what_other_plugins_hold_blocks_no_plugin() {
        let memory = GuestMemory::new(Some(800));
        let plugins = ["p", "q", "r"].map(|plugin| memory.for_plugin(plugin));
        let mut shares = plugins.each_ref().map(|plugin| plugin.share("greedy".into()));
        for (share, bytes) in shares.iter_mut().zip([300, 200, 50]) {
            assert_eq!(share.take(bytes), Ok(()));
        }
        for plugin in &plugins {
            assert_eq!(plugin.share("modest".into()).take(60), Ok(()));
        }
    }

    #[test]
    fn available_memory_is_read_from_the_machine_and_its_control_groups() {
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
