//! Pieces of address space that calls may take: the system has a bound on them (`vm.max_map_count`), and a process that met it
//! can start no thread and open no database.

use super::limiter::MAX_MEMORIES;

/// Of one memory: what guards it, what it has, its image, and what it grew by.
const OF_A_MEMORY: u64 = 4;
/// Of the rest of a call: its stack, tables, and what the host holds for it.
const OF_A_CALL: u64 = 8;
/// What the rest of the process needs.
const OWN: u64 = 8_192;

/// Tells the operator where so many calls could use up what the system gives.
pub(in crate::sandbox) fn check(calls: u32) {
    let Ok(text) = std::fs::read_to_string("/proc/sys/vm/max_map_count") else {
        return;
    };
    let needed = needed(calls);
    if let Ok(has) = text.trim().parse::<u64>()
        && has < needed
    {
        tracing::info!(
            has,
            needed,
            "calls could use up the memory mappings of this process: lower [limits] host_concurrency, or raise `sysctl vm.max_map_count`"
        );
    }
}

fn needed(calls: u32) -> u64 {
    let of_a_call = OF_A_MEMORY * MAX_MEMORIES as u64 + OF_A_CALL;
    of_a_call.saturating_mul(calls.into()).saturating_add(OWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::EngineSettings;

    #[test]
    fn the_defaults_fit_what_linux_gives() {
        assert!(needed(EngineSettings::default().host_concurrency) < 65_530);
        assert!(needed(10_000) > 65_530);
    }
}
