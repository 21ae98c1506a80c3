//! Memory and tables of one call, summed over everything the component brings, and what the engine keeps for its instance.

use wasmtime::ResourceLimiter;

use crate::sandbox::compile::TABLE_ELEMENT;
use crate::sandbox::fairness::{MemoryShare, NoMemory};
use crate::sandbox::limits::Limits;

/// Tables of one instance, empty ones included: the engine keeps a record of each.
pub(super) const MAX_TABLES: usize = 1_000;

/// Memories of one instance. Each takes several pieces of the address space, of which the system gives a process only so many.
pub(super) const MAX_MEMORIES: usize = 8;

/// The limit at which growth was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Memory,
    TableElements,
    /// Of what all guests have.
    HostMemory(NoMemory),
}

/// Counts what the instance holds and remembers which limit it ran into: the engine turns a refused growth into an
/// ordinary failure inside the guest, whose crash then looks like any other.
#[derive(Debug)]
pub(super) struct Limiter {
    memory_limit: usize,
    /// Of memories, tables and the instance itself.
    memory: usize,
    peak_memory: usize,
    table_limit: usize,
    tables: usize,
    instance_limit: usize,
    refused: Option<Refused>,
    /// Of what all guests have.
    share: MemoryShare,
}

impl Limiter {
    pub(super) fn new(limits: &Limits, share: MemoryShare) -> Self {
        Self {
            memory_limit: usize::try_from(limits.memory).unwrap_or(usize::MAX),
            memory: 0,
            peak_memory: 0,
            table_limit: limits.table_elements as usize,
            tables: 0,
            instance_limit: limits.core_instances as usize,
            refused: None,
            share,
        }
    }

    /// The most that memories, tables and the instance itself ever took together, in bytes.
    pub(super) fn peak_memory(&self) -> u64 {
        self.peak_memory as u64
    }

    /// Takes what the engine keeps for the instance, before there is one. That it is within the limit was checked when the
    /// component was loaded.
    pub(super) fn hold_instance(&mut self, bytes: usize) -> Result<(), NoMemory> {
        self.share.take(bytes)?;
        self.memory = self.memory.saturating_add(bytes);
        self.peak_memory = self.peak_memory.max(self.memory);
        Ok(())
    }

    /// Takes so many bytes more for a memory or a table.
    fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        let memory = self.memory.saturating_add(bytes);
        if memory > self.memory_limit {
            return Err(Refused::Memory);
        }
        self.share.take(bytes).map_err(Refused::HostMemory)?;
        self.memory = memory;
        self.peak_memory = self.peak_memory.max(memory);
        Ok(())
    }

    /// Takes what the host holds for the guest from what all guests have.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), NoMemory> {
        self.share.take(bytes)
    }

    /// The limit that was met last.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = desired.saturating_sub(current);
        // First, for the engine takes the size of the pool for a maximum as well.
        if self.memory.saturating_add(bytes) > self.memory_limit {
            self.refused = Some(Refused::Memory);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The guest's own bound: nothing grows, so nothing is counted, and no limit of ours was met.
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

    // These three bound how many there may be at all; the elements and bytes in them are counted above.
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
        Limiter::new(limits, GuestMemory::new(Some(host_memory)).share("t".into()))
    }

    #[test]
    fn what_all_guests_have_bounds_each() {
        let mut limiter = limiter(&Limits::default(), 800);
        assert!(limiter.memory_growing(0, 300, None).unwrap());
        assert!(!limiter.memory_growing(300, 301, None).unwrap());
        let none = Refused::HostMemory(NoMemory::TooMuch { most: 300 });
        assert_eq!((limiter.peak_memory(), limiter.refused()), (300, Some(none)));
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
    fn the_instance_and_its_tables_are_memory_as_well() {
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
    fn the_instance_and_its_tables_take_from_what_all_guests_have() {
        let most = NoMemory::TooMuch { most: 300 };
        assert_eq!(limiter(&Limits::default(), 800).hold_instance(301), Err(most));
        let mut limiter = limiter(&Limits::default(), 800);
        limiter.hold_instance(200).unwrap();
        assert!(!limiter.table_growing(0, 13, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::HostMemory(most)));
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
