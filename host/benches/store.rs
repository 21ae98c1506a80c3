//! What the books on disk can do, beside the disk itself. Fails if a figure exceeds its limit.
//!
//! F is the time of one commit to a database of SQLite in the same mode, on the same disk: a row in a write-ahead log, flushed.
//! Machines and disks differ by orders of magnitude, so figures are given in F where the disk decides them.
//!
//! `cargo bench --bench store`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_types
)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use cofferdam::agent::{DEFAULT_TENANT, RunOptions};
use cofferdam::assembly::Host;
use cofferdam::config::Config;
use cofferdam::events::Ending;
use cofferdam::ledger::{BudgetSettings, Ledger, ReserveRequest};
use cofferdam::model::ProviderKind;
use cofferdam::money::NanoUsd;
use cofferdam::sandbox::CompilePlace;
use cofferdam::simulator::{Answer, Script, Simulator, SimulatorOptions, ToolCall};
use cofferdam::store::{Durability, Store};
use cofferdam::tools::{ComponentSource, PluginSettings};

use serde_json::json;

use self::common::{COMMITS, IS_BENCH, Limits, PLUGIN, Sample, TOOL, commit_time, millis, runtime};

/// Callers that reserve and settle at the same time.
const AT_ONCE: usize = 64;
/// Pairs of a reservation and its settlement, of each caller.
const PAIRS: usize = if IS_BENCH { 300 } else { 2 };
/// Prompts of the session that is read back, and calls of each.
const PROMPTS: usize = if IS_BENCH { 100 } else { 2 };
const CALLS: usize = 10;
const RESUMES: usize = if IS_BENCH { 20 } else { 1 };

const MIN_PAIRS_PER_SECOND: f64 = 5_000.0;
/// One caller: a commit to reserve and one to settle.
const MAX_PAIR_IN_F: f64 = 4.0;
const MAX_RESUME_MILLIS: f64 = 50.0;

fn main() {
    let runtime = runtime();
    let mut limits = Limits::default();
    // Not in `/tmp`, which may be a tmpfs.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let flush = commit_time(folder.path());
    println!("F, one commit of SQLite: {:.3} ms", millis(flush));
    runtime.block_on(pairs(folder.path(), flush, &mut limits));
    runtime.block_on(resume(folder.path(), &mut limits));
    limits.enforce();
}

fn request(caller: usize) -> ReserveRequest {
    ReserveRequest {
        tenant: DEFAULT_TENANT.to_owned(),
        session_id: caller.to_string(),
        model: "m".to_owned(),
        amount: NanoUsd::from_nanos(1_000),
        limits: BudgetSettings::default().limits(DEFAULT_TENANT),
        now: jiff::Timestamp::now(),
    }
}

async fn pair(ledger: &Ledger, caller: usize) {
    let attempt = ledger.reserve(request(caller)).await.unwrap().begin();
    attempt.settle(NanoUsd::from_nanos(1), &()).await.unwrap();
}

async fn pairs(folder: &Path, flush: Duration, limits: &mut Limits) {
    let store = Store::open(&folder.join("pairs.sqlite3"), Durability::PowerLoss).unwrap();
    let ledger = store.ledger();
    let mut alone = Vec::with_capacity(COMMITS);
    for _ in 0..COMMITS {
        let started = Instant::now();
        pair(&ledger, 0).await;
        alone.push(started.elapsed());
    }
    let alone = Sample::of(alone).percentile(50);
    let started = Instant::now();
    let callers: Vec<_> = (0..AT_ONCE)
        .map(|caller| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for _ in 0..PAIRS {
                    pair(&ledger, caller).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let rate = (AT_ONCE * PAIRS) as f64 / started.elapsed().as_secs_f64();
    let in_f = alone.as_secs_f64() / flush.as_secs_f64();
    println!("reserve and settle, one caller: {:.3} ms, {in_f:.2} F", millis(alone));
    println!("reserve and settle, {AT_ONCE} callers: {rate:.0} pairs/s");
    limits.at_most("a pair of one caller, in F", in_f, MAX_PAIR_IN_F);
    limits.at_least("pairs a second", rate, MIN_PAIRS_PER_SECOND);
}

async fn resume(folder: &Path, limits: &mut Limits) {
    let calls = (0..CALLS).map(|_| ToolCall::new(TOOL, json!({ "expression": "25 * 17" })));
    let script = Script::new()
        .answer(Answer::tools(calls).when_last_user_contains("What").forever())
        .answer(Answer::text("25 * 17 = 425.").forever());
    let model = Simulator::start(script, SimulatorOptions::default()).unwrap();
    let mut config = Config {
        plugins: vec![PluginSettings::new(PLUGIN, ComponentSource::Builtin(PLUGIN.to_owned()))],
        ..Config::default()
    };
    config.model.provider = ProviderKind::Simulated;
    config.model.base_url = model.url().parse().unwrap();
    config.storage.path = Some(folder.to_owned());
    // In force but unreachable.
    let much = Some(NanoUsd::from_nanos(1_000_000_000_000_000));
    (config.budget.session, config.budget.daily) = (much, much);
    let host = Host::builder(config).compile_place(CompilePlace::ThisProcess);
    let host = host.build().await.unwrap();
    let id = {
        let mut session = host.session();
        for _ in 0..PROMPTS {
            let report = session.run("What is 25 * 17?", RunOptions::default()).await;
            assert_eq!(report.outcome, Ending::Completed, "{report:?}");
        }
        session.id().to_owned()
    };
    let mut resumes = Vec::with_capacity(RESUMES);
    while resumes.len() < RESUMES {
        let started = Instant::now();
        // The one before is given back by a commit of its own.
        if let Ok(session) = host.reopen(DEFAULT_TENANT, &id).await {
            resumes.push(started.elapsed());
            assert_eq!(session.messages().len(), PROMPTS * 4);
        }
    }
    let resumed = Sample::of(resumes).percentile(50);
    let calls = PROMPTS * CALLS;
    println!("a session of {calls} calls is taken over in {:.1} ms", millis(resumed));
    limits.at_most("ms to take a session over", millis(resumed), MAX_RESUME_MILLIS);
}
