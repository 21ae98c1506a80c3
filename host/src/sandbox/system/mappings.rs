//! Memory mappings that calls need. Linux limits them per process (`vm.max_map_count`), and a process at the limit can't start a
//! thread or open a database.

use super::SystemLimit;
use crate::sandbox::call::MAX_MEMORIES;

/// Mappings of one memory: its guard regions, its initial size, its image, and its growth.
const PER_MEMORY: u64 = 4;
/// Mappings of the rest of a call: its stack, tables, and what the host holds for it.
const PER_CALL: u64 = 8;
/// Mappings for the rest of the process.
const RESERVED: u64 = 8_192;

/// Logs a hint if `calls` can use up the mappings of this process.
pub(in crate::sandbox) fn check(calls: u32) {
    if let Some(SystemLimit { has, needed, hint, .. }) = limit(calls).filter(|limit| !limit.is_enough()) {
        tracing::info!(
            has,
            needed,
            "calls could use up the memory mappings of this process: {hint}"
        );
    }
}

/// The limit of this process, and what `calls` need. `None` if the system has none.
pub(in crate::sandbox) fn limit(calls: u32) -> Option<SystemLimit> {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
    Some(SystemLimit {
        what: "memory mappings",
        has: text.trim().parse().ok()?,
        needed: needed(calls),
        hint: "lower [limits] host_concurrency, or raise `sysctl vm.max_map_count`",
    })
}

fn needed(calls: u32) -> u64 {
    let each = PER_MEMORY * MAX_MEMORIES as u64 + PER_CALL;
    each.saturating_mul(calls.into()).saturating_add(RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::EngineSettings;

    #[test]
    fn the_default_concurrency_fits_the_default_of_linux() {
        assert!(needed(EngineSettings::default().host_concurrency) < 65_530);
        assert!(needed(10_000) > 65_530);
    }
}
