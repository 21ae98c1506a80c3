//! Memory per live instance and per session, and memory that many calls leave behind.
//!
//! Measures the proportional set size (`Pss`): the instances of a component share the pages of its image, and `Pss` counts
//! shared pages once. For pages mapped once it equals the resident set size.
//!
//! `cargo bench --bench memory`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_types
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use cofferdam::agent::RunOptions;
use cofferdam::assembly::Host;
use cofferdam::config::Config;
use cofferdam::events::{Ending, Outcome};
use cofferdam::model::ProviderKind;
use cofferdam::sandbox::Limits as CallLimits;
use cofferdam::simulator::{Answer, Script, Simulator, SimulatorOptions, StreamOptions};
use cofferdam::store::Store;
use cofferdam::telemetry::EventBus;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::common::dispatch::Dispatch;
use self::common::{IS_BENCH, Limits, resident_kib, runtime, settled_resident_kib};

/// Instances alive at once.
const LIVE: u32 = if IS_BENCH { 500 } else { 20 };
const FEW_CALLS: u32 = if IS_BENCH { 1_000 } else { 10 };
const MANY_CALLS: u32 = if IS_BENCH { 100_000 } else { 100 };
/// The limits.
const MAX_KIB_PER_INSTANCE: f64 = 100.0;
const MAX_GROWTH: f64 = 1.05;
/// Sessions that are kept after a prompt, and those whose answers are arriving.
const IDLE: usize = if IS_BENCH { 2_000 } else { 10 };
const STREAMING: usize = if IS_BENCH { 200 } else { 5 };
const MAX_KIB_PER_IDLE_SESSION: f64 = 64.0;
const MAX_KIB_PER_STREAMING_SESSION: f64 = 512.0;

fn main() {
    let runtime = runtime();
    let mut limits = Limits::default();
    // First, because free memory that live instances leave in the allocator would hide growth.
    runtime.block_on(many_calls(&mut limits));
    runtime.block_on(live_instances(&mut limits));
    runtime.block_on(sessions(&mut limits));
    limits.enforce();
}

async fn many_calls(limits: &mut Limits) {
    let host = host(CallLimits::default()).await;
    let call = async |times: u32| {
        let emitter = host.emitter("default");
        for number in 0..times {
            let input = json!({ "number": number });
            let outcome = host.call(&emitter, "echo", input, &CancellationToken::new()).await;
            assert_eq!(outcome, Outcome::Ok);
        }
    };
    call(FEW_CALLS).await;
    let few = resident_kib();
    call(MANY_CALLS - FEW_CALLS).await;
    let many = resident_kib();
    println!(
        "resident after {FEW_CALLS} calls {few:.0} KiB, after {MANY_CALLS} {many:.0} KiB: {:.3} times",
        many / few
    );
    limits.at_most(
        "resident memory after many calls, in that after few",
        many / few,
        MAX_GROWTH,
    );
}

async fn live_instances(limits: &mut Limits) {
    let host = host(CallLimits {
        concurrency: LIVE,
        timeout: Duration::from_secs(120),
        ..CallLimits::default()
    })
    .await;
    let each = host.live_kib("sleep", json!({ "ms": 60_000 }), LIVE).await;
    println!("a live instance of the Rust plugin `faulty`: {each:.0} KiB resident, {LIVE} at once");
    limits.at_most("KiB for each live instance", each, MAX_KIB_PER_INSTANCE);
}

/// The simulated model runs in this process, so that what it holds for each connection counts as well.
async fn sessions(limits: &mut Limits) {
    let endless = StreamOptions {
        chunk: 1,
        chunk_delay: Duration::from_secs(60),
        ..StreamOptions::default()
    };
    let script = Script::new()
        .answer(Answer::text("Hello.").when_last_user_contains("Hi").forever())
        .answer(Answer::text("One moment.").streamed(endless).forever());
    let options = SimulatorOptions {
        max_connections: STREAMING,
        ..SimulatorOptions::default()
    };
    let model = Simulator::start(script, options).unwrap();
    let mut config = Config::default();
    config.model.provider = ProviderKind::Simulated;
    config.model.base_url = model.url().parse().unwrap();
    config.budget.daily = None;
    let host = Host::builder(config)
        .store(Store::in_memory().unwrap())
        .build()
        .await
        .unwrap();

    let before = settled_resident_kib().await;
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut session = host.session();
        let report = session.run("Hi", RunOptions::default()).await;
        assert_eq!(report.outcome, Ending::Completed);
        idle.push(session);
    }
    let each = (settled_resident_kib().await - before) / IDLE as f64;
    println!(
        "an idle session after a short prompt: {each:.1} KiB resident, of {IDLE}; their books are in memory as well"
    );
    limits.at_most("KiB for each idle session", each, MAX_KIB_PER_IDLE_SESSION);

    let before = settled_resident_kib().await;
    let mut streaming = JoinSet::new();
    for _ in 0..STREAMING {
        let mut session = host.session();
        streaming.spawn(async move { session.run("Go on.", RunOptions::default()).await.outcome });
    }
    let each = (settled_resident_kib().await - before) / STREAMING as f64;
    println!("a session whose answer is arriving: {each:.1} KiB resident, of {STREAMING}");
    assert_eq!(streaming.len(), STREAMING, "none has ended");
    limits.at_most("KiB for each streaming session", each, MAX_KIB_PER_STREAMING_SESSION);
    streaming.shutdown().await;
}

async fn host(limits: CallLimits) -> Arc<Dispatch> {
    let bus = EventBus::new();
    let host = Dispatch::with(&bus, "faulty", limits, |config| {
        config.engine.host_concurrency = config.engine.host_concurrency.max(LIVE);
    });
    Arc::new(host.await)
}
