//! Limits the memory and tables of one call, summed over all core modules of the component, and what the engine keeps for the
//! instance.

use wasmtime::ResourceLimiter;

use crate::sandbox::compile::TABLE_ELEMENT;
use crate::sandbox::fairness::{CallMemory, NoMemory};
use crate::sandbox::limits::Limits;

/// Tables of one instance, including empty ones: the engine keeps a record of each.
pub(super) const MAX_TABLES: usize = 1_000;

/// Memories of one instance. Each takes several memory mappings, and the system limits how many a process can have.
pub(in crate::sandbox) const MAX_MEMORIES: usize = 8;

/// The limit that denied growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Memory,
    TableElements,
    /// The memory that all guests share.
    HostMemory(NoMemory),
}

/// Counts what the instance holds and remembers which limit it hit: the engine reports refused growth to the guest as
/// an ordinary failure, and the crash that follows looks like any other.
#[derive(Debug)]
pub(super) struct Limiter {
    memory_limit: usize,
    /// Bytes of memories, tables and the instance itself.
    memory: usize,
    peak_memory: usize,
    table_limit: usize,
    tables: usize,
    instance_limit: usize,
    refused: Option<Refused>,
    /// What the call holds of the memory of all guests.
    shared: CallMemory,
}

impl Limiter {
    pub(super) fn new(limits: &Limits, shared: CallMemory) -> Self {
        Self {
            memory_limit: usize::try_from(limits.memory).unwrap_or(usize::MAX),
            memory: 0,
            peak_memory: 0,
            table_limit: limits.table_elements as usize,
            tables: 0,
            instance_limit: limits.core_instances as usize,
            refused: None,
            shared,
        }
    }

    /// The highest total of memories, tables and the instance itself, in bytes.
    pub(super) fn peak_memory(&self) -> u64 {
        self.peak_memory as u64
    }

    /// Charges what the engine keeps for the instance, before it is created. The limit was checked when the component was
    /// loaded.
    pub(super) fn hold_instance(&mut self, bytes: usize) -> Result<(), NoMemory> {
        self.shared.take(bytes)?;
        self.memory = self.memory.saturating_add(bytes);
        self.peak_memory = self.peak_memory.max(self.memory);
        Ok(())
    }

    /// Charges `bytes` more for a memory or a table.
    fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        let memory = self.memory.saturating_add(bytes);
        if memory > self.memory_limit {
            return Err(Refused::Memory);
        }
        self.shared.take(bytes).map_err(Refused::HostMemory)?;
        self.memory = memory;
        self.peak_memory = self.peak_memory.max(memory);
        Ok(())
    }

    /// What the call holds of the memory of all guests.
    pub(super) fn shared(&mut self) -> &mut CallMemory {
        &mut self.shared
    }

    /// The limit that was hit last.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = desired.saturating_sub(current);
        // Checked first, because the engine also passes the size of the pool as a maximum.
        if self.memory.saturating_add(bytes) > self.memory_limit {
            self.refused = Some(Refused::Memory);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The guest's own maximum: nothing grows, so nothing is charged, and no limit of the host was hit.
            return Ok(false);
        }
        if let Err(refused) = self.grow(bytes) {
            self.refused = Some(refused);
            return Ok(false);
        }
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let elements = desired.saturating_sub(current);
        let tables = self.tables.saturating_add(elements);
        if tables > self.table_limit {
            self.refused = Some(Refused::TableElements);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if let Err(refused) = self.grow(elements.saturating_mul(TABLE_ELEMENT)) {
            self.refused = Some(refused);
            return Ok(false);
        }
        self.tables = tables;
        Ok(true)
    }

    // These three limit the number of instances, tables and memories. Their elements and bytes are counted above.
    fn instances(&self) -> usize {
        self.instance_limit
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sandbox::fairness::GuestMemory;

    fn limiter(limits: &Limits, host_memory: u64) -> Limiter {
        let share = GuestMemory::new(Some(host_memory)).share("t".into());
        Limiter::new(limits, CallMemory::new(share, 0))
    }

    #[test]
    fn the_memory_of_all_guests_limits_each() {
        let mut limiter = limiter(&Limits::default(), 800);
        assert!(limiter.memory_growing(0, 300, None).unwrap());
        assert!(!limiter.memory_growing(300, 301, None).unwrap());
        let refused = Refused::HostMemory(NoMemory::TooMuch { limit: 300 });
        assert_eq!((limiter.peak_memory(), limiter.refused()), (300, Some(refused)));
    }

    #[test]
    fn memories_share_one_limit() {
        let limits = Limits {
            memory: 100,
            ..Limits::default()
        };
        let mut limiter = limiter(&limits, u64::MAX);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert_eq!((limiter.peak_memory(), limiter.refused()), (100, Some(Refused::Memory)));
    }

    #[test]
    fn a_guests_own_maximum_is_not_our_limit() {
        let mut limiter = limiter(&Limits::default(), u64::MAX);
        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!limiter.table_growing(0, 60, Some(50)).unwrap());
        assert_eq!((limiter.peak_memory(), limiter.refused()), (0, None));
    }

    #[test]
    fn the_instance_and_its_tables_count_as_memory() {
        let limits = Limits {
            memory: 1_000,
            ..Limits::default()
        };
        let mut limiter = limiter(&limits, 80_000);
        limiter.hold_instance(600).unwrap();
        assert!(limiter.table_growing(0, 25, None).unwrap());
        assert_eq!(limiter.peak_memory(), 800);
        assert!(!limiter.table_growing(25, 51, None).unwrap());
        assert!(!limiter.memory_growing(0, 201, None).unwrap());
        assert_eq!((limiter.peak_memory(), limiter.refused()), (800, Some(Refused::Memory)));
        assert!(limiter.memory_growing(0, 200, None).unwrap());
    }

    #[test]
    fn the_instance_and_its_tables_count_towards_the_memory_of_all_guests() {
        let too_much = NoMemory::TooMuch { limit: 300 };
        assert_eq!(limiter(&Limits::default(), 800).hold_instance(301), Err(too_much));
        let mut limiter = limiter(&Limits::default(), 800);
        limiter.hold_instance(200).unwrap();
        assert!(!limiter.table_growing(0, 13, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::HostMemory(too_much)));
        assert!(limiter.table_growing(0, 12, None).unwrap());
    }

    #[test]
    fn tables_share_one_limit() {
        let limits = Limits {
            table_elements: 10,
            ..Limits::default()
        };
        let mut limiter = limiter(&limits, u64::MAX);
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::TableElements));
    }
}
