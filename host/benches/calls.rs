//! What a call costs, as ratios within one run: these are the figures of the README.
//!
//! The floor is bare wasmtime with the same component and the same limits: pooling, copy-on-write, pagemap scan, fuel,
//! a limiter, a fresh store and instance per call, and nothing else. Beside it stands native code that parses and
//! serialises the same JSON, so that a slow floor would show. Rounds are interleaved, for machines are shared.
//!
//! `cargo bench --bench calls`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_types
)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cofferdam::agent::load_tools;
use cofferdam::config::Config;
use cofferdam::sandbox::{CompilePlace, Limits};
use cofferdam::telemetry::{AlertSettings, Emitter, EventBus};
use cofferdam::tools::{ComponentSource, Outcome, PluginSettings, ToolCall, ToolContext, ToolSet, builtin};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{
    Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimits, StoreLimitsBuilder,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod contract {
    wasmtime::component::bindgen!({ path: "../wit/0.1.0", world: "plugin", exports: { default: async } });
}

const ROUNDS: usize = 15;
const CALLS: usize = 1_000;
const STARTS: usize = 40;
/// 173 bytes, about what a tool call carries.
const INPUT: &str = r#"{"location":"Boston, Massachusetts","units":"metric","days":[1,2,3,5,8],"detail":{"wind":true,"humidity":true,"pressure":false},"language":"en","note":"short, please; thanks"}"#;

fn main() {
    // Components are compiled in a child of this program.
    cofferdam::sandbox::become_compiler_if_asked();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        calls().await;
        two_threads().await;
    });
    warm_start();
}

async fn calls() {
    let floor = Floor::new();
    let dispatch = Dispatch::new().await;
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
    }
    println!("one call of a trivial Rust tool, {ROUNDS} interleaved rounds of {CALLS}");
    println!("{:<44} {:>10} {:>10}", "", "p50", "p99");
    for (name, sample) in [
        ("native parse and serialise", &mut native),
        ("floor: bare wasmtime, fresh instance", &mut bare),
        ("whole dispatch path", &mut whole),
    ] {
        println!(
            "{name:<44} {:>10} {:>10}",
            micros(sample.percentile(50)),
            micros(sample.percentile(99))
        );
    }
    let ratio = |above: &mut Sample, below: &mut Sample| {
        above.percentile(50).as_secs_f64() / below.percentile(50).as_secs_f64()
    };
    println!("floor / native {:>36.1}", ratio(&mut bare, &mut native));
    println!("dispatch / floor {:>34.2}   (at most 3)", ratio(&mut whole, &mut bare));
}

async fn two_threads() {
    const CALLS: u32 = 20_000;
    let throughput = async |tasks: u32| {
        let dispatch = std::sync::Arc::new(Dispatch::new().await);
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
        "calls a second on one thread {one:>22.0}, on two {two:.0}: {:.2} times",
        two / one
    );
}

fn warm_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n[plugins.weather]\ncomponent = \"builtin:weather\"\n";
    std::fs::write(folder.path().join("cofferdam.toml"), config).unwrap();
    let run = || {
        let status = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(["tool", "call", "calculate", r#"{"expression":"25 * 17"}"#, "--quiet"])
            .current_dir(folder.path())
            .env("XDG_CACHE_HOME", folder.path())
            .env("XDG_DATA_HOME", folder.path())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    };
    let started = Instant::now();
    run();
    let cold = started.elapsed();
    let mut warm = Sample::default();
    for _ in 0..STARTS {
        warm.time(run);
    }
    println!(
        "`tool call` with both Rust plugins, empty cache {:>6.0} ms",
        cold.as_secs_f64() * 1000.0
    );
    let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let (p50, p99) = (millis(warm.percentile(50)), millis(warm.percentile(99)));
    println!("… warm: p50 {p50:.1} ms, p99 {p99:.1} ms (at most 100)");
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

/// The product: validation, breaker, places, sandbox, conversion, event.
struct Dispatch {
    tools: ToolSet,
    emitter: Emitter,
    cancel: CancellationToken,
    input: Value,
}

impl Dispatch {
    async fn new() -> Self {
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
        let emitter = Emitter::new(&EventBus::new(), "bench", "default", AlertSettings::default());
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
            name: "echo".to_owned(),
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

impl wasmtime_wasi_http::WasiHttpView for Bare {
    fn http(&mut self) -> wasmtime_wasi_http::WasiHttpCtxView<'_> {
        panic!("the echo tool sends no requests")
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
        wasmtime_wasi_config::add_to_linker(&mut linker, |_: &mut Bare| {
            panic!("the echo tool reads no configuration")
        })
        .unwrap();
        let pre = contract::PluginPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
        Self { pre }
    }

    async fn call(&self) {
        let limits = Limits::default();
        let data = Bare {
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
            limits: StoreLimitsBuilder::new().memory_size(limits.memory as usize).build(),
        };
        let mut store = Store::new(self.pre.engine(), data);
        store.limiter(|data| &mut data.limits);
        store.set_fuel(limits.fuel).unwrap();
        store.fuel_async_yield_interval(Some(100_000)).unwrap();
        let plugin = self.pre.instantiate_async(&mut store).await.unwrap();
        let result = plugin
            .cofferdam_tool_tools()
            .call_call_tool(&mut store, "echo", INPUT)
            .await
            .unwrap();
        assert!(result.is_ok());
    }
}
