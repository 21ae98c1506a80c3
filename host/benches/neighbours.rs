//! What runaways cost everybody else. Fails where one of them is over its limit.
//!
//! - **Neighbours.** Calls of a trivial tool that arrive at a steady rate from a thread outside the runtime, whether or not the
//!   ones before are done: alone, and beside 64 guests that compute for ever. A load from inside the runtime would wait for
//!   its own turn before it starts the clock, and hide the queue.
//! - **Tenants.** What one tenant gets done alone, and while another floods the host.
//! - **Kill.** By how much a runaway outlives its deadline: alone, and 64 at once.
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
/// How long each figure is measured.
const SPAN: Duration = Duration::from_millis(if IS_BENCH { 4_000 } else { 200 });
/// Between two arrivals.
const ARRIVAL: Duration = Duration::from_millis(2);
/// The limits: p99 beside runaways in quiet p99s, or at least this; the share of a tenant; the overshoot of a kill at p99.
const MOST_QUIET: f64 = 2.0;
const ALWAYS_GOOD: Duration = Duration::from_millis(1);
const LEAST_SHARE: f64 = 0.4;
const OVERSHOOT_ALONE: Duration = Duration::from_millis(5);
const OVERSHOOT_CROWDED: Duration = Duration::from_millis(20);

fn main() {
    let runtime = runtime();
    let mut limits = Limits::default();
    neighbours(&runtime, &mut limits);
    tenants(&runtime, &mut limits);
    kill(&runtime, &mut limits);
    limits.enforce();
}

fn neighbours(runtime: &Runtime, limits: &mut Limits) {
    let host = Lab::new(runtime, Duration::from_secs(600));
    let mut quiet = arrivals(runtime.handle(), &host);
    let crowd = Crowd::start(runtime.handle(), &host, "crowd");
    let mut crowded = arrivals(runtime.handle(), &host);
    crowd.stop(runtime);
    println!(
        "calls that arrive every {ARRIVAL:?}: p50 {:.0} µs, p99 {:.0} µs; beside {RUNAWAYS} runaways of the same tenant p50 {:.0} µs, p99 {:.0} µs",
        micros(quiet.percentile(50)),
        micros(quiet.percentile(99)),
        micros(crowded.percentile(50)),
        micros(crowded.percentile(99))
    );
    let limit = quiet.percentile(99).mul_f64(MOST_QUIET).max(ALWAYS_GOOD);
    limits.at_most("neighbours at p99, µs", micros(crowded.percentile(99)), micros(limit));
}

/// Calls that arrive at a steady rate; each is timed from when it was due.
fn arrivals(handle: &Handle, host: &Arc<Lab>) -> Sample {
    let begin = Instant::now();
    let mut due = begin;
    let mut calls: Vec<JoinHandle<Duration>> = Vec::new();
    while due < begin + SPAN {
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
        due += ARRIVAL;
    }
    Sample::of(calls.into_iter().map(|call| handle.block_on(call).unwrap()).collect())
}

fn tenants(runtime: &Runtime, limits: &mut Limits) {
    let host = Lab::new(runtime, Duration::from_secs(600));
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
            limits.at_least(
                &format!("share of {workers} at a time beside {what}"),
                share,
                LEAST_SHARE,
            );
        }
    }
}

/// Calls a second of so many at a time, one after the other.
fn throughput(runtime: &Runtime, host: &Arc<Lab>, tenant: &'static str, workers: usize) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..workers)
        .map(|_| {
            let (host, done) = (host.clone(), done.clone());
            runtime.spawn(async move {
                while begin.elapsed() < SPAN / 2 {
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
    let host = Lab::new(runtime, timeout);
    let rounds = if IS_BENCH { 20 } else { 1 };
    for (at_once, limit) in [(1, OVERSHOOT_ALONE), (RUNAWAYS, OVERSHOOT_CROWDED)] {
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

/// Guests that compute for ever.
struct Crowd {
    tasks: Vec<JoinHandle<()>>,
    cancel: CancellationToken,
}

impl Crowd {
    fn start(handle: &Handle, host: &Arc<Lab>, tenant: &'static str) -> Self {
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
        // Until all of them run.
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

/// Short calls of another tenant, as many as it can.
struct Flood {
    tasks: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
}

impl Flood {
    fn start(handle: &Handle, host: &Arc<Lab>) -> Self {
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

/// The dispatch path, with nobody listening.
struct Lab(Dispatch);

impl Lab {
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
