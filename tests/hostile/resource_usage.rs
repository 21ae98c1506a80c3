//! The resource usage of this process, as the kernel reports it.

use std::time::Duration;

/// Allowed memory growth: allocators keep some freed memory.
const MEMORY_SLACK: u64 = 96 << 20;

#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceUsage {
    files: usize,
    threads: usize,
    memory: u64,
    children: usize,
}

impl ResourceUsage {
    pub(crate) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let figure = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let children = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
            let list = task.unwrap().path().join("children");
            // A thread may have ended meanwhile.
            std::fs::read_to_string(list).map_or(0, |list| list.split_whitespace().count())
        });
        Self {
            files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: usize::try_from(figure("Threads:")).unwrap(),
            memory: figure("VmRSS:") * 1024,
            children: children.sum(),
        }
    }

    pub(crate) fn with_memory_of(&self, other: &Self) -> Self {
        Self {
            memory: other.memory,
            ..*self
        }
    }

    fn is_within(&self, before: &Self, blocking_threads: usize) -> bool {
        self.files <= before.files
            && self.threads <= before.threads + blocking_threads
            && self.memory <= before.memory + MEMORY_SLACK
            && self.children <= before.children
    }
}

/// Whether usage returns to `before`. Released resources can take a moment to disappear, so it polls.
pub(crate) async fn returns_to(before: &ResourceUsage, blocking_threads: usize) -> Result<(), ResourceUsage> {
    let mut now = ResourceUsage::now();
    for _ in 0..100 {
        if now.is_within(before, blocking_threads) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        now = ResourceUsage::now();
    }
    Err(now)
}
