//! What calls need of the system that they run on.

mod descriptors;
mod mappings;

pub(super) use self::descriptors::make_room;
pub(super) use self::mappings::check as check_mappings;
use super::fairness::GuestMemory;
use super::limits::EngineSettings;

/// A limit of the system on the whole process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemLimit {
    /// What is limited, in the plural.
    pub what: &'static str,
    pub has: u64,
    /// What as many calls as can run at once usually need.
    pub needed: u64,
    /// What to do if there is too little.
    pub hint: &'static str,
}

impl SystemLimit {
    pub const fn is_enough(&self) -> bool {
        self.has >= self.needed
    }
}

/// The limits of this system that calls can reach, as far as the system says what they are.
pub fn system_limits(settings: &EngineSettings) -> Vec<SystemLimit> {
    let calls = settings.host_concurrency;
    std::iter::once(descriptors::limit(calls))
        .chain(mappings::limit(calls))
        .collect()
}

/// The bytes that all guests together can have; `None` if the system doesn't say how much memory there is.
pub fn guest_memory(settings: &EngineSettings) -> Option<u64> {
    let limit = GuestMemory::new(settings.host_memory).limit();
    (limit < u64::MAX).then_some(limit)
}

/// Whether the kernel can reset the memory of a finished call without copying it, which more than halves the cost of a call.
pub fn resets_memory_fast() -> bool {
    wasmtime::PoolingAllocationConfig::is_pagemap_scan_available()
}
