//! Shared by the benchmarks: samples, limits, bare wasmtime, a bare agent, a scripted model, the product, and typed tools.

#![allow(dead_code, reason = "no benchmark uses all of it")]

pub mod bare;
pub mod bare_agent;
pub mod dispatch;
pub mod messages_api;
pub mod typed;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// False in a debug build, which only shows that a benchmark runs. Its figures mean nothing, and no limit is enforced.
pub const IS_BENCH: bool = !cfg!(debug_assertions);

/// An ordinary tool and an input for it.
pub const PLUGIN: &str = "calculator";
pub const TOOL: &str = "calculate";
pub const INPUT: &str = r#"{"expression":"25 * 17"}"#;

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Commits that [`commit_time`] measures.
pub const COMMITS: usize = if IS_BENCH { 300 } else { 5 };

/// F, the median of a commit of one row to a database of SQLite in this folder, in the mode of the books: a write-ahead log, flushed.
pub fn commit_time(folder: &Path) -> Duration {
    let database = rusqlite::Connection::open(folder.join("floor.sqlite3")).unwrap();
    database
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE rows (value INTEGER)")
        .unwrap();
    let commits = (0..COMMITS).map(|number| {
        let started = Instant::now();
        database
            .execute("INSERT INTO rows VALUES (?1)", [number as i64])
            .unwrap();
        started.elapsed()
    });
    Sample::of(commits.collect()).percentile(50)
}

/// The process's resident memory. Pages mapped several times count once.
pub fn resident_kib() -> f64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The resident memory once it has stopped growing for a second and a half.
pub async fn settled_resident_kib() -> f64 {
    let (mut most, mut quiet) = (resident_kib(), 0);
    while quiet < 5 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = resident_kib();
        quiet = if now > most { 0 } else { quiet + 1 };
        most = most.max(now);
    }
    most
}

/// Durations of repeated measurements.
#[derive(Default)]
pub struct Sample(Vec<Duration>);

impl Sample {
    pub fn of(durations: Vec<Duration>) -> Self {
        Self(durations)
    }

    pub fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub fn time<T>(&mut self, function: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = function();
        self.push(started.elapsed());
        result
    }

    pub fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

/// The figures that exceed their limits.
#[derive(Default)]
pub struct Limits(Vec<String>);

impl Limits {
    pub fn at_most(&mut self, what: &str, figure: f64, limit: f64) {
        if figure > limit {
            self.0.push(format!("{what}: {figure:.2}, at most {limit:.2}"));
        }
    }

    pub fn at_least(&mut self, what: &str, figure: f64, limit: f64) {
        if figure < limit {
            self.0.push(format!("{what}: {figure:.2}, at least {limit:.2}"));
        }
    }

    /// Fails the benchmark if any limit was exceeded.
    pub fn enforce(self) {
        match IS_BENCH {
            true => assert!(self.0.is_empty(), "over the limits: {:#?}", self.0),
            false => println!("a debug build: these figures mean nothing"),
        }
    }
}
