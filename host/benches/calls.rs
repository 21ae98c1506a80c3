//! The cost of a call, as ratios within one run: the figures of `docs/benchmarks.md`. Fails if one exceeds its limit.
//!
//! The floor is bare wasmtime with the same component and the limits that wasmtime itself enforces: pooling, copy-on-write,
//! pagemap scan, fuel, a limiter, handles, a fresh store and instance per call, and nothing else. For comparison, native code
//! parses and serialises the same JSON, which would expose a slow floor, and a second floor uses no pool. Rounds are
//! interleaved, because machines are shared.
//!
//! The dispatch path is measured alone and with the listeners of production: a JSON log and an observer.
//!
//! Typed tools are compared with the same tools written dynamically, in the guest `pair`, which this benchmark builds first.
//!
//! `cargo bench --bench calls`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_types
)]

mod common;

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cofferdam::events::Outcome;
use cofferdam::events::{Event, EventKind};
use cofferdam::telemetry::logging::{self, ConsoleLines};
use cofferdam::telemetry::{Emitter, EventBus, LogLevel, LoggingSettings};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::common::bare::{Bare, Instances, Metering};
use self::common::dispatch::{Dispatch, Sandboxed};
use self::common::{INPUT, IS_BENCH, Limits, PLUGIN, Sample, TOOL, micros, millis, runtime};

const ROUNDS: usize = if IS_BENCH { 15 } else { 1 };
const CALLS: usize = if IS_BENCH { 1_000 } else { 20 };
const COLD_STARTS: usize = if IS_BENCH { 10 } else { 1 };
const WARM_STARTS: usize = if IS_BENCH { 200 } else { 1 };
/// The limits: ratios at p50, speedup of two threads, a warm start at p99.
const MAX_SANDBOX_PER_FLOOR: f64 = 1.25;
const MAX_DISPATCH_PER_FLOOR: f64 = 2.0;
const MAX_OBSERVED_DISPATCH_PER_FLOOR: f64 = 4.0;
const MAX_SANDBOX_PER_ON_DEMAND: f64 = 0.3;
const MIN_TWO_THREAD_SPEEDUP: f64 = 1.8;
const MAX_WARM_START: Duration = Duration::from_millis(100);
/// How long to wait until listeners have received all events.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

fn main() {
    let runtime = runtime();
    let mut limits = Limits::default();
    // First, before there is a log: it is global to the process, and its thread would take a core.
    runtime.block_on(two_threads(&mut limits));
    runtime.block_on(calls(&mut limits));
    runtime.block_on(common::typed::compare(&mut limits));
    starts(&mut limits);
    limits.enforce();
}

async fn calls(limits: &mut Limits) {
    println!("one call of the calculator, {ROUNDS} interleaved rounds of {CALLS}");
    println!("{:<48} {:>10} {:>10}", "", "p50", "p99");
    let fuel = Metering {
        fuel: true,
        epoch: false,
    };
    let floor = Bare::new(PLUGIN, Instances::Pooled, fuel);
    let on_demand = Bare::new(PLUGIN, Instances::OnDemand, fuel);
    let sandbox = Sandboxed::new(PLUGIN).await;
    let dispatch = Calls::new(&EventBus::new()).await;
    let mut samples: [Sample; 5] = Default::default();
    for _ in 0..ROUNDS {
        let [native, bare, slow, sandboxed, whole] = &mut samples;
        for _ in 0..CALLS {
            native.time(|| black_box(reserialise(black_box(INPUT))));
        }
        timed(bare, async || floor.call(TOOL, INPUT).await).await;
        timed(slow, async || on_demand.call(TOOL, INPUT).await).await;
        timed(sandboxed, async || sandbox.call(TOOL, INPUT).await).await;
        timed(whole, async || dispatch.call().await).await;
    }
    let [native, bare, slow, sandboxed, whole] = samples;
    let native = row("native parse and serialise", native);
    let bare = row("floor: bare wasmtime, fresh instance", bare);
    let slow = row("bare wasmtime without a pool", slow);
    let sandboxed = row("the sandbox alone", sandboxed);
    let whole = row("dispatch path, no listeners", whole);
    println!(
        "  floor / native {:.1}, sandbox / floor {:.2}, sandbox / no pool {:.2}, dispatch / floor {:.2}",
        bare / native,
        sandboxed / bare,
        sandboxed / slow,
        whole / bare
    );
    limits.at_most("the sandbox in floors", sandboxed / bare, MAX_SANDBOX_PER_FLOOR);
    // If instances without a pool are cheap, even the floor exceeds that share of one, so the limit scales with the floor.
    limits.at_most(
        "the sandbox in calls without a pool",
        sandboxed / slow,
        MAX_SANDBOX_PER_ON_DEMAND.max(MAX_SANDBOX_PER_FLOOR * bare / slow),
    );
    limits.at_most("the dispatch path in floors", whole / bare, MAX_DISPATCH_PER_FLOOR);
    observed_calls(&floor, limits).await;
}

/// The dispatch path with the listeners of production.
async fn observed_calls(floor: &Bare, limits: &mut Limits) {
    let folder = tempfile::tempdir().unwrap();
    let settings = LoggingSettings {
        directory: Some(folder.path().to_owned()),
        ..LoggingSettings::default()
    };
    let lines = ConsoleLines {
        level: Some(LogLevel::Off),
        ..ConsoleLines::default()
    };
    let log = logging::init(&settings, lines, std::io::stderr()).unwrap();
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
    let dispatch = Calls::new(&bus).await;
    let (mut bare, mut whole) = (Sample::default(), Sample::default());
    for _ in 0..ROUNDS {
        timed(&mut bare, async || floor.call(TOOL, INPUT).await).await;
        timed(&mut whole, async || dispatch.call().await).await;
        // Pending events must not slow the next round.
        bus.flush(FLUSH_TIMEOUT).await;
        log.flush(FLUSH_TIMEOUT);
    }
    let bare = row("floor once more", bare);
    let whole = row("dispatch path, a JSON log and an observer", whole);
    println!("  dispatch / floor {:.2}", whole / bare);
    limits.at_most(
        "the dispatch path in floors, with listeners",
        whole / bare,
        MAX_OBSERVED_DISPATCH_PER_FLOOR,
    );
    drop(log);
    assert_eq!(
        seen.load(Ordering::Relaxed),
        ROUNDS * CALLS,
        "the observer sees every call"
    );
    assert_eq!(logged_calls(folder.path()), ROUNDS * CALLS, "the log has every call");
}

async fn timed(sample: &mut Sample, call: impl AsyncFn()) {
    for _ in 0..CALLS {
        let started = Instant::now();
        call().await;
        sample.push(started.elapsed());
    }
}

/// Prints a row and returns the median in microseconds.
fn row(name: &str, mut sample: Sample) -> f64 {
    let [median, slow] = [50, 99].map(|percent| micros(sample.percentile(percent)));
    println!("{name:<48} {median:>7.2} µs {slow:>7.2} µs");
    median
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

async fn two_threads(limits: &mut Limits) {
    const CALLS: u32 = if IS_BENCH { 20_000 } else { 100 };
    const ROUNDS: usize = if IS_BENCH { 3 } else { 1 };
    let dispatch = Arc::new(Calls::new(&EventBus::new()).await);
    let throughput = async |tasks: u32| {
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
    // The best of each, because other load on the machine slows two threads more than one. The peer is a pure computation,
    // because two virtual processors may be less than two cores.
    let (mut one, mut two) = (0.0_f64, 0.0_f64);
    let (mut peer_one, mut peer_two) = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        one = one.max(throughput(1).await);
        peer_one = peer_one.max(compute_rate(1));
        two = two.max(throughput(2).await);
        peer_two = peer_two.max(compute_rate(2));
    }
    let (times, peer) = (two / one, peer_two / peer_one);
    println!(
        "calls a second without listeners, on one thread {one:.0}, on two {two:.0}: {times:.2} times; computing alone {peer:.2} times"
    );
    limits.at_least(
        "throughput of two threads",
        times * 2.0 / peer.min(2.0),
        MIN_TWO_THREAD_SPEEDUP,
    );
}

/// Rounds of a pure computation per second, on `threads` threads.
fn compute_rate(threads: u32) -> f64 {
    const NUMBERS: u64 = if IS_BENCH { 300_000_000 } else { 100_000 };
    let started = Instant::now();
    let threads: Vec<_> = (0..threads)
        .map(|_| std::thread::spawn(|| (0..NUMBERS).fold(1_u64, |sum, number| black_box(sum.wrapping_mul(number | 1)))))
        .collect();
    let count = threads.len();
    for thread in threads {
        black_box(thread.join().unwrap());
    }
    count as f64 / started.elapsed().as_secs_f64()
}

fn starts(limits: &mut Limits) {
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
    println!("`tool call` with both Rust plugins, from start to exit");
    println!(
        "… empty cache, {COLD_STARTS} starts: median {:.0} ms, slowest {:.0} ms",
        millis(cold.percentile(50)),
        millis(cold.percentile(100))
    );
    let slow = warm.percentile(99);
    println!(
        "… warm, {WARM_STARTS} starts: p50 {:.1} ms, p99 {:.1} ms",
        millis(warm.percentile(50)),
        millis(slow)
    );
    limits.at_most("a warm start at p99, ms", millis(slow), millis(MAX_WARM_START));
}

fn reserialise(text: &str) -> String {
    serde_json::from_str::<Value>(text).unwrap().to_string()
}

/// Repeats the same call, one at a time.
struct Calls {
    dispatch: Dispatch,
    emitter: Emitter,
    cancel: CancellationToken,
    input: Value,
}

impl Calls {
    async fn new(bus: &EventBus) -> Self {
        let dispatch = Dispatch::new(bus, PLUGIN, cofferdam::sandbox::Limits::default()).await;
        Self {
            emitter: dispatch.emitter("default"),
            dispatch,
            cancel: CancellationToken::new(),
            input: serde_json::from_str(INPUT).unwrap(),
        }
    }

    async fn call(&self) {
        let called = self
            .dispatch
            .call(&self.emitter, TOOL, self.input.clone(), &self.cancel);
        assert_eq!(called.await, Outcome::Ok);
    }
}
