//! What runaway guests cost other calls. Fails if a figure exceeds its limit.
//!
//! - **Neighbours.** Latency of calls of a trivial tool, alone and beside 64 guests that compute forever. A thread outside the
//!   runtime issues them at a steady rate, without waiting for earlier ones. A load generator inside the runtime would be
//!   delayed itself before it starts the clock, and hide the queueing time.
//! - **Tenants.** Throughput of one tenant, alone and while another floods the host.
//! - **Kill.** How long a runaway outlives its deadline, alone and with 64 at once.
//!
//! `cargo bench --bench neighbours`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_types
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cofferdam::events::Outcome;
use cofferdam::sandbox::Limits as CallLimits;
use cofferdam::telemetry::EventBus;
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::common::dispatch::Dispatch;
use self::common::{IS_BENCH, Limits, Sample, micros, runtime};

const RUNAWAYS: usize = 64;
/// The duration of each measurement.
const MEASURED_TIME: Duration = Duration::from_millis(if IS_BENCH { 4_000 } else { 200 });
/// The time between two calls.
const ARRIVAL_INTERVAL: Duration = Duration::from_millis(2);
/// The limits: the p99 beside runaways relative to the quiet p99, or the p99 that is always accepted; the share of a tenant;
/// the overshoot of a kill at p99.
const MAX_CROWDED_PER_QUIET: f64 = 2.0;
const ACCEPTED_P99: Duration = Duration::from_millis(1);
const MIN_SHARE: f64 = 0.4;
const MAX_OVERSHOOT_ALONE: Duration = Duration::from_millis(5);
const MAX_OVERSHOOT_CROWDED: Duration = Duration::from_millis(20);

fn main() {
    let runtime = runtime();
    let mut limits = Limits::default();
    neighbours(&runtime, &mut limits);
    tenants(&runtime, &mut limits);
    kill(&runtime, &mut limits);
    limits.enforce();
}

fn neighbours(runtime: &Runtime, limits: &mut Limits) {
    let host = BenchHost::new(runtime, Duration::from_secs(600));
    let mut quiet = arrivals(runtime.handle(), &host);
    let crowd = Crowd::start(runtime.handle(), &host, "crowd");
    let mut crowded = arrivals(runtime.handle(), &host);
    crowd.stop(runtime);
    println!(
        "calls that arrive every {ARRIVAL_INTERVAL:?}: p50 {:.0} µs, p99 {:.0} µs; beside {RUNAWAYS} runaways of the same tenant p50 {:.0} µs, p99 {:.0} µs",
        micros(quiet.percentile(50)),
        micros(quiet.percentile(99)),
        micros(crowded.percentile(50)),
        micros(crowded.percentile(99))
    );
    let limit = quiet.percentile(99).mul_f64(MAX_CROWDED_PER_QUIET).max(ACCEPTED_P99);
    limits.at_most("neighbours at p99, µs", micros(crowded.percentile(99)), micros(limit));
}

/// Issues calls at a steady rate and times each from its arrival, including its wait for the runtime.
fn arrivals(handle: &Handle, host: &Arc<BenchHost>) -> Sample {
    let begin = Instant::now();
    let mut due = begin;
    let mut calls: Vec<JoinHandle<Duration>> = Vec::new();
    while due < begin + MEASURED_TIME {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let host = host.clone();
        let arrived = Instant::now();
        calls.push(handle.spawn(async move {
            let outcome = host
                .call(
                    "crowd",
                    "echo",
                    json!({ "location": "Boston" }),
                    &CancellationToken::new(),
                )
                .await;
            assert_eq!(outcome, Outcome::Ok);
            arrived.elapsed()
        }));
        due += ARRIVAL_INTERVAL;
    }
    Sample::of(calls.into_iter().map(|call| handle.block_on(call).unwrap()).collect())
}

fn tenants(runtime: &Runtime, limits: &mut Limits) {
    let host = BenchHost::new(runtime, Duration::from_secs(600));
    for workers in [1, 4] {
        let alone = throughput(runtime, &host, "quiet", workers);
        let flood = Flood::start(runtime.handle(), &host);
        let beside = throughput(runtime, &host, "quiet", workers);
        flood.stop(runtime);
        let crowd = Crowd::start(runtime.handle(), &host, "loud");
        let beside_runaways = throughput(runtime, &host, "quiet", workers);
        crowd.stop(runtime);
        for (what, beside) in [("a flood of calls", beside), ("runaways", beside_runaways)] {
            let share = beside / alone;
            println!(
                "a tenant with {workers} calls at a time: {alone:.0} a second alone, {beside:.0} beside {what} of another: {share:.2}"
            );
            limits.at_least(&format!("share of {workers} at a time beside {what}"), share, MIN_SHARE);
        }
    }
}

/// Calls per second of `workers` concurrent workers.
fn throughput(runtime: &Runtime, host: &Arc<BenchHost>, tenant: &'static str, workers: usize) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..workers)
        .map(|_| {
            let (host, done) = (host.clone(), done.clone());
            runtime.spawn(async move {
                while begin.elapsed() < MEASURED_TIME / 2 {
                    let outcome = host.call(tenant, "echo", json!({}), &CancellationToken::new()).await;
                    assert_eq!(outcome, Outcome::Ok);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64()
}

fn kill(runtime: &Runtime, limits: &mut Limits) {
    let timeout = Duration::from_millis(200);
    let host = BenchHost::new(runtime, timeout);
    let rounds = if IS_BENCH { 20 } else { 1 };
    for (at_once, limit) in [(1, MAX_OVERSHOOT_ALONE), (RUNAWAYS, MAX_OVERSHOOT_CROWDED)] {
        let mut overshoots = Vec::new();
        for _ in 0..rounds {
            let calls: Vec<_> = (0..at_once)
                .map(|_| {
                    let host = host.clone();
                    runtime.spawn(async move {
                        let started = Instant::now();
                        let outcome = host
                            .call("kill", "loop_forever", json!({}), &CancellationToken::new())
                            .await;
                        assert_eq!(outcome, Outcome::Timeout);
                        started.elapsed().saturating_sub(timeout)
                    })
                })
                .collect();
            overshoots.extend(calls.into_iter().map(|call| runtime.block_on(call).unwrap()));
        }
        let mut overshoot = Sample::of(overshoots);
        println!(
            "a runaway outlives its deadline, {at_once} at once: p50 {:.1} ms, p99 {:.1} ms",
            micros(overshoot.percentile(50)) / 1e3,
            micros(overshoot.percentile(99)) / 1e3
        );
        let what = format!("overshoot of {at_once} at once, µs");
        limits.at_most(&what, micros(overshoot.percentile(99)), micros(limit));
    }
}

/// Guests that compute forever.
struct Crowd {
    tasks: Vec<JoinHandle<()>>,
    cancel: CancellationToken,
}

impl Crowd {
    fn start(handle: &Handle, host: &Arc<BenchHost>, tenant: &'static str) -> Self {
        let cancel = CancellationToken::new();
        let tasks = (0..RUNAWAYS)
            .map(|_| {
                let (host, cancel) = (host.clone(), cancel.clone());
                handle.spawn(async move {
                    let outcome = host.call(tenant, "loop_forever", json!({}), &cancel).await;
                    assert_eq!(outcome, Outcome::Cancelled);
                })
            })
            .collect();
        // Wait until all of them run.
        std::thread::sleep(Duration::from_millis(200));
        Self { tasks, cancel }
    }

    fn stop(self, runtime: &Runtime) {
        self.cancel.cancel();
        for task in self.tasks {
            runtime.block_on(task).unwrap();
        }
    }
}

/// Short calls of another tenant, as many as possible.
struct Flood {
    tasks: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
}

impl Flood {
    fn start(handle: &Handle, host: &Arc<BenchHost>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let tasks = (0..RUNAWAYS)
            .map(|_| {
                let (host, over) = (host.clone(), over.clone());
                handle.spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        host.call("loud", "echo", json!({}), &CancellationToken::new()).await;
                    }
                })
            })
            .collect();
        Self { tasks, over }
    }

    fn stop(self, runtime: &Runtime) {
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            runtime.block_on(task).unwrap();
        }
    }
}

/// The dispatch path without listeners.
struct BenchHost(Dispatch);

impl BenchHost {
    fn new(runtime: &Runtime, timeout: Duration) -> Arc<Self> {
        let limits = CallLimits {
            fuel: i64::MAX as u64,
            timeout,
            concurrency: 1_000,
            ..CallLimits::default()
        };
        Arc::new(Self(runtime.block_on(Dispatch::new(
            &EventBus::new(),
            "faulty",
            limits,
        ))))
    }

    async fn call(&self, tenant: &str, tool: &str, input: Value, cancel: &CancellationToken) -> Outcome {
        self.0.call(&self.0.emitter(tenant), tool, input, cancel).await
    }
}
