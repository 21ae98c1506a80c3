//! What this process holds, as the system counts it.

use std::time::Duration;

/// Memory may grow by this much and no more, whatever was done: allocators keep some of what they had.
const MEMORY_SLACK: u64 = 96 << 20;

#[derive(Debug)]
pub(crate) struct Traces {
    files: usize,
    threads: usize,
    memory: u64,
    children: usize,
}

impl Traces {
    pub(crate) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let figure = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let children = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
            let list = task.unwrap().path().join("children");
            // A thread may end meanwhile.
            std::fs::read_to_string(list).map_or(0, |list| list.split_whitespace().count())
        });
        Self {
            files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: usize::try_from(figure("Threads:")).unwrap(),
            memory: figure("VmRSS:") * 1024,
            children: children.sum(),
        }
    }

    fn is_within(&self, before: &Self, blocking_threads: usize) -> bool {
        self.files <= before.files
            && self.threads <= before.threads + blocking_threads
            && self.memory <= before.memory + MEMORY_SLACK
            && self.children <= before.children
    }
}

/// What was let go may take a moment to be gone.
pub(crate) async fn expect_none_since(before: &Traces, name: &str, blocking_threads: usize) {
    let mut now = Traces::now();
    for _ in 0..100 {
        if now.is_within(before, blocking_threads) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        now = Traces::now();
    }
    panic!("{name}: something is left behind: {now:?}, before {before:?}");
}
