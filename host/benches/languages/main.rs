//! What a component costs by the language it was written in: the table of `docs/languages.md`. Fails if a figure is over its limit.
//!
//! The components are those of `tests/languages`, which have the same functions. For each language:
//!
//! - **Instance**: bare wasmtime makes an instance and drops it.
//! - **Warm call**: `add` over the whole dispatch path, and beside it on bare wasmtime with a fresh instance.
//! - **First call**: the first `add` in a process, without the time to load the component.
//! - **Process**: `cofferdam tool call`, from start to exit, with the compiled component in the cache.
//! - **Live instance**: resident memory of one among many that compute, and beside it on bare wasmtime.
//!
//! The component in Rust is built first. Those in other languages must be in `target/tools/components`, where
//! `tests/author/conformance.py` leaves them, or in the folder `COFFERDAM_BENCH_COMPONENTS`; a language without one is skipped.
//!
//! `cargo bench --bench languages`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_types
)]

mod bare_probe;
#[path = "../common/mod.rs"]
mod common;
mod components;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cofferdam::events::Outcome;
use cofferdam::sandbox::Limits as CallLimits;
use cofferdam::telemetry::{Emitter, EventBus};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::bare_probe::BareProbe;
use self::common::dispatch::Dispatch;
use self::common::{IS_BENCH, Limits, Sample, millis, resident_kib, runtime, settled_resident_kib};

const CALLS: usize = if IS_BENCH { 300 } else { 3 };
const PROCESSES: usize = if IS_BENCH { 40 } else { 1 };
/// Instances alive at once.
const LIVE: u32 = if IS_BENCH { 50 } else { 4 };
/// The limit of a live instance, in those of bare wasmtime.
const MAX_LIVE_PER_BARE: f64 = 1.1;

/// The argument that turns the benchmark into a process that makes one call.
const FIRST_CALL: &str = "make-first-call";

/// A language, and its limits at p50 where it has any.
struct Language {
    name: &'static str,
    max_process_ms: Option<f64>,
    max_first_call_ms: Option<f64>,
}

const LANGUAGES: [Language; 6] = [
    Language::new("rust", Some(15.0), Some(2.0)),
    Language::new("javascript", Some(20.0), Some(5.0)),
    Language::new("typescript", Some(20.0), Some(5.0)),
    Language::new("python", Some(45.0), Some(12.0)),
    Language::new("c", None, None),
    Language::new("go", None, None),
];

impl Language {
    const fn new(name: &'static str, max_process_ms: Option<f64>, max_first_call_ms: Option<f64>) -> Self {
        Self {
            name,
            max_process_ms,
            max_first_call_ms,
        }
    }
}

fn main() {
    let runtime = runtime();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [FIRST_CALL, component, cache] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        let took = runtime.block_on(first_call(Path::new(component), Path::new(cache)));
        println!("{}", took.as_nanos());
        return;
    }
    let mut limits = Limits::default();
    println!(
        "{:<12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>6}",
        "p50, ms; KiB", "instance", "bare call", "warm call", "first call", "process", "live bare", "live", "ratio"
    );
    for language in &LANGUAGES {
        let component = match language.name {
            "rust" => Some(components::rust()),
            name => components::other(name),
        };
        match component {
            Some(component) => measure(&runtime, language, &component, &mut limits),
            None => println!("{:<12} skipped: its component isn't there", language.name),
        }
    }
    limits.enforce();
}

/// Where compiled components are kept between runs, as the product keeps them.
fn cache_home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("languages/cache")
}

fn measure(runtime: &tokio::runtime::Runtime, language: &Language, component: &Path, limits: &mut Limits) {
    let cache = cache_home().join("cofferdam");
    let bytes = std::fs::read(component).unwrap();
    // Memory first, because a pool keeps pages of slots that were used.
    let (instance, bare_call, live_bare) = runtime.block_on(async {
        let bare = Arc::new(BareProbe::new(&bytes, LIVE + 1));
        let live = live_on_bare(&bare).await;
        let instance = timed(async || bare.instantiate().await).await;
        (instance, timed(async || bare.add().await).await, live)
    });
    let (warm, live) = runtime.block_on(async {
        let limits = CallLimits {
            concurrency: LIVE,
            timeout: Duration::from_secs(120),
            ..CallLimits::default()
        };
        let host = Arc::new(Dispatch::of_file(&EventBus::new(), component, &cache, limits).await);
        let live = live_in_host(&host).await;
        let emitter = host.emitter("default");
        (timed(async || add(&host, &emitter).await).await, live)
    });
    let first = median_of(PROCESSES, || first_call_in_a_process(component, &cache));
    let process = median_of(PROCESSES, || whole_process(component));
    println!(
        "{:<12} {instance:>10.3} {bare_call:>10.3} {warm:>10.3} {first:>10.3} {process:>10.1} {live_bare:>10.0} {live:>10.0} {:>6.2}",
        language.name,
        live / live_bare
    );
    let name = language.name;
    if let Some(limit) = language.max_first_call_ms {
        limits.at_most(&format!("{name}: first call in a process, ms"), first, limit);
    }
    if let Some(limit) = language.max_process_ms {
        limits.at_most(&format!("{name}: `tool call` from start to exit, ms"), process, limit);
    }
    limits.at_most(
        &format!("{name}: a live instance, in those of bare wasmtime"),
        live / live_bare,
        MAX_LIVE_PER_BARE,
    );
}

fn input() -> Value {
    json!({ "a": 2, "b": 3 })
}

async fn add(host: &Dispatch, emitter: &Emitter) {
    let called = host
        .call(emitter, "probe_add", input(), &CancellationToken::new())
        .await;
    assert_eq!(called, Outcome::Ok);
}

/// The median of a call in milliseconds. The first ones don't count.
async fn timed(call: impl AsyncFn()) -> f64 {
    for _ in 0..CALLS.div_ceil(10) {
        call().await;
    }
    let mut sample = Sample::default();
    for _ in 0..CALLS {
        let started = Instant::now();
        call().await;
        sample.push(started.elapsed());
    }
    millis(sample.percentile(50))
}

fn median_of(times: usize, measured: impl Fn() -> Duration) -> f64 {
    // The first one reads files that the system doesn't hold yet.
    measured();
    millis(Sample::of((0..times).map(|_| measured()).collect()).percentile(50))
}

/// KiB of each of many instances that compute.
async fn live_on_bare(bare: &Arc<BareProbe>) -> f64 {
    // What all instances share.
    bare.add().await;
    let before = resident_kib();
    let calls: Vec<_> = (0..LIVE)
        .map(|_| {
            let bare = bare.clone();
            tokio::spawn(async move { bare.spin().await })
        })
        .collect();
    let alive = settled_resident_kib().await;
    for call in calls {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled(), "all of them were alive");
    }
    (alive - before) / f64::from(LIVE)
}

/// The same in the product.
async fn live_in_host(host: &Arc<Dispatch>) -> f64 {
    add(host, &host.emitter("default")).await;
    host.live_kib("probe_spin", json!({}), LIVE).await
}

/// The first call after the component was loaded.
async fn first_call(component: &Path, cache: &Path) -> Duration {
    let host = Dispatch::of_file(&EventBus::new(), component, cache, CallLimits::default()).await;
    let emitter = host.emitter("default");
    let started = Instant::now();
    add(&host, &emitter).await;
    started.elapsed()
}

fn first_call_in_a_process(component: &Path, cache: &Path) -> Duration {
    let ran = Command::new(std::env::current_exe().unwrap())
        .arg(FIRST_CALL)
        .args([component, cache])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let nanoseconds = String::from_utf8_lossy(&ran.stdout);
    Duration::from_nanos(nanoseconds.trim().parse().unwrap())
}

fn whole_process(component: &Path) -> Duration {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("languages/call");
    std::fs::create_dir_all(&folder).unwrap();
    let config = format!("[plugins.probe]\ncomponent = {:?}\n", component.display().to_string());
    std::fs::write(folder.join("cofferdam.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
    command
        .args(["tool", "call", "probe_add", &input().to_string(), "--quiet"])
        .current_dir(&folder)
        .env("XDG_CACHE_HOME", cache_home())
        .env("XDG_DATA_HOME", &folder)
        .stdout(Stdio::null());
    let started = Instant::now();
    let status = command.status().unwrap();
    let took = started.elapsed();
    assert!(status.success());
    took
}
