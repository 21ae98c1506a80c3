//! Memory per live instance, and memory that many calls leave behind.
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

use cofferdam::events::Outcome;
use cofferdam::sandbox::Limits as CallLimits;
use cofferdam::telemetry::EventBus;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::common::dispatch::Dispatch;
use self::common::{IS_BENCH, Limits, resident_kib, runtime};

/// Instances alive at once.
const LIVE: u32 = if IS_BENCH { 500 } else { 20 };
const FEW_CALLS: u32 = if IS_BENCH { 1_000 } else { 10 };
const MANY_CALLS: u32 = if IS_BENCH { 100_000 } else { 100 };
/// The limits.
const MAX_KIB_PER_INSTANCE: f64 = 100.0;
const MAX_GROWTH: f64 = 1.05;

fn main() {
    let runtime = runtime();
    let mut limits = Limits::default();
    // First, because free memory that live instances leave in the allocator would hide growth.
    runtime.block_on(many_calls(&mut limits));
    runtime.block_on(live_instances(&mut limits));
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

async fn host(limits: CallLimits) -> Arc<Dispatch> {
    let bus = EventBus::new();
    let host = Dispatch::with(&bus, "faulty", limits, |config| {
        config.engine.host_concurrency = config.engine.host_concurrency.max(LIVE);
    });
    Arc::new(host.await)
}
