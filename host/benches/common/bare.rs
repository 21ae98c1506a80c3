//! Bare wasmtime: the same component with the limits that wasmtime enforces itself.

use cofferdam::sandbox::Limits;
use cofferdam::tools::builtin;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimits,
    StoreLimitsBuilder,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use self::contract::exports::cofferdam::tool::tools::Content;

mod contract {
    wasmtime::component::bindgen!({ path: "../wit/0.1.0", world: "plugin", exports: { default: async } });
}

#[allow(missing_debug_implementations)]
mod logging_imports {
    wasmtime::component::bindgen!({ path: "../wit/wasi-logging", world: "imports" });
}

#[allow(missing_debug_implementations)]
mod keyvalue_imports {
    wasmtime::component::bindgen!({
        path: "../wit/wasi-keyvalue",
        world: "imports",
        with: { "wasi:keyvalue/store.bucket": super::Bucket },
    });
}

/// Never opened.
#[derive(Debug)]
pub struct Bucket;

/// How instances are allocated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// Pool slots mapped once, with copy-on-write images and pagemap scan.
    Pooled,
    /// Mapped afresh for each call.
    OnDemand,
}

/// The interruption checks compiled into the guest.
#[derive(Clone, Copy, Default)]
pub struct Metering {
    pub fuel: bool,
    pub epoch: bool,
}

/// Units of fuel between two yields, as in the product.
const YIELD_INTERVAL: u64 = 100_000;

/// A plugin on wasmtime without the product.
pub struct Bare {
    pre: contract::PluginPre<State>,
    metering: Metering,
}

impl Bare {
    pub fn new(plugin: &str, instances: Instances, metering: Metering) -> Self {
        Self::for_calls(plugin, instances, metering, 16)
    }

    /// With a pool for this many calls at once if there is one.
    pub fn for_calls(plugin: &str, instances: Instances, metering: Metering, calls: u32) -> Self {
        let engine = engine(instances, metering, calls);
        let component = Component::new(&engine, builtin(plugin).unwrap()).unwrap();
        let pre = contract::PluginPre::new(linker(&engine).instantiate_pre(&component).unwrap()).unwrap();
        Self { pre, metering }
    }

    pub fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    /// Calls a tool in a fresh instance.
    pub async fn call(&self, tool: &str, input: &str) {
        self.call_for_content(tool, input).await;
    }

    /// Like [`Self::call`], for a tool that returns one text.
    pub async fn call_for_text(&self, tool: &str, input: &str) -> String {
        match self.call_for_content(tool, input).await.pop() {
            Some(Content::Text(text)) => text,
            content => panic!("no text: {content:?}"),
        }
    }

    async fn call_for_content(&self, tool: &str, input: &str) -> Vec<Content> {
        let mut store = store(self.engine(), self.metering);
        let plugin = self.pre.instantiate_async(&mut store).await.unwrap();
        let result = plugin
            .cofferdam_tool_tools()
            .call_call_tool(&mut store, tool, input)
            .await
            .unwrap();
        result.unwrap()
    }
}

/// An engine, with a pool for this many calls at once if there is one.
pub fn engine(instances: Instances, metering: Metering, calls: u32) -> Engine {
    let mut config = Config::new();
    config.consume_fuel(metering.fuel).epoch_interruption(metering.epoch);
    if instances == Instances::Pooled {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(calls)));
    }
    Engine::new(&config).unwrap()
}

/// A store for one call, with the default limits.
pub fn store(engine: &Engine, metering: Metering) -> Store<State> {
    let limits = Limits::default();
    let data = State {
        wasi: WasiCtx::builder().build(),
        table: ResourceTable::new(),
        limits: StoreLimitsBuilder::new()
            .memory_size(limits.memory as usize)
            .table_elements(limits.table_elements as usize)
            .instances(limits.core_instances as usize)
            .memories(limits.core_instances as usize)
            .tables(1_000)
            .build(),
    };
    let mut store = Store::new(engine, data);
    store.limiter(|data| &mut data.limits);
    if metering.fuel {
        store.set_fuel(limits.fuel).unwrap();
        store.fuel_async_yield_interval(Some(YIELD_INTERVAL)).unwrap();
    }
    if metering.epoch {
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
    }
    store.set_max_component_handles(limits.handles as usize);
    store.set_hostcall_fuel(limits.output_bytes as usize);
    store
}

fn pool(calls: u32) -> PoolingAllocationConfig {
    let limits = Limits::default();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(16 * calls)
        .total_memories(2 * calls)
        .total_tables(16 * calls)
        .total_stacks(calls)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .table_elements(limits.table_elements as usize)
        .max_memory_size(limits.memory as usize)
        .linear_memory_keep_resident(64 * 1024)
        .table_keep_resident(64 * 1024)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// A linker with everything that a plugin can import.
pub fn linker(engine: &Engine) -> Linker<State> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
    wasmtime_wasi_config::add_to_linker(&mut linker, |_: &mut State| panic!("the tool reads no configuration"))
        .unwrap();
    logging_imports::wasi::logging::logging::add_to_linker::<_, HasSelf<State>>(&mut linker, |data| data).unwrap();
    keyvalue_imports::wasi::keyvalue::store::add_to_linker::<_, HasSelf<State>>(&mut linker, |data| data).unwrap();
    linker
}

/// What a store holds.
pub struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl logging_imports::wasi::logging::logging::Host for State {
    fn log(&mut self, _: logging_imports::wasi::logging::logging::Level, _: String, _: String) {
        panic!("the tool logs nothing")
    }
}

impl wasmtime_wasi_http::WasiHttpView for State {
    fn http(&mut self) -> wasmtime_wasi_http::WasiHttpCtxView<'_> {
        panic!("the tool sends no requests")
    }
}

mod keyvalue {
    use wasmtime::component::Resource;

    use super::keyvalue_imports::wasi::keyvalue::store::{Error, Host, HostBucket, KeyResponse};
    use super::{Bucket, State};

    const NOTHING: &str = "the tool keeps nothing";

    impl Host for State {
        fn open(&mut self, _: String) -> Result<Resource<Bucket>, Error> {
            panic!("{NOTHING}")
        }
    }

    impl HostBucket for State {
        fn get(&mut self, _: Resource<Bucket>, _: String) -> Result<Option<Vec<u8>>, Error> {
            panic!("{NOTHING}")
        }

        fn set(&mut self, _: Resource<Bucket>, _: String, _: Vec<u8>) -> Result<(), Error> {
            panic!("{NOTHING}")
        }

        fn delete(&mut self, _: Resource<Bucket>, _: String) -> Result<(), Error> {
            panic!("{NOTHING}")
        }

        fn exists(&mut self, _: Resource<Bucket>, _: String) -> Result<bool, Error> {
            panic!("{NOTHING}")
        }

        fn list_keys(&mut self, _: Resource<Bucket>, _: Option<u64>) -> Result<KeyResponse, Error> {
            panic!("{NOTHING}")
        }

        fn drop(&mut self, _: Resource<Bucket>) -> wasmtime::Result<()> {
            panic!("{NOTHING}")
        }
    }
}
