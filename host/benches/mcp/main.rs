//! What the sandbox costs an MCP client. Fails if a figure is beyond its limit.
//!
//! - **Throughput.** Calls of the calculator over stdio, one after the other and 32 at once, and over 50 connections of HTTP.
//!   Beside it, in the same rounds: a plain server of the same protocol library with a native tool, which has no sandbox, no
//!   schema check and no log; the same server with the product's component on bare wasmtime, which is what a sandbox costs before
//!   anything is done for its user; and the server of the official SDK for Python. Each server is a process of its own, with its
//!   default settings. The client is raw, and the same for all.
//! - **Neighbours.** Latency of one client's calls over HTTP, alone and beside 64 calls of another client that compute forever.
//!
//! Python is skipped where its SDK isn't installed: in `target/tools/mcp`, as by `.ci/run`, or by `COFFERDAM_BENCH_PYTHON`.
//!
//! `cargo bench --bench mcp`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_types
)]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod servers;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use self::client::{HttpClient, StdioClient};
use self::common::{IS_BENCH, Limits, Sample, micros, runtime};
use self::servers::{HttpServer, Over, PlainTool, Servers, become_plain_server_if_asked};

const ROUNDS: usize = if IS_BENCH { 5 } else { 1 };
/// The duration of each measurement.
const MEASURED_TIME: Duration = Duration::from_millis(if IS_BENCH { 1_000 } else { 50 });
const AT_ONCE: u64 = 32;
const CONNECTIONS: usize = 50;
/// As many as one client may have.
const RUNAWAYS: usize = 64;
/// The limits: throughput relative to the plain server's (serial, at once, over HTTP), with a native tool and with a component,
/// and to Python's; the p99 beside runaways relative to the quiet one, or the p99 that is always accepted.
const MIN_PER_PLAIN: [f64; 3] = [0.18, 0.10, 0.18];
const MIN_PER_COMPONENT: [f64; 3] = [0.3, 0.2, 0.3];
const MIN_PER_PYTHON_SERIAL: f64 = 5.0;
const MIN_PER_PYTHON_AT_ONCE: f64 = 10.0;
const MAX_CROWDED_PER_QUIET: f64 = 2.0;
const ACCEPTED_P99: Duration = Duration::from_millis(5);

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OTHER_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn main() {
    let runtime = runtime();
    if runtime.block_on(become_plain_server_if_asked()) {
        return;
    }
    let mut limits = Limits::default();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let servers = Servers { folder: folder.path() };
    runtime.block_on(throughput(&servers, &mut limits));
    runtime.block_on(neighbours(&servers, &mut limits));
    limits.enforce();
}

/// A server over both transports, and what was measured.
struct Contender {
    name: &'static str,
    stdio: StdioClient,
    http: HttpServer,
    serial: Figures,
    at_once: Figures,
    connections: Figures,
}

#[derive(Default)]
struct Figures {
    /// Calls per second, of each round.
    throughput: Vec<f64>,
    durations: Vec<Duration>,
}

impl Figures {
    fn add(&mut self, (durations, throughput): (Vec<Duration>, f64)) {
        self.throughput.push(throughput);
        self.durations.extend(durations);
    }

    fn median(&self) -> f64 {
        let mut sorted = self.throughput.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

impl Contender {
    async fn start(name: &'static str, [mut stdio, mut http]: [tokio::process::Command; 2]) -> Self {
        Self {
            name,
            stdio: StdioClient::start(&mut stdio).await,
            http: HttpServer::start(&mut http).await,
            serial: Figures::default(),
            at_once: Figures::default(),
            connections: Figures::default(),
        }
    }

    /// The throughput in the other's: serial, at once, over HTTP.
    fn per(&self, other: &Self) -> [f64; 3] {
        let ratio = |of: fn(&Self) -> &Figures| of(self).median() / of(other).median();
        [
            ratio(|it| &it.serial),
            ratio(|it| &it.at_once),
            ratio(|it| &it.connections),
        ]
    }
}

async fn throughput(servers: &Servers<'_>, limits: &mut Limits) {
    let both = [Over::Stdio, Over::Http];
    let mut contenders = vec![
        Contender::start("cofferdam", both.map(|over| servers.product(over, ""))).await,
        Contender::start(
            "plain rmcp, native tool",
            both.map(|over| servers.plain(PlainTool::Native, over)),
        )
        .await,
        Contender::start(
            "plain rmcp, component",
            both.map(|over| servers.plain(PlainTool::Component, over)),
        )
        .await,
    ];
    match both.map(|over| servers.python(over)) {
        [Some(stdio), Some(http)] => contenders.push(Contender::start("Python SDK, native tool", [stdio, http]).await),
        _ => println!("the SDK for Python isn't installed: not compared"),
    }
    // The first round opens what lasts, and doesn't count.
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let serial = contender.stdio.calls(1, MEASURED_TIME).await;
            let at_once = contender.stdio.calls(AT_ONCE, MEASURED_TIME).await;
            let connections = over_connections(contender.http.address).await;
            if round > 0 {
                contender.serial.add(serial);
                contender.at_once.add(at_once);
                contender.connections.add(connections);
            }
        }
    }
    println!("calls of the calculator, a second; median of {ROUNDS} interleaved rounds");
    println!(
        "{:<26} {:>14} {:>10} {:>16} {:>20}",
        "",
        "stdio, serial",
        "p50",
        format!("{AT_ONCE} at once"),
        format!("HTTP, {CONNECTIONS} conns")
    );
    for contender in &contenders {
        println!(
            "{:<26} {:>14.0} {:>7.0} µs {:>16.0} {:>20.0}",
            contender.name,
            contender.serial.median(),
            micros(Sample::of(contender.serial.durations.clone()).percentile(50)),
            contender.at_once.median(),
            contender.connections.median()
        );
    }
    let (product, others) = contenders.split_first().unwrap();
    let [serial, at_once, http] = others[1].per(&others[0]);
    println!(
        "a component instead of a native tool, without the product: {serial:.2} serial, {at_once:.2} at once, {http:.2} over HTTP"
    );
    for (other, minima) in others.iter().zip([
        MIN_PER_PLAIN,
        MIN_PER_COMPONENT,
        [MIN_PER_PYTHON_SERIAL, MIN_PER_PYTHON_AT_ONCE, MIN_PER_PYTHON_AT_ONCE],
    ]) {
        let ratios = product.per(other);
        let [serial, at_once, http] = ratios;
        println!(
            "compared with {}: {serial:.2} serial, {at_once:.2} at once, {http:.2} over HTTP",
            other.name
        );
        for ((what, ratio), minimum) in ["serial", "at once", "over HTTP"].into_iter().zip(ratios).zip(minima) {
            limits.at_least(&format!("throughput {what}, of {}", other.name), ratio, minimum);
        }
    }
}

async fn over_connections(server: SocketAddr) -> (Vec<Duration>, f64) {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(HttpClient::connect(server, CLIENT).await);
    }
    let begin = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut client| tokio::spawn(async move { client.calls(MEASURED_TIME).await }))
        .collect();
    let mut durations = Vec::new();
    for task in tasks {
        durations.extend(task.await.unwrap());
    }
    let throughput = durations.len() as f64 / begin.elapsed().as_secs_f64();
    (durations, throughput)
}

fn is_overloaded(answer: &[u8]) -> bool {
    String::from_utf8_lossy(answer).contains("overloaded")
}

async fn neighbours(servers: &Servers<'_>, limits: &mut Limits) {
    let faulty = "[plugins.faulty]\ncomponent = \"builtin:faulty\"\n\
                  limits = { timeout = \"10m\", fuel = 9_000_000_000_000_000_000, concurrency = 64 }\n";
    let server = HttpServer::start(&mut servers.product(Over::Http, faulty)).await;
    let time = MEASURED_TIME * 4;
    let mut client = HttpClient::connect(server.address, CLIENT).await;
    client.calls(MEASURED_TIME).await;
    let mut quiet = Sample::of(client.calls(time).await);
    let mut runaways = Vec::new();
    for _ in 0..RUNAWAYS {
        let mut runaway = HttpClient::connect(server.address, OTHER_CLIENT).await;
        runaways.push(tokio::spawn(async move {
            // One comes too early while the probe has the last call that the client can have.
            while is_overloaded(&runaway.call("loop_forever", "{}").await) {}
        }));
    }
    // The other client has no call left once one is too many.
    let mut probe = HttpClient::connect(server.address, OTHER_CLIENT).await;
    while !is_overloaded(&probe.call("echo", "{}").await) {}
    let mut crowded = Sample::of(client.calls(time).await);
    for runaway in runaways {
        assert!(!runaway.is_finished(), "a runaway has ended");
        runaway.abort();
    }
    println!(
        "one client's calls over HTTP: p50 {:.0} µs, p99 {:.0} µs; beside {RUNAWAYS} runaways of another client p50 {:.0} µs, p99 {:.0} µs",
        micros(quiet.percentile(50)),
        micros(quiet.percentile(99)),
        micros(crowded.percentile(50)),
        micros(crowded.percentile(99))
    );
    let limit = quiet.percentile(99).mul_f64(MAX_CROWDED_PER_QUIET).max(ACCEPTED_P99);
    limits.at_most("p99 beside runaways, µs", micros(crowded.percentile(99)), micros(limit));
}
