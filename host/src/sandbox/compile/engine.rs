//! The engine: one configuration for every component, so that compiled code fits all engines of a host.
//!
//! Code carries one instrumentation, not two. Fuel, the default, is a limit of its own. It also makes the guest yield to the
//! executor regularly, which keeps calls fair to each other and lets the host check deadlines.

use wasmtime::component::Component;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy};

use crate::sandbox::limits::{EngineSettings, Limits};
use crate::sandbox::metering::{Metering, tick};

/// Host functions run on the same stack as the guest, above its limit.
const HOST_STACK: usize = 1536 * 1024;

/// Dirty pages of a slot that are cleared in place rather than given back to the system.
const KEEP_RESIDENT: usize = 64 * 1024;

/// Core instances that the pool reserves per call: what a Python component needs, with room to spare.
const POOLED_CORE_INSTANCES: u32 = 16;
const POOLED_TABLES: u32 = 16;
const POOLED_MEMORIES: u32 = 2;

/// The sizes that a host's engines are made for.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct EngineSize {
    stack: u64,
    calls: u32,
    memory: u64,
    table_elements: u32,
}

impl EngineSize {
    /// For `settings` and the largest of `limits`.
    pub(in crate::sandbox) fn of<'a>(settings: &EngineSettings, limits: impl IntoIterator<Item = &'a Limits>) -> Self {
        let mut size = Self {
            stack: settings.stack,
            calls: settings.host_concurrency,
            memory: 0,
            table_elements: 0,
        };
        for limits in limits {
            size.memory = size.memory.max(limits.memory);
            size.table_elements = size.table_elements.max(limits.table_elements);
        }
        size
    }
}

/// The engines of a host. Both run the same compiled code; they differ in where instances come from.
#[derive(Clone)]
pub struct Engines {
    metering: Metering,
    /// Takes instances from slots that are mapped once and reset between calls. `None` if the address space is too small.
    pooling: Option<Engine>,
    /// Maps each instance afresh: several times slower, for components that don't fit a slot.
    on_demand: Engine,
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engines")
            .field("pooling", &self.pooling.is_some())
            .finish_non_exhaustive()
    }
}

impl Engines {
    pub(in crate::sandbox) fn new(size: &EngineSize, metering: Metering) -> wasmtime::Result<Self> {
        let on_demand = Engine::new(&config(size.stack, metering))?;
        let pooling = match pooling_engine(size, metering) {
            Ok(engine) => Some(engine),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "no room for pooled instances: tool calls are slower; lower [limits] host_concurrency or raise `ulimit -v`"
                );
                None
            }
        };
        // Logged once, by the engines that every host has.
        let is_first = metering == Metering::Fuel;
        if is_first && pooling.is_some() && !PoolingAllocationConfig::is_pagemap_scan_available() {
            tracing::info!(
                "the kernel lacks PAGEMAP_SCAN (Linux 6.7): a tool call costs about two and a half times as much"
            );
        }
        if metering == Metering::Epoch {
            tick(pooling.iter().chain([&on_demand]).cloned())?;
        }
        Ok(Self {
            metering,
            pooling,
            on_demand,
        })
    }

    pub(super) fn metering(&self) -> Metering {
        self.metering
    }

    /// The engine whose settings decide whether compiled code is compatible.
    pub(super) fn reference(&self) -> &Engine {
        &self.on_demand
    }

    /// Loads compiled code into the pool if it fits, else into the on-demand engine.
    pub(super) fn load(&self, load: impl Fn(&Engine) -> wasmtime::Result<Component>) -> wasmtime::Result<Component> {
        if let Some(pooling) = &self.pooling {
            match load(pooling) {
                Ok(component) => return Ok(component),
                Err(error) => tracing::debug!(error = format!("{error:#}"), "component does not fit the pool"),
            }
        }
        load(&self.on_demand)
    }
}

/// The settings that compiled code depends on. The compiling child and the host must agree on all of them.
pub(super) fn config(stack: u64, metering: Metering) -> Config {
    let stack = usize::try_from(stack).unwrap_or(usize::MAX);
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .max_wasm_stack(stack)
        .async_stack_size(stack.saturating_add(HOST_STACK))
        .async_stack_zeroing(false)
        .memory_init_cow(true)
        .wasm_component_model(true)
        .wasm_relaxed_simd(false)
        .cranelift_nan_canonicalization(false)
        .parallel_compilation(true);
    metering.configure(&mut config);
    config
}

fn pooling_engine(size: &EngineSize, metering: Metering) -> wasmtime::Result<Engine> {
    // One more than the permits: a slot becomes free a moment after its permit.
    let calls = size.calls.saturating_add(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(POOLED_CORE_INSTANCES))
        .total_memories(calls.saturating_mul(POOLED_MEMORIES))
        .total_tables(calls.saturating_mul(POOLED_TABLES))
        .total_stacks(calls)
        // A component can't take more than its share of the totals. Larger ones get their instances on demand.
        .max_core_instances_per_component(POOLED_CORE_INSTANCES)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .max_memories_per_component(POOLED_MEMORIES)
        .max_memories_per_module(POOLED_MEMORIES)
        .max_tables_per_component(POOLED_TABLES)
        .max_tables_per_module(POOLED_TABLES)
        .table_elements(size.table_elements as usize)
        .max_memory_size(usize::try_from(size.memory).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    let mut config = config(size.stack, metering);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A component with `instances` of one module that has `memories` and `tables`.
    fn component(memories: u32, tables: u32, instances: u32) -> Vec<u8> {
        let repeat = |text: &str, times: u32| text.repeat(times as usize);
        let text = format!(
            "(component (core module $m {}{}) {})",
            repeat("(memory 1)", memories),
            repeat("(table 1 funcref)", tables),
            repeat("(core instance (instantiate $m))", instances),
        );
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn no_component_takes_more_than_its_share_of_the_pool() {
        let settings = EngineSettings {
            host_concurrency: 2,
            ..EngineSettings::default()
        };
        let size = EngineSize::of(&settings, [&Limits::default()]);
        let engines = Engines::new(&size, Metering::Fuel).unwrap();
        let pooled = |memories, tables, instances| {
            let bytes = component(memories, tables, instances);
            let component = engines.load(|engine| Component::new(engine, &bytes)).unwrap();
            Engine::same(component.engine(), engines.pooling.as_ref().unwrap())
        };
        assert!(pooled(1, 1, 2) && pooled(0, 1, 16) && pooled(0, 0, 16));
        assert!(!pooled(3, 0, 1), "memories");
        assert!(!pooled(1, 0, 3), "memories of all instances");
        assert!(!pooled(0, 1, 17), "tables");
        assert!(!pooled(0, 0, 17), "instances");
    }
}
