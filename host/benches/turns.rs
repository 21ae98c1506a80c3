//! What the host adds to a turn of an agent, as ratios within one run. Fails if one exceeds its limit.
//!
//! A session is two turns: the model requests a calculation, the tool runs in its sandbox, and the model answers. The floor is
//! a bare agent that sends the same requests, byte for byte, reads the same streams to their end and calls the same tool on
//! bare wasmtime. It has no retries, time-outs, budget, breaker, schema check, policy or events. Both call the same server
//! over real HTTP. The server is a child process, so its CPU time isn't counted.
//!
//! The host runs with its ledger in memory and on disk, where every reservation and settlement is synced. Nothing observes
//! its events, except where the first text of an answer is timed. Rounds are interleaved, because machines are shared.
//!
//! The first text of an answer is timed as an embedder would: an observer sees it come. The clock starts with the event
//! `budget_reserved`, which the host emits as soon as it knows that the commit is durable for which the request waited. The
//! bare agent's clock starts when it hands a finished request to the HTTP library.
//!
//! `cargo bench --bench turns`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_types
)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cofferdam::agent::RunOptions;
use cofferdam::assembly::Host;
use cofferdam::config::Config;
use cofferdam::events::{Ending, Event, EventKind};
use cofferdam::model::ProviderKind;
use cofferdam::money::NanoUsd;
use cofferdam::sandbox::CompilePlace;
use cofferdam::store::{Durability, Store};
use cofferdam::telemetry::Observer;
use cofferdam::tools::{ComponentSource, PluginSettings};
use serde_json::Value;
use tokio::runtime::Handle;
use url::Url;

use self::common::bare_agent::{BareAgent, CacheControl, Tool};
use self::common::messages_api::{ANSWER, MessagesApi, become_server_if_asked};
use self::common::{IS_BENCH, Limits, PLUGIN, Sample, commit_time, millis, runtime};

const PROMPT: &str = "What is 25 * 17?";
/// Model calls of a session.
const TURNS: u32 = 2;
const ROUNDS: usize = if IS_BENCH { 5 } else { 1 };
/// Sessions that run at the same time.
const AT_ONCE: [usize; 3] = [1, 50, 200];
/// The limits: CPU time of a turn, relative to the bare agent's.
const MAX_IN_MEMORY_PER_FLOOR: f64 = 7.0;
const MAX_ON_DISK_PER_FLOOR: f64 = 11.0;
/// Sessions of a round whose answers' first texts are timed, one after the other.
const FIRST_TEXTS: usize = if IS_BENCH { 200 } else { 2 };
/// The limit of the first text, after the bare agent's.
const MAX_FIRST_TEXT_MILLIS: f64 = 0.2;
/// Sessions of the open loop.
const ARRIVALS: usize = if IS_BENCH { 4_000 } else { 10 };
/// The limits of a turn in the open loop: so many commits of the disk, and so many milliseconds.
const MAX_OPEN_MEDIAN: (f64, f64) = (4.0, 4.0);
const MAX_OPEN_SLOW: (f64, f64) = (12.0, 60.0);

fn main() {
    become_server_if_asked();
    let runtime = runtime();
    let mut limits = Limits::default();
    runtime.block_on(turns(&mut limits));
    limits.enforce();
}

async fn turns(limits: &mut Limits) {
    let mut api = MessagesApi::start();
    // Not in `/tmp`, which may be a tmpfs.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let on_disk = Store::open(&folder.path().join("ledger.sqlite3"), Durability::default()).unwrap();
    let in_memory = host(api.url(), folder.path(), Store::in_memory().unwrap(), None).await;
    let on_disk = host(api.url(), folder.path(), on_disk, None).await;
    let bare = bare_agent(api.url(), &in_memory);
    first_texts(&mut api, folder.path(), bare, limits).await;
    let agents = [
        ("bare agent", Agent::Bare(Box::new(bare_agent(api.url(), &in_memory)))),
        ("host, ledger in memory", Agent::Host(in_memory)),
        ("host, ledger on disk", Agent::Host(on_disk)),
    ]
    .map(|(name, agent)| (name, Arc::new(agent)));

    let mut figures: [[Figures; 3]; 3] = Default::default();
    let mut requests = None;
    // The first round opens the connections and doesn't count.
    for round in 0..=ROUNDS {
        for (figures, at_once) in figures.iter_mut().zip(AT_ONCE) {
            for (figures, (name, agent)) in figures.iter_mut().zip(&agents) {
                let measured = measure(agent, at_once).await;
                check_requests(&mut api, name, sessions(at_once), &mut requests);
                if round > 0 {
                    figures.add(measured);
                }
            }
        }
    }

    println!(
        "one turn of an agent, {ROUNDS} interleaved rounds; a session is {TURNS} turns and a call of the calculator"
    );
    println!(
        "{:<42} {:>10} {:>10} {:>10} {:>9} {:>9} {:>10}",
        "", "p50", "p99", "CPU", "p50/bare", "CPU/bare", "sessions/s"
    );
    let [.., [.., most_at_once]] = &figures;
    let most = Row::sessions_a_second(most_at_once);
    for (figures, at_once) in figures.into_iter().zip(AT_ONCE) {
        let [bare, in_memory, on_disk] = figures.map(Row::from);
        for (row, (name, _)) in [&bare, &in_memory, &on_disk].into_iter().zip(&agents) {
            row.print(&format!("{at_once:>3} at once, {name}"), &bare);
        }
        for (name, row, limit) in [
            ("in memory", &in_memory, MAX_IN_MEMORY_PER_FLOOR),
            ("on disk", &on_disk, MAX_ON_DISK_PER_FLOOR),
        ] {
            let what = format!("CPU time of a turn in bare ones, {at_once} at once, ledger {name}");
            limits.at_most(&what, row.cpu / bare.cpu, limit);
        }
    }
    let flush = millis(commit_time(folder.path()));
    println!("sessions that arrive at half the rate of {most:.0} a second; F, one commit of SQLite: {flush:.3} ms");
    let [(bare, floor), _, (name, on_disk)] = &agents;
    for (name, agent, is_limited) in [(bare, floor, false), (name, on_disk, true)] {
        let mut turns = open_loop(agent, most / 2.0).await;
        check_requests(&mut api, name, ARRIVALS, &mut requests);
        let [median, slow] = [50, 99].map(|percent| millis(turns.percentile(percent)));
        println!("{name:<42} {median:>7.3} ms {slow:>7.3} ms");
        if is_limited {
            for (what, figure, (commits, more)) in [("p50", median, MAX_OPEN_MEDIAN), ("p99", slow, MAX_OPEN_SLOW)] {
                let what = format!("ms of a turn in the open loop, {what}");
                limits.at_most(&what, figure, commits * flush + more);
            }
        }
    }
}

/// Times the first text of each answer, of one session at a time.
async fn first_texts(api: &mut MessagesApi, folder: &Path, bare: BareAgent, limits: &mut Limits) {
    let on_disk = Store::open(&folder.join("first-texts.sqlite3"), Durability::default()).unwrap();
    let names = ["bare agent", "host, ledger in memory", "host, ledger on disk"];
    let seen: [FirstTexts; 3] = Default::default();
    let in_memory = host(api.url(), folder, Store::in_memory().unwrap(), Some(seen[1].clone())).await;
    let on_disk = host(api.url(), folder, on_disk, Some(seen[2].clone())).await;
    let agents = [
        Agent::Bare(Box::new(bare)),
        Agent::Host(in_memory),
        Agent::Host(on_disk),
    ]
    .map(Arc::new);
    let mut requests = None;
    for round in 0..=ROUNDS {
        for ((agent, seen), name) in agents.iter().zip(&seen).zip(names) {
            let (agent, noted) = (agent.clone(), seen.clone());
            let sessions = tokio::spawn(async move {
                for _ in 0..FIRST_TEXTS {
                    match &*agent {
                        Agent::Bare(agent) => agent.run_noting(PROMPT, |after| noted.push(after)).await,
                        Agent::Host(_) => agent.run().await,
                    };
                }
            });
            sessions.await.unwrap();
            check_requests(api, name, FIRST_TEXTS, &mut requests);
            if round == 0 {
                seen.times.lock().unwrap().clear();
            }
        }
    }
    println!("the first text of an answer, after the request was sent, or after the commit for which it waited");
    let mut bare = None;
    for (name, seen) in names.into_iter().zip(seen) {
        let mut times = Sample::of(std::mem::take(&mut seen.times.lock().unwrap()));
        let [median, slow] = [50, 99].map(|percent| millis(times.percentile(percent)));
        println!("{name:<42} {median:>7.3} ms {slow:>7.3} ms");
        let floor = *bare.get_or_insert(median);
        let what = format!("ms until the first text, after the bare agent's, {name}");
        limits.at_most(&what, median - floor, MAX_FIRST_TEXT_MILLIS);
    }
}

/// How long after each commit the first text of the answer was seen.
#[derive(Clone, Default)]
struct FirstTexts {
    times: Arc<Mutex<Vec<Duration>>>,
    committed: Option<jiff::Timestamp>,
}

impl FirstTexts {
    fn push(&self, after: Duration) {
        self.times.lock().unwrap().push(after);
    }
}

impl Observer for FirstTexts {
    fn on_event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::BudgetReserved { .. } => self.committed = Some(event.at),
            EventKind::TextDelta { .. } => {
                if let Some(committed) = self.committed.take() {
                    self.push(jiff::Timestamp::now().duration_since(committed).unsigned_abs());
                }
            }
            _ => {}
        }
    }
}

/// Begins sessions at this rate, whether the ones before have ended or not.
async fn open_loop(agent: &Arc<Agent>, a_second: f64) -> Sample {
    let (agent, runtime) = (agent.clone(), Handle::current());
    // A thread of its own, because the runtime's timers are late by up to a millisecond.
    let sessions = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let sessions = (0..ARRIVALS).map(|number| {
            let due = begun + Duration::from_secs_f64(number as f64 / a_second);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let agent = agent.clone();
            runtime.spawn(async move {
                assert_eq!(agent.run().await, ANSWER);
                // From when it was due, so that a late start counts.
                due.elapsed() / TURNS
            })
        });
        sessions.collect::<Vec<_>>()
    });
    let mut turns = Vec::with_capacity(ARRIVALS);
    for session in sessions.await.unwrap() {
        turns.push(session.await.unwrap());
    }
    Sample::of(turns)
}

/// Sessions of one round, divided evenly among the concurrent ones.
fn sessions(at_once: usize) -> usize {
    if IS_BENCH { 600 } else { at_once.max(10) }
}

enum Agent {
    Bare(Box<BareAgent>),
    Host(Host),
}

impl Agent {
    async fn run(&self) -> String {
        match self {
            Self::Bare(agent) => agent.run(PROMPT).await,
            Self::Host(host) => {
                let report = host.session().run(PROMPT, RunOptions::default()).await;
                assert_eq!(report.outcome, Ending::Completed, "{report:?}");
                report.answer
            }
        }
    }
}

async fn host(api: &Url, folder: &Path, store: Store, observer: Option<FirstTexts>) -> Host {
    let mut config = Config {
        plugins: vec![PluginSettings {
            required: true,
            ..PluginSettings::new(PLUGIN, ComponentSource::Builtin(PLUGIN.to_owned()))
        }],
        ..Config::default()
    };
    config.model.provider = ProviderKind::Simulated;
    config.model.base_url = api.clone();
    config.storage.path = Some(folder.to_owned());
    // In force but unreachable, because all sessions count towards one day.
    config.budget.daily = Some(NanoUsd::from_nanos(1_000_000_000_000_000));
    let mut builder = Host::builder(config).store(store);
    if let Some(observer) = observer {
        builder = builder.observer("first texts", observer);
    }
    builder.compile_place(CompilePlace::ThisProcess).build().await.unwrap()
}

/// A bare agent that sends the same requests as the host.
fn bare_agent(api: &Url, host: &Host) -> BareAgent {
    let tools = host.tools().tools().map(|tool| Tool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        input_schema: serde_json::from_str(tool.input_schema()).unwrap(),
        cache_control: None,
    });
    let mut tools: Vec<_> = tools.collect();
    tools.last_mut().unwrap().cache_control = Some(CacheControl::Ephemeral);
    let model = &host.config().model;
    BareAgent::new(api, &model.model, model.max_tokens, tools)
}

async fn measure(agent: &Arc<Agent>, at_once: usize) -> Figures {
    let each = sessions(at_once) / at_once;
    let (started, cpu) = (Instant::now(), cpu_time());
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let agent = agent.clone();
            tokio::spawn(async move {
                let mut turns = Vec::with_capacity(each);
                for _ in 0..each {
                    let started = Instant::now();
                    assert_eq!(agent.run().await, ANSWER);
                    turns.push(started.elapsed() / TURNS);
                }
                turns
            })
        })
        .collect();
    let mut turns = Vec::with_capacity(sessions(at_once));
    for task in tasks {
        turns.extend(task.await.unwrap());
    }
    Figures {
        wall: started.elapsed(),
        cpu: cpu_time() - cpu,
        turns,
    }
}

/// Checks that the server received two requests per session, the same two from every agent, the second with the result.
fn check_requests(api: &mut MessagesApi, name: &str, sessions: usize, expected: &mut Option<[String; 2]>) {
    let received = api.take_received();
    let [(first, first_count), (second, second_count)] = <[_; 2]>::try_from(received)
        .unwrap_or_else(|received| panic!("{name}: not two different requests, but {received:#?}"));
    assert_eq!(
        (first_count, second_count),
        (sessions, sessions),
        "{name}: one of each for each session"
    );
    let body: Value = serde_json::from_str(&second).unwrap();
    assert_eq!(
        body["messages"][2]["content"][0]["content"][0]["text"], "425",
        "{name}: {body}"
    );
    let expected = expected.get_or_insert_with(|| [first.clone(), second.clone()]);
    assert_eq!(*expected, [first, second], "{name}: the same requests as the others'");
}

/// The CPU time of this process, in user mode and in the kernel, of all its threads.
fn cpu_time() -> Duration {
    /// Linux reports hundredths of a second here, regardless of the kernel's tick.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The program's name is in parentheses and may hold anything. `utime` and `stime` are fields 14 and 15 of proc(5).
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11);
    let ticks: u32 = fields.take(2).map(|field| field.parse::<u32>().unwrap()).sum();
    TICK * ticks
}

/// The measurements of one agent at one concurrency.
#[derive(Default)]
struct Figures {
    /// How long each turn took.
    turns: Vec<Duration>,
    wall: Duration,
    cpu: Duration,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.turns.extend(other.turns);
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

/// The figures of one row, in seconds.
struct Row {
    median: f64,
    slow: f64,
    cpu: f64,
    sessions: f64,
}

impl From<Figures> for Row {
    fn from(Figures { turns, wall, cpu }: Figures) -> Self {
        let sessions = turns.len() as f64;
        let mut turns = Sample::of(turns);
        Self {
            median: turns.percentile(50).as_secs_f64(),
            slow: turns.percentile(99).as_secs_f64(),
            cpu: cpu.as_secs_f64() / sessions / f64::from(TURNS),
            sessions: sessions / wall.as_secs_f64(),
        }
    }
}

impl Row {
    fn sessions_a_second(Figures { turns, wall, .. }: &Figures) -> f64 {
        turns.len() as f64 / wall.as_secs_f64()
    }

    fn print(&self, name: &str, bare: &Self) {
        println!(
            "{name:<42} {:>7.3} ms {:>7.3} ms {:>7.3} ms {:>9.2} {:>9.2} {:>10.0}",
            self.median * 1e3,
            self.slow * 1e3,
            self.cpu * 1e3,
            self.median / bare.median,
            self.cpu / bare.cpu,
            self.sessions
        );
    }
}
