//! What a call costs, as ratios within one run: these are the figures of the README. Fails where one is over its limit.
//!
//! The floor is bare wasmtime with the same component and the limits that wasmtime itself enforces: pooling, copy-on-write,
//! pagemap scan, fuel, a limiter, handles, a fresh store and instance per call, and nothing else. Beside it stands native
//! code that parses and serialises the same JSON, so that a slow floor would show. Rounds are interleaved, for machines
//! are shared.
//!
//! The dispatch path is measured with all that listens to a call in production: a JSON log and an observer.
//!
//! `cargo bench --bench calls`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_types
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cofferdam::agent::load_tools;
use cofferdam::config::Config;
use cofferdam::sandbox::{CompilePlace, Limits};
use cofferdam::telemetry::{AlertSettings, Emitter, Event, EventBus, EventKind, LogLevel, LoggingSettings, logging};
use cofferdam::tools::{ComponentSource, Outcome, PluginSettings, ToolCall, ToolContext, ToolSet, builtin};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{
    Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimits, StoreLimitsBuilder,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

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

/// A debug build shows that the benchmark works; its figures mean nothing, and no limit holds.
const IS_BENCH: bool = !cfg!(debug_assertions);
const ROUNDS: usize = if IS_BENCH { 15 } else { 1 };
const CALLS: usize = if IS_BENCH { 1_000 } else { 20 };
const COLD_STARTS: usize = if IS_BENCH { 10 } else { 1 };
const WARM_STARTS: usize = if IS_BENCH { 200 } else { 1 };
/// The limits of the README: the dispatch path in floors at p50, a warm start at p99.
const MOST_FLOORS: f64 = 3.0;
const SLOWEST_START: Duration = Duration::from_millis(100);
/// How long listeners may take for what they have not heard yet.
const PATIENCE: Duration = Duration::from_secs(60);
const TOOL: &str = "echo_query";
/// 173 bytes, about what a tool call carries.
const INPUT: &str = r#"{"location":"Boston, Massachusetts","units":"metric","days":[1,2,3,5,8],"detail":{"wind":true,"humidity":true,"pressure":false},"language":"en","note":"short, please; thanks"}"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // First, while there is no log: a log is one for the process, and has a thread of its own that would take a core.
    runtime.block_on(two_threads());
    let ratio = runtime.block_on(calls());
    let start = starts();
    if !IS_BENCH {
        println!("a debug build: these figures mean nothing");
        return;
    }
    assert!(
        ratio <= MOST_FLOORS,
        "the dispatch path costs more than {MOST_FLOORS} floors"
    );
    assert!(
        start <= SLOWEST_START,
        "a warm start takes more than {SLOWEST_START:?} at p99"
    );
}

/// Calls with nobody listening, and with all that listens in production. Returns the cost of the latter in floors.
async fn calls() -> f64 {
    println!("one call of a trivial Rust tool, {ROUNDS} interleaved rounds of {CALLS}");
    println!("{:<44} {:>10} {:>10}", "", "p50", "p99");
    let floor = Floor::new();
    let dispatch = Dispatch::new(&EventBus::new()).await;
    compare("dispatch path, nobody listening", &floor, &dispatch, async || ()).await;

    let folder = tempfile::tempdir().unwrap();
    let settings = LoggingSettings {
        directory: Some(folder.path().to_owned()),
        ..LoggingSettings::default()
    };
    let log = logging::init(&settings, Some(LogLevel::Off)).unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let bus = EventBus::new();
    bus.add_observer("bench", {
        let seen = seen.clone();
        move |event: &Event| {
            if let EventKind::ToolCallFinished(_) = event.kind {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let dispatch = Dispatch::new(&bus).await;
    // What is still to be heard must not slow the next round.
    let heard = async || {
        bus.flush(PATIENCE).await;
        log.flush(PATIENCE);
    };
    let ratio = compare("dispatch path, a JSON log and an observer", &floor, &dispatch, heard).await;
    drop(log);
    assert_eq!(
        seen.load(Ordering::Relaxed),
        ROUNDS * CALLS,
        "the observer sees every call"
    );
    assert_eq!(logged_calls(folder.path()), ROUNDS * CALLS, "the log has every call");
    ratio
}

/// Interleaves native code, floor and dispatch path; `settle` stands between the rounds. Returns dispatch / floor.
async fn compare(name: &str, floor: &Floor, dispatch: &Dispatch, settle: impl AsyncFn()) -> f64 {
    let mut native = Sample::default();
    let mut bare = Sample::default();
    let mut whole = Sample::default();
    for _ in 0..ROUNDS {
        for _ in 0..CALLS {
            native.time(|| std::hint::black_box(reserialise(std::hint::black_box(INPUT))));
        }
        for _ in 0..CALLS {
            let started = Instant::now();
            floor.call().await;
            bare.push(started.elapsed());
        }
        for _ in 0..CALLS {
            let started = Instant::now();
            dispatch.call().await;
            whole.push(started.elapsed());
        }
        settle().await;
    }
    for (name, sample) in [
        ("native parse and serialise", &mut native),
        ("floor: bare wasmtime, fresh instance", &mut bare),
        (name, &mut whole),
    ] {
        println!(
            "{name:<44} {:>10} {:>10}",
            micros(sample.percentile(50)),
            micros(sample.percentile(99))
        );
    }
    let [native, bare, whole] = [native, bare, whole].map(|mut sample| sample.percentile(50).as_secs_f64());
    println!(
        "  floor / native {:.1}, dispatch / floor {:.2}",
        bare / native,
        whole / bare
    );
    whole / bare
}

fn logged_calls(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            text.lines()
                .filter(|line| line.contains("\"tool_call_finished\""))
                .count()
        })
        .sum()
}

async fn two_threads() {
    const CALLS: u32 = if IS_BENCH { 20_000 } else { 100 };
    let throughput = async |tasks: u32| {
        let dispatch = Arc::new(Dispatch::new(&EventBus::new()).await);
        let started = Instant::now();
        let tasks: Vec<_> = (0..tasks)
            .map(|_| {
                let dispatch = dispatch.clone();
                tokio::spawn(async move {
                    for _ in 0..CALLS {
                        dispatch.call().await;
                    }
                })
            })
            .collect();
        let count = tasks.len();
        for task in tasks {
            task.await.unwrap();
        }
        f64::from(CALLS) * count as f64 / started.elapsed().as_secs_f64()
    };
    let (one, two) = (throughput(1).await, throughput(2).await);
    println!(
        "calls a second without listeners, on one thread {one:.0}, on two {two:.0}: {:.2} times",
        two / one
    );
}

/// Returns what a warm start takes at p99.
fn starts() -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let config = "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n[plugins.weather]\ncomponent = \"builtin:weather\"\n";
    std::fs::write(folder.path().join("cofferdam.toml"), config).unwrap();
    let run = |cache: &Path| {
        let status = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(["tool", "call", "calculate", r#"{"expression":"25 * 17"}"#, "--quiet"])
            .current_dir(folder.path())
            .env("XDG_CACHE_HOME", cache)
            .env("XDG_DATA_HOME", folder.path())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    };
    let (mut cold, mut warm) = (Sample::default(), Sample::default());
    for start in 0..COLD_STARTS {
        let cache = folder.path().join(format!("cache-{start}"));
        cold.time(|| run(&cache));
    }
    let cache = folder.path().join("cache-0");
    for _ in 0..WARM_STARTS {
        warm.time(|| run(&cache));
    }
    let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
    println!("`tool call` with both Rust plugins, from start to exit");
    println!(
        "… empty cache, {COLD_STARTS} starts: median {:.0} ms, slowest {:.0} ms",
        millis(cold.percentile(50)),
        millis(cold.percentile(100))
    );
    let slow = warm.percentile(99);
    println!(
        "… warm, {WARM_STARTS} starts: p50 {:.1} ms, p99 {:.1} ms   (at most {:.0})",
        millis(warm.percentile(50)),
        millis(slow),
        millis(SLOWEST_START)
    );
    slow
}

fn reserialise(text: &str) -> String {
    serde_json::from_str::<Value>(text).unwrap().to_string()
}

fn micros(duration: Duration) -> String {
    format!("{:.2} µs", duration.as_secs_f64() * 1e6)
}

#[derive(Default)]
struct Sample(Vec<Duration>);

impl Sample {
    fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    fn time<T>(&mut self, function: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = function();
        self.push(started.elapsed());
        result
    }

    fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

/// The product: schema, policy, breaker, places, sandbox, conversion, event, and who listens to it.
struct Dispatch {
    tools: ToolSet,
    emitter: Emitter,
    cancel: CancellationToken,
    input: Value,
}

impl Dispatch {
    async fn new(bus: &EventBus) -> Self {
        let plugins = vec![PluginSettings::new(
            "faulty",
            ComponentSource::Builtin("faulty".to_owned()),
        )];
        let config = Config {
            plugins,
            ..Config::default()
        };
        let tls = cofferdam::tls::client_config().unwrap();
        let tools = load_tools(&config, Some(CompilePlace::ThisProcess), tls).await.unwrap();
        let emitter = Emitter::new(bus, "bench", "default", AlertSettings::default());
        Self {
            tools,
            emitter,
            cancel: CancellationToken::new(),
            input: serde_json::from_str(INPUT).unwrap(),
        }
    }

    async fn call(&self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        let cx = ToolContext {
            emitter: &self.emitter,
            deadline,
            cancel: &self.cancel,
        };
        let call = ToolCall {
            id: "toolu_1".to_owned(),
            name: TOOL.to_owned(),
            input: self.input.clone(),
        };
        assert_eq!(self.tools.call(call, &cx).await.outcome, Outcome::Ok);
    }
}

/// Bare wasmtime.
struct Floor {
    pre: contract::PluginPre<Bare>,
}

struct Bare {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl logging_imports::wasi::logging::logging::Host for Bare {
    fn log(&mut self, _: logging_imports::wasi::logging::logging::Level, _: String, _: String) {
        panic!("the tool logs nothing")
    }
}

mod keyvalue {
    use wasmtime::component::Resource;

    use super::keyvalue_imports::wasi::keyvalue::store::{Error, Host, HostBucket, KeyResponse};
    use super::{Bare, Bucket};

    const NOTHING: &str = "the tool keeps nothing";

    impl Host for Bare {
        fn open(&mut self, _: String) -> Result<Resource<Bucket>, Error> {
            panic!("{NOTHING}")
        }
    }

    impl HostBucket for Bare {
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

impl wasmtime_wasi_http::WasiHttpView for Bare {
    fn http(&mut self) -> wasmtime_wasi_http::WasiHttpCtxView<'_> {
        panic!("the tool sends no requests")
    }
}

impl Floor {
    fn new() -> Self {
        let limits = Limits::default();
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(16)
            .total_core_instances(256)
            .total_memories(32)
            .total_tables(256)
            .total_stacks(16)
            .table_elements(limits.table_elements as usize)
            .max_memory_size(limits.memory as usize)
            .linear_memory_keep_resident(64 * 1024)
            .table_keep_resident(64 * 1024)
            .pagemap_scan(Enabled::Auto);
        let mut config = wasmtime::Config::new();
        config
            .consume_fuel(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).unwrap();
        let component = Component::new(&engine, builtin("faulty").unwrap()).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_config::add_to_linker(&mut linker, |_: &mut Bare| panic!("the tool reads no configuration"))
            .unwrap();
        logging_imports::wasi::logging::logging::add_to_linker::<_, HasSelf<Bare>>(&mut linker, |data| data).unwrap();
        keyvalue_imports::wasi::keyvalue::store::add_to_linker::<_, HasSelf<Bare>>(&mut linker, |data| data).unwrap();
        let pre = contract::PluginPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
        Self { pre }
    }

    async fn call(&self) {
        let limits = Limits::default();
        let data = Bare {
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
        let mut store = Store::new(self.pre.engine(), data);
        store.limiter(|data| &mut data.limits);
        store.set_fuel(limits.fuel).unwrap();
        store.fuel_async_yield_interval(Some(100_000)).unwrap();
        store.set_max_component_handles(limits.handles as usize);
        store.set_hostcall_fuel(limits.output_bytes as usize);
        let plugin = self.pre.instantiate_async(&mut store).await.unwrap();
        let result = plugin
            .cofferdam_tool_tools()
            .call_call_tool(&mut store, TOOL, INPUT)
            .await
            .unwrap();
        assert!(result.is_ok());
    }
}
