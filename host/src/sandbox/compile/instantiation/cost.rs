//! The cost of one instance in the engine, and the unit costs of its parts.
//!
//! The unit costs are sizes of the engine's own structures on a 64-bit host, taken from its source and rounded up.
//! `host/docs/upgrade-wasmtime.md` lists where each is defined there.

use serde::{Deserialize, Serialize};

/// The cost of one instance. All sums saturate: a component of a few kilobytes can request more than 2^64 of anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sandbox) struct Cost {
    /// Bytes that the engine allocates outside the guest's memories and tables, for as long as the instance lives.
    pub(in crate::sandbox) held: u64,
    /// Bytes of active segments that are copied into memories and tables.
    pub(in crate::sandbox) copied: u64,
    /// Items that the engine creates or evaluates one by one, without interruption.
    pub(in crate::sandbox) steps: u64,
    pub(in crate::sandbox) core_instances: u64,
    /// Includes those of all nested components.
    pub(in crate::sandbox) component_instances: u64,
}

impl Cost {
    pub(super) const ZERO: Self = Self {
        held: 0,
        copied: 0,
        steps: 0,
        core_instances: 0,
        component_instances: 0,
    };

    /// `count` items of `bytes` and one step each.
    pub(super) const fn of(count: u64, bytes: u64) -> Self {
        Self {
            held: count.saturating_mul(bytes),
            steps: count,
            ..Self::ZERO
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.held = self.held.saturating_add(other.held);
        self.copied = self.copied.saturating_add(other.copied);
        self.steps = self.steps.saturating_add(other.steps);
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.component_instances = self.component_instances.saturating_add(other.component_instances);
    }

    pub(super) fn times(self, count: u64) -> Self {
        Self {
            held: self.held.saturating_mul(count),
            copied: self.copied.saturating_mul(count),
            steps: self.steps.saturating_mul(count),
            core_instances: self.core_instances.saturating_mul(count),
            component_instances: self.component_instances.saturating_mul(count),
        }
    }

    /// The maximum of each field.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            held: self.held.max(other.held),
            copied: self.copied.max(other.copied),
            steps: self.steps.max(other.steps),
            core_instances: self.core_instances.max(other.core_instances),
            component_instances: self.component_instances.max(other.component_instances),
        }
    }
}

/// The store, `ComponentInstance` and the types of the host's own resources: once for each call.
pub(super) const ROOT: Cost = Cost {
    held: 8 * 1024,
    steps: 64,
    ..Cost::ZERO
};

/// `InstanceState` and the flags that the instance has in `VMComponentContext`.
pub(super) const COMPONENT_INSTANCE: Cost = Cost {
    held: 64,
    steps: 1,
    component_instances: 1,
    ..Cost::ZERO
};

/// `Instance`, the fixed part of its `VMContext` and its entries in the store and in `ComponentInstance`.
pub(super) const CORE_INSTANCE: Cost = Cost {
    held: 512,
    steps: 16,
    core_instances: 1,
    ..Cost::ZERO
};

/// `VMFunctionImport` or a similar structure, twice while the list is built, and a `VMFuncRef`.
pub(super) const IMPORT: u64 = 96;
/// `VMFuncRef` of a function that the module exports or refers to.
pub(super) const FUNCTION_REFERENCE: u64 = 32;
/// `VMGlobalDefinition`.
pub(super) const GLOBAL: u64 = 16;
/// `VMTagDefinition`.
pub(super) const TAG: u64 = 16;
/// `VMTableDefinition` and `Table`. The elements are charged when the table is created or grows.
pub(super) const TABLE: u64 = 128;
/// `VMMemoryDefinition`, `Memory` and the bookkeeping of either allocator. The bytes are charged when the memory is created or
/// grows.
pub(super) const MEMORY: u64 = 1024;
/// The offset and length of the segment. Passive data isn't copied.
pub(super) const DATA_SEGMENT: u64 = 16;
/// `PassiveElementSegment` and the allocator's minimum for its elements.
pub(super) const PASSIVE_SEGMENT: u64 = 64;
/// `ValRaw`.
pub(super) const PASSIVE_ELEMENT: u64 = 16;
/// A table element: a tagged pointer.
pub(in crate::sandbox) const TABLE_ELEMENT: usize = 8;

/// A lifted or lowered function, or another one of the canonical ABI: `VMFuncRef`, `VMLowering`, and a pointer each to
/// its memory, its allocator, its callback and its post-return function.
pub(super) const CANONICAL: u64 = 96;
/// A type. It can be a resource: `ResourceType` and its destructor.
pub(super) const TYPE: u64 = 32;

/// A function that one component calls in another. The engine generates a module for such functions, with up to twenty imports, a
/// dozen of them trampolines. In the worst case, each function gets its own module.
pub(super) const ADAPTER: Cost = Cost {
    held: 2_560,
    steps: 32,
    ..Cost::ZERO
};
