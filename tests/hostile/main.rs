//! The corpus of hostile tools: each case ends with the expected outcome and affects no one else. During each case, another
//! tenant's calls of another plugin must be served by the same host. After it, no thread, file, memory or connection may
//! leak.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bytes;
mod corpus;
mod resource_usage;
mod through_mcp;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cofferdam::assembly::load_tools;
use cofferdam::config::{Config, Folders, LoadOptions};
use cofferdam::events::Outcome;
use cofferdam::sandbox::CompilePlace;
use cofferdam::telemetry::{AlertSettings, Emitter, EventBus};
use cofferdam::tools::{Part, ToolCall, ToolContext, ToolResult, ToolSet};
use cofferdam_tests::{Behaviour, HttpServer};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::corpus::Case;
use self::resource_usage::{ResourceUsage, returns_to};

/// Maximum duration of a neighbour's call on a machine that is busy with other tests: far below any deadline.
const MAX_NEIGHBOUR_WAIT: Duration = Duration::from_secs(3);

/// The tests count the threads, files and memory of the process, so only one runs at a time.
static EXCLUSIVE: Mutex<()> = Mutex::new(());

/// Maximum number of threads the runtime keeps for blocking work.
const BLOCKING_THREADS: usize = 8;

/// The content of the file `key.txt` beside the folder `granted`.
const SECRET: &str = "corpus-s3cr3t-key";

/// The servers that a case can send requests to.
struct Servers {
    silent: HttpServer,
    drip: HttpServer,
    endless: HttpServer,
    echo: HttpServer,
    ranged: HttpServer,
    cut: HttpServer,
    cut_and_more: HttpServer,
    redirect: HttpServer,
    headers: HttpServer,
    heads: HttpServer,
    swallow: HttpServer,
}

impl Servers {
    async fn start() -> Self {
        Self {
            silent: HttpServer::start(Behaviour::Silence).await,
            drip: HttpServer::start(Behaviour::Drip).await,
            endless: HttpServer::start(Behaviour::Endless).await,
            echo: HttpServer::start(Behaviour::Echo).await,
            ranged: HttpServer::start(Behaviour::RangedEcho).await,
            cut: HttpServer::start(Behaviour::CutEcho { continues: false }).await,
            cut_and_more: HttpServer::start(Behaviour::CutEcho { continues: true }).await,
            redirect: HttpServer::start(Behaviour::redirect("http://169.254.169.254/latest/meta-data/")).await,
            heads: HttpServer::start(Behaviour::Heads).await,
            swallow: HttpServer::start(Behaviour::Swallow).await,
            headers: HttpServer::start(Behaviour::with_headers(&"x-more: y\r\n".repeat(40_000), "")).await,
        }
    }

    fn plain(&self, text: &str) -> String {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        text.replace("{deep}", &"25".repeat(3_000))
            .replace("{hostname}", hostname.trim())
            .replace("{port}", &self.echo.port().to_string())
    }

    fn fill(&self, text: &str) -> String {
        [
            ("{silent}", &self.silent),
            ("{drip}", &self.drip),
            ("{endless}", &self.endless),
            ("{echo}", &self.echo),
            ("{ranged}", &self.ranged),
            ("{cut}", &self.cut),
            ("{cut_and_more}", &self.cut_and_more),
            ("{redirect}", &self.redirect),
            ("{headers}", &self.headers),
            ("{heads}", &self.heads),
            ("{swallow}", &self.swallow),
        ]
        .into_iter()
        .fold(self.plain(text), |text, (name, server)| {
            text.replace(name, &server.url())
        })
    }
}

/// The host of one case: the misbehaving plugin and a well-behaved one.
struct Host {
    tools: ToolSet,
    bus: EventBus,
}

impl Host {
    async fn start(case: &Case, servers: &Servers, folder: &Path) -> Self {
        let component = match case.component() {
            None => "builtin:faulty".to_owned(),
            Some(bytes) => {
                std::fs::write(folder.join("hostile.wasm"), bytes).unwrap();
                "hostile.wasm".to_owned()
            }
        };
        let text = format!(
            "[storage]\npath = \"data\"\n[secrets]\nKEY = {{ file = \"key.txt\" }}\n[plugins.victim]\ncomponent = \"builtin:calculator\"\nrequired = true\n[plugins.hostile]\ncomponent = \"{component}\"\n{}\n",
            servers.fill(&case.plugin)
        );
        std::fs::write(folder.join("key.txt"), SECRET).unwrap();
        grant(&folder.join("granted"));
        std::fs::write(folder.join("cofferdam.toml"), text).unwrap();
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cache");
        let config = Config::load_from(&LoadOptions {
            file: None,
            env: Default::default(),
            cwd: folder.to_owned(),
            folders: Some(Folders {
                config: folder.to_owned(),
                data: folder.to_owned(),
                cache: cache.join("cofferdam"),
            }),
            ..LoadOptions::default()
        });
        let config = config.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let place = CompilePlace::Child(PathBuf::from(env!("CARGO_BIN_EXE_cofferdam-under-test")));
        let tls = cofferdam::tls::client_config().unwrap();
        Self {
            tools: load_tools(&config, Some(place), tls).await.unwrap(),
            bus: EventBus::new(),
        }
    }

    async fn call(&self, tenant: &str, tool: &str, input: Value) -> ToolResult {
        let emitter = Emitter::new(&self.bus, "corpus", tenant, AlertSettings::default());
        let context = ToolContext {
            emitter: &emitter,
            deadline: Instant::now() + Duration::from_secs(60),
            cancel: &CancellationToken::new(),
        };
        let call = ToolCall {
            id: "c".to_owned(),
            name: tool.to_owned(),
            input: input.into(),
        };
        self.tools.call(call, &context).await
    }
}

/// Makes a folder that is granted to a plugin, beside the key.
fn grant(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("file"), "x".repeat(1000)).unwrap();
    std::os::unix::fs::symlink("../key.txt", folder.join("link")).unwrap();
}

/// The texts for the model and for the operator.
fn all_text(result: &ToolResult) -> String {
    let texts = result.content.iter().map(|part| match part {
        Part::Text { text } => text.as_str(),
        Part::Image { .. } => "[image]",
    });
    let detail = result.finished.detail.as_deref().unwrap_or_default();
    texts.chain([detail]).collect::<Vec<_>>().join("\n")
}

/// Sequential calls of another tenant to another plugin, until stopped.
struct Neighbour {
    stopping: Arc<AtomicBool>,
    task: AbortOnDropHandle<u64>,
}

impl Neighbour {
    fn of(host: &Arc<Host>) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let (host, stopping) = (host.clone(), stopping.clone());
            async move {
                let mut served = 0;
                loop {
                    let last = stopping.load(Ordering::SeqCst);
                    serve_neighbour(&host).await;
                    served += 1;
                    if last {
                        return served;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        Self {
            stopping,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Makes one more call and returns the number of calls served.
    async fn stop(self, case: &Case) -> u64 {
        self.stopping.store(true, Ordering::SeqCst);
        let served = self.task.await;
        served.unwrap_or_else(|error| panic!("{}: the neighbour: {error}", case.name))
    }
}

async fn run(case: &Case, servers: &Servers, bystander: &Arc<Host>) {
    let folder = tempfile::tempdir().unwrap();
    // Another host must be served while the plugin is loaded.
    let before = Neighbour::of(bystander);
    let host = Arc::new(Host::start(case, servers, folder.path()).await);
    let problem = host
        .tools
        .problems()
        .first()
        .map(|problem| format!("{problem} {:?}", problem.hint()));
    match (&problem, case.load) {
        (Some(problem), true) => assert!(problem.contains(&case.says), "{}: {problem:.500}", case.name),
        (None, true) => panic!("{}: it loads", case.name),
        (Some(problem), false) => panic!("{}: {problem}", case.name),
        (None, false) => {}
    }
    let neighbour = Neighbour::of(&host);
    let inputs = if case.load { &[][..] } else { &case.inputs };
    for input in inputs {
        let input: Value = serde_json::from_str(&servers.fill(input)).unwrap();
        let result = host.call("hostile", &case.tool, input.clone()).await;
        let text = all_text(&result);
        assert!(
            case.outcomes.contains(&result.outcome.name().to_owned()),
            "{}: {input}: {:?}: {text:.500}",
            case.name,
            result.outcome
        );
        assert!(
            text.contains(&servers.fill(&case.says)),
            "{}: {input}: {text:.500}",
            case.name
        );
        if let Some(answer) = &case.answers {
            assert_eq!(text.trim(), answer, "{}: {input}", case.name);
        }
        if let Some(hidden) = &case.hides {
            assert!(!text.contains(hidden), "{}: {input}: {text:.500}", case.name);
        }
    }
    for neighbour in [before, neighbour] {
        assert!(neighbour.stop(case).await >= 1, "{}", case.name);
    }
}

async fn serve_neighbour(host: &Host) {
    let started = Instant::now();
    let result = host
        .call("neighbour", "calculate", json!({ "expression": "6*7" }))
        .await;
    assert_eq!((result.outcome, all_text(&result).trim()), (Outcome::Ok, "42"));
    let waited = started.elapsed();
    assert!(waited < MAX_NEIGHBOUR_WAIT, "it waited {waited:?}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn every_case_has_its_outcome_and_affects_no_one_else() {
    let runtime = runtime();
    let _exclusive = EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = runtime.block_on(Servers::start());
    let cases = corpus::read();
    let folder = tempfile::tempdir().unwrap();
    let good = Case::of_bytes("bystander", bytes::good());
    let bystander = Arc::new(runtime.block_on(Host::start(&good, &servers, folder.path())));
    // A first run creates what lasts: caches, threads, buffers.
    runtime.block_on(run(&cases[0], &servers, &bystander));
    let mut before = ResourceUsage::now();
    let mut failed = Vec::new();
    for case in &cases {
        let started = Instant::now();
        let whole = async {
            run(case, &servers, &bystander).await;
            let Err(now) = returns_to(&before, BLOCKING_THREADS).await else {
                return;
            };
            // The allocator keeps freed memory, and more of it the more threads took part. It uses that again, so a second
            // run takes no more. What leaks, leaks again.
            run(case, &servers, &bystander).await;
            before = before.with_memory_of(&now);
            let second = returns_to(&before, BLOCKING_THREADS).await;
            assert!(
                second.is_ok(),
                "{}: resources leaked: {second:?}, before {before:?}",
                case.name
            );
        };
        // A failing case doesn't hide others.
        if std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(whole))).is_err() {
            failed.push(case.name.as_str());
        }
        println!("{:>6.2} s  {}", started.elapsed().as_secs_f64(), case.name);
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Flips one bit of a valid component. Whatever results, the host keeps working.
#[test]
fn flipped_bits_are_contained() {
    let _exclusive = EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let servers = Servers::start().await;
        let good = bytes::good();
        let mut loaded = 0;
        for flip in 0..48_usize {
            let mut flipped = good.clone();
            // Spread across the whole component, with a different bit each time.
            let at = flip.wrapping_mul(2_654_435_761) % flipped.len();
            flipped[at] ^= 1 << (flip % 8);
            let case = Case::of_bytes(&format!("bit {} of byte {at}", flip % 8), flipped);
            let folder = tempfile::tempdir().unwrap();
            let host = Host::start(&case, &servers, folder.path()).await;
            loaded += usize::from(host.tools.problems().is_empty());
            if host.tools.problems().is_empty() {
                // The component can do anything now, within its limits.
                let names: Vec<String> = host.tools.tools().map(|tool| tool.name.clone()).collect();
                for name in names.iter().filter(|name| *name != "calculate") {
                    host.call("hostile", name, json!({})).await;
                }
            }
            let result = host
                .call("neighbour", "calculate", json!({ "expression": "6*7" }))
                .await;
            assert_eq!(result.outcome, Outcome::Ok, "{}", case.name);
        }
        assert!(loaded < 48, "some flip is noticed");
    });
}
