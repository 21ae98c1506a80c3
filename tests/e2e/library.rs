//! The library as an embedder uses it: builder, observers, policies, and the outcomes that need them.

mod invalid_settings;
mod own_provider;
mod sessions;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use cofferdam::agent::{self, Approver, Question, RunOptions, RunReport};
use cofferdam::assembly::{Host, HostBuilder};
use cofferdam::config::Config;
use cofferdam::events::Outcome;
use cofferdam::events::{ApprovalDecided, Ending};
use cofferdam::events::{Event, EventKind};
use cofferdam::external;
use cofferdam::model::ModelSettings;
use cofferdam::sandbox::{CompilePlace, HttpGrant};
use cofferdam::secret::Secret;
use cofferdam::session::ApprovalDecision;
use cofferdam::simulator::{Answer, FaultKind, FaultPoint, Script, Simulator, SimulatorOptions, ToolCall};
use cofferdam::store::{ApprovalFilter, Store};
use cofferdam::tools::{ComponentSource, Decision, PluginSettings, Tool, ToolPolicy, ToolSettings};
use cofferdam_tests::{Behaviour, HttpServer, tool_call};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

fn model(answers: impl IntoIterator<Item = Answer>) -> Simulator {
    let script = answers.into_iter().fold(Script::new(), Script::answer);
    Simulator::start(script, SimulatorOptions::default()).unwrap()
}

/// A host with the faulty plugin that uses `model`.
fn builder(model: &Simulator) -> HostBuilder {
    builder_with(model, |_| ())
}

fn builder_with(model: &Simulator, change: impl FnOnce(&mut Config)) -> HostBuilder {
    Host::builder(config_with(model, change))
        .store(Store::in_memory().unwrap())
        .compile_place(compile_place())
}

fn config_with(model: &Simulator, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config {
        model: ModelSettings {
            base_url: model.url().parse().unwrap(),
            api_key: Some(Secret::new("test")),
            ..ModelSettings::default()
        },
        plugins: vec![faulty()],
        ..Config::default()
    };
    config.engine.cache_dir = Some(crate::cache().join("cofferdam"));
    change(&mut config);
    config
}

fn faulty() -> PluginSettings {
    PluginSettings::new("faulty", ComponentSource::Builtin("faulty".to_owned()))
}

/// The test program can't compile components, so use the real binary.
fn compile_place() -> CompilePlace {
    CompilePlace::Child(PathBuf::from(env!("CARGO_BIN_EXE_cofferdam-under-test")))
}

async fn run(host: &Host) -> RunReport {
    host.session().run("Go.", RunOptions::default()).await
}

fn outcomes(report: &RunReport, tool: &str) -> Value {
    serde_json::to_value(report).unwrap()["metrics"]["tools"][tool]["outcomes"].clone()
}

/// A policy that denies `echo` with `a` = 1 to the default tenant.
#[derive(Debug)]
struct DenyEcho;

impl ToolPolicy for DenyEcho {
    fn name(&self) -> &str {
        "the house rules"
    }

    fn decide(&self, tenant: &str, tool: &Tool, input: &Value) -> Decision {
        match tool.name == "echo" && tenant == "default" && input["a"] == 1 {
            true => Decision::Deny("no echo of 1".to_owned()),
            false => Decision::Allow,
        }
    }
}

/// A policy that panics.
#[derive(Debug)]
struct PanickingPolicy;

impl ToolPolicy for PanickingPolicy {
    fn name(&self) -> &str {
        "panics"
    }

    fn decide(&self, _: &str, _: &Tool, _: &Value) -> Decision {
        panic!("a bug of the embedder")
    }
}

#[tokio::test]
async fn denied_by_policy() {
    let model = model([
        tool_call("echo", json!({ "a": 1 })),
        tool_call("echo", json!({ "a": 2 })),
        Answer::text("Fine."),
    ]);
    let host = builder(&model).tool_policy(Arc::new(DenyEcho)).build().await.unwrap();
    let report = run(&host).await;
    assert_eq!(outcomes(&report, "echo"), json!({ "denied": 1, "ok": 1 }));
    let request = model.requests()[1].body.to_string();
    assert!(
        request.contains("the house rules") && request.contains("no echo of 1"),
        "{request}"
    );
}

/// A policy that allows everything and remembers when it was asked.
#[derive(Clone, Debug, Default)]
struct Asked(Arc<Mutex<Vec<Instant>>>);

impl ToolPolicy for Asked {
    fn name(&self) -> &str {
        "asked"
    }

    fn decide(&self, _: &str, _: &Tool, _: &Value) -> Decision {
        self.0.lock().unwrap().push(Instant::now());
        Decision::Allow
    }
}

/// Here only one call runs at a time, so the second would be decided about a second later.
#[tokio::test]
async fn the_policy_decides_about_all_calls_of_a_turn_before_any_runs() {
    let sleep = |ms: u64| ToolCall::new("sleep", json!({ "ms": ms }));
    let model = model([Answer::tools([sleep(1000), sleep(1)]), Answer::text("Fine.")]);
    let asked = Asked::default();
    let builder = builder_with(&model, |config| config.agent.parallel_tool_calls = 1);
    let host = builder.tool_policy(Arc::new(asked.clone())).build().await.unwrap();
    let report = run(&host).await;
    assert_eq!(outcomes(&report, "sleep"), json!({ "ok": 2 }));
    let asked = asked.0.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert!(asked[1] - asked[0] < Duration::from_millis(900), "{asked:?}");
}

#[tokio::test]
async fn host_error_for_a_panicking_policy_and_the_run_goes_on() {
    let model = model([tool_call("echo", json!({})), Answer::text("Fine.")]);
    let host = builder(&model)
        .tool_policy(Arc::new(PanickingPolicy))
        .build()
        .await
        .unwrap();
    let report = run(&host).await;
    assert_eq!(
        (report.outcome, outcomes(&report, "echo")),
        (Ending::Completed, json!({ "host_error": 1 }))
    );
    let request = model.requests()[1].body.to_string();
    assert!(
        request.contains("Internal error") && !request.contains("a bug of the embedder"),
        "{request}"
    );
}

/// A report covers its own run only, even if an earlier run of the session was degraded.
#[tokio::test]
async fn a_degraded_run_does_not_mark_the_next_one() {
    let model = model([
        tool_call("panic", json!({})),
        Answer::text("Perhaps."),
        Answer::text("For sure."),
    ]);
    let host = builder_with(&model, |config| {
        let fallback = Some("Ask me later.".to_owned());
        let tool = ToolSettings {
            fallback,
            ..ToolSettings::default()
        };
        config.plugins[0].tools.insert("panic".to_owned(), tool);
    });
    let host = host.build().await.unwrap();
    let mut session = host.session();
    let mut degraded = Vec::new();
    for prompt in ["One.", "Two."] {
        degraded.push(session.run(prompt, RunOptions::default()).await.degraded);
    }
    assert_eq!(degraded, [true, false]);
}

#[tokio::test]
async fn a_tool_can_be_taken_out_of_service() {
    let model = model([
        tool_call("echo", json!({})),
        Answer::text("Later."),
        tool_call("echo", json!({})),
        Answer::text("Fine."),
    ]);
    let moves = Arc::new(Mutex::new(Vec::new()));
    let seen = moves.clone();
    let host = builder(&model)
        .observer("moves", move |event: &Event| {
            if let EventKind::BreakerChanged { to, .. } = &event.kind {
                seen.lock().unwrap().push(to.name());
            }
        })
        .build()
        .await
        .unwrap();
    let names: Vec<_> = host.breakers().into_iter().map(|breaker| breaker.name).collect();
    assert!(
        names[0].starts_with("model:") && names.contains(&"tool:echo".to_owned()),
        "{names:?}"
    );
    assert!(!host.force_open("tool:none"));
    assert!(host.force_open("tool:echo"));
    assert_eq!(outcomes(&run(&host).await, "echo"), json!({ "breaker_open": 1 }));
    assert!(host.force_closed("tool:echo"));
    assert_eq!(outcomes(&run(&host).await, "echo"), json!({ "ok": 1 }));
    assert!(host.force_open("tool:echo") && host.reset_breaker("tool:echo"));
    let opened = host
        .breakers()
        .into_iter()
        .map(|breaker| breaker.opened_count)
        .sum::<u64>();
    assert_eq!(opened, 0);
    host.shutdown().await;
    let moves: Vec<_> = moves.lock().unwrap().clone();
    assert_eq!(moves, ["open", "closed", "open", "closed"]);
}

#[tokio::test]
async fn cancelled_while_a_tool_runs() {
    let model = model([Answer::tools(
        ["loop_forever", "never_ready"].map(|name| ToolCall::new(name, json!({}))),
    )]);
    let cancel = CancellationToken::new();
    let when_started = cancel.clone();
    let finished = Arc::new(Mutex::new(Vec::new()));
    let seen = finished.clone();
    let host = builder(&model)
        .observer("canceller", move |event: &Event| match &event.kind {
            EventKind::ToolCallStarted { .. } => {
                let cancel = when_started.clone();
                // No event tells that the guest is computing. This delay is far more than it needs to start.
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(300));
                    cancel.cancel();
                });
            }
            EventKind::ToolCallFinished(call) => seen.lock().unwrap().push(call.clone()),
            _ => {}
        })
        .build()
        .await
        .unwrap();
    let options = RunOptions {
        cancel,
        ..RunOptions::default()
    };
    let report = host.session().run("Go.", options).await;
    assert_eq!(report.outcome, Ending::Cancelled);
    for tool in ["loop_forever", "never_ready"] {
        assert_eq!(outcomes(&report, tool), json!({ Outcome::Cancelled.name(): 1 }));
    }
    host.shutdown().await;
    // Their usage up to then is reported.
    let finished = finished.lock().unwrap();
    assert_eq!(finished.len(), 2);
    for call in finished.iter() {
        assert!(
            call.tries == 1 && call.fuel > 0 && call.peak_memory_bytes > 0,
            "{call:?}"
        );
    }
}

#[tokio::test]
async fn a_program_that_cannot_compile_is_reported() {
    let model = model([Answer::text("unused")]);
    let host = builder_with(&model, |config| {
        config.engine.cache_dir = None;
        config.plugins[0].required = true;
    });
    let this_test = std::env::current_exe().unwrap();
    let error = host
        .compile_place(CompilePlace::Child(this_test))
        .build()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("ignored the request to compile"), "{error}");
    assert!(error.to_string().contains("\n    hint: "), "{error}");
    assert!(error.to_string().contains("run_compiler_if_requested"), "{error}");
}

#[tokio::test]
async fn observers_see_every_event_and_their_panics_are_contained() {
    let model = model([tool_call("echo", json!({})), Answer::text("Fine.")]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let names = seen.clone();
    let host = builder(&model)
        .observer("broken", |_: &Event| panic!("a bug of the embedder"))
        .observer("slow", |_: &Event| {
            std::thread::park_timeout(Duration::from_millis(200))
        })
        .observer("recorder", move |event: &Event| {
            names.lock().unwrap().push(event.kind.name())
        })
        .build()
        .await
        .unwrap();
    let report = run(&host).await;
    assert_eq!(report.outcome, Ending::Completed);
    host.shutdown().await;
    let seen = seen.lock().unwrap();
    let pauses = 200 * seen.len() as u64;
    assert!(
        report.metrics.duration_ms < pauses / 2,
        "a slow observer must not delay the run: {} ms, with pauses of {pauses} ms",
        report.metrics.duration_ms
    );
    assert_eq!(
        (seen.first(), seen.last()),
        (Some(&"session_started"), Some(&"session_finished"))
    );
    assert!(seen.contains(&"tool_call_finished"), "{seen:?}");
}

/// A service that is one file.
#[tokio::test]
async fn a_component_can_be_bytes_of_the_program() {
    let model = model([tool_call("echo", json!({ "a": 1 })), Answer::text("Fine.")]);
    let bytes = cofferdam::tools::builtin("faulty").unwrap();
    let source = ComponentSource::Bytes(external::Bytes::from_static(bytes));
    assert!(format!("{source:?}").len() < 100, "{source:?}");
    let host = builder_with(&model, |config| {
        config.plugins = vec![PluginSettings::new("carried", source)]
    });
    let host = host.build().await.unwrap();
    assert!(host.tools().problems().is_empty(), "{:?}", host.tools().problems());
    assert_eq!(outcomes(&run(&host).await, "echo"), json!({ "ok": 1 }));

    let broken = ComponentSource::Bytes(external::Bytes::from_static(b"no component"));
    let host = builder_with(&model, |config| {
        config.plugins = vec![PluginSettings::new("carried", broken)]
    });
    let host = host.build().await.unwrap();
    assert_eq!(
        host.tools().problems()[0].to_string(),
        "plugin `carried`: this is not WebAssembly"
    );
}

/// As a service passes an answer on while it comes.
#[tokio::test]
async fn a_reader_follows_one_session() {
    let model = model([Answer::text("one two three four").forever()]);
    let host = builder(&model).build().await.unwrap();
    let read_one = async |host: &Host| {
        let mut session = host.session();
        let (id, mut events) = (session.id().to_owned(), session.subscribe());
        let run = events.during(session.run("Go.", RunOptions::default()));
        let reading = async {
            let mut text = String::new();
            while let Some(event) = events.next().await {
                assert_eq!(*event.session_id, *id);
                if let EventKind::TextDelta { text: more } = &event.kind {
                    text += more;
                }
            }
            text
        };
        let (report, text) = tokio::join!(run, reading);
        assert_eq!(text, report.answer);
        assert_eq!(text, "one two three four");
    };
    tokio::join!(read_one(&host), read_one(&host), read_one(&host));
}

#[tokio::test]
async fn sessions_keep_their_own_history() {
    let model = model([Answer::text("One."), Answer::text("Two."), Answer::text("Three.")]);
    let host = builder(&model).build().await.unwrap();
    let mut session = host.session();
    session.run("First.", RunOptions::default()).await;
    session.run("Second.", RunOptions::default()).await;
    run(&host).await;
    let lengths: Vec<usize> = model
        .requests()
        .iter()
        .map(|request| request.body["messages"].as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [1, 3, 1]);
}

#[tokio::test]
async fn a_failed_prompt_does_not_affect_the_next_one() {
    let model = model([Answer::error(400), Answer::text("Hello.")]);
    let host = builder(&model).build().await.unwrap();
    let mut session = host.session();
    for prompt in ["too much", " "] {
        let report = session.run(prompt, RunOptions::default()).await;
        assert_eq!(report.outcome, Ending::ModelFailed, "{prompt}");
    }
    let report = session.run("hello", RunOptions::default()).await;
    assert_eq!((report.outcome, report.answer.as_str()), (Ending::Completed, "Hello."));
    let messages = model.requests()[1].body["messages"].clone();
    assert_eq!(
        messages,
        json!([{ "role": "user", "content": [
            { "type": "text", "text": "hello", "cache_control": { "type": "ephemeral" } },
        ] }])
    );
}

/// The timeout of each runaway call.
const RUNAWAY_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs sixteen endless calls of one tool and, meanwhile, another run, all on the runtime's only worker thread. Returns the
/// report of the other run.
async fn run_beside_runaways(tool: &'static str, input: Value) -> RunReport {
    let calls = (0..16).map(|_| ToolCall::new(tool, input.clone()));
    let spinning = model([Answer::tools(calls).forever()]);
    let quick = model([tool_call("echo", json!({})), Answer::text("Fine.")]);
    let endless = |config: &mut Config| {
        config.agent.parallel_tool_calls = 16;
        config.plugins[0].grants.limits.fuel = 1_000_000_000_000_000;
        config.plugins[0].grants.limits.host_calls = u64::MAX;
        config.plugins[0].grants.limits.timeout = RUNAWAY_TIMEOUT;
    };
    let begun = Arc::new(Semaphore::new(0));
    let begins = begun.clone();
    let host = builder_with(&spinning, endless)
        .observer("counter", move |event: &Event| {
            if matches!(&event.kind, EventKind::ToolCallStarted { .. }) {
                begins.add_permits(1);
            }
        })
        .build()
        .await
        .unwrap();
    let neighbour = builder(&quick).build().await.unwrap();
    let cancel = CancellationToken::new();
    let options = RunOptions {
        cancel: cancel.clone(),
        ..RunOptions::default()
    };
    let mut session = host.session();
    let runaway = tokio::spawn(async move { session.run("Spin.", options).await });
    let all = begun.acquire_many(16).await.unwrap();
    let report = tokio::spawn(async move { run(&neighbour).await }).await.unwrap();
    drop(all);
    cancel.cancel();
    assert_eq!(runaway.await.unwrap().outcome, Ending::Cancelled);
    report
}

/// A computing guest yields when its fuel slice ends. A guest that keeps the host busy is made to yield as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn runaway_calls_do_not_starve_other_runs() {
    for (tool, input) in [
        ("loop_forever", json!({})),
        ("spin_clock", json!({})),
        ("random", json!({ "bytes": 65_536, "count": u32::MAX })),
    ] {
        let report = run_beside_runaways(tool, input).await;
        assert_eq!(report.outcome, Ending::Completed, "beside {tool}");
        let waited = Duration::from_millis(report.metrics.duration_ms);
        assert!(waited < RUNAWAY_TIMEOUT / 4, "{waited:?} beside {tool}");
    }
}

/// The API may have refused the request for another reason; once that is fixed, the images are sent again.
#[tokio::test]
async fn images_left_out_without_success_are_sent_again() {
    let model = model([
        tool_call("image", json!({})),
        Answer::error(400).times(2),
        Answer::text("Seen."),
    ]);
    let host = builder(&model).build().await.unwrap();
    let mut session = host.session();
    let report = session.run("Look.", RunOptions::default()).await;
    assert_eq!(report.outcome, Ending::ModelFailed);
    let report = session.run("And now?", RunOptions::default()).await;
    assert_eq!(report.answer, "Seen.");
    let images: Vec<bool> = model
        .requests()
        .iter()
        .map(|request| request.body.to_string().contains("base64"))
        .collect();
    assert_eq!(images, [false, true, false, true]);
}

#[tokio::test]
async fn a_dropped_run_reports_its_end_and_releases_its_resources() {
    let model = model([
        Answer::text("Too late.").delay(Duration::from_secs(60)),
        Answer::text("Here."),
    ]);
    let endings = Arc::new(Mutex::new(Vec::new()));
    let seen = endings.clone();
    let host = builder(&model)
        .observer("endings", move |event: &Event| {
            if let EventKind::SessionFinished { outcome, .. } = &event.kind {
                seen.lock().unwrap().push(*outcome);
            }
        })
        .build()
        .await
        .unwrap();
    let mut session = host.session();
    let first_request = async {
        while model.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        report = session.run("First.", RunOptions::default()) => panic!("{report:?}"),
        () = first_request => {}
    }
    assert_eq!(session.run("Second.", RunOptions::default()).await.answer, "Here.");
    let last = model.requests().pop().unwrap().body["messages"].clone();
    assert!(
        last.as_array().unwrap().len() == 1 && last.to_string().contains("Second."),
        "{last}"
    );
    host.shutdown().await;
    assert_eq!(*endings.lock().unwrap(), [Ending::Cancelled, Ending::Completed]);
}

/// A tenant's failures open the breaker for that tenant only. A breaker that an operator holds open is open for all tenants.
#[tokio::test]
async fn each_tenant_has_its_own_sessions_and_breakers() {
    let failing = || Answer::tools((0..5).map(|_| ToolCall::new("panic", json!({}))));
    let model = model([
        failing(),
        Answer::text("Broken."),
        tool_call("panic", json!({})),
        Answer::text("Open."),
        tool_call("panic", json!({})),
        Answer::text("Tried."),
        tool_call("echo", json!({})),
        Answer::text("Held."),
    ]);
    let host = builder(&model).build().await.unwrap();
    let run = async |tenant: &str| {
        let mut session = host.session_for(tenant).unwrap();
        let report = session.run("Go.", RunOptions::default()).await;
        assert_eq!(report.tenant, tenant);
        report
    };
    run("a").await;
    assert_eq!(outcomes(&run("a").await, "panic"), json!({ "breaker_open": 1 }));
    assert_eq!(outcomes(&run("b").await, "panic"), json!({ "trapped": 1 }));
    assert!(host.force_open("tool:echo"));
    assert_eq!(outcomes(&run("c").await, "echo"), json!({ "breaker_open": 1 }));
    for name in ["", " ", "a b", "a\n", "ä", &"x".repeat(65)] {
        assert!(host.session_for(name).is_err(), "{name:?}");
    }
}

#[tokio::test]
async fn a_call_of_a_dropped_run_reports_its_end() {
    let model = model([tool_call("never_ready", json!({}))]);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let seen = heard.clone();
    let host = builder(&model)
        .observer("calls", move |event: &Event| match &event.kind {
            EventKind::ToolCallStarted { .. } => seen.lock().unwrap().push(None),
            EventKind::ToolCallFinished(call) => seen.lock().unwrap().push(Some(call.outcome)),
            _ => {}
        })
        .build()
        .await
        .unwrap();
    let until = async |count| {
        while heard.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut session = host.session();
    tokio::select! {
        report = session.run("Go.", RunOptions::default()) => panic!("{report:?}"),
        () = until(1) => {}
    }
    tokio::time::timeout(Duration::from_secs(10), until(2)).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [None, Some(Outcome::Cancelled)]);
}

/// A policy that has a person decide about `echo`.
#[derive(Debug)]
struct AskAboutEcho;

impl ToolPolicy for AskAboutEcho {
    fn name(&self) -> &str {
        "asks"
    }

    fn decide(&self, _: &str, tool: &Tool, _: &Value) -> Decision {
        match tool.name == "echo" {
            true => Decision::Ask,
            false => Decision::Allow,
        }
    }
}

/// A host with this policy.
fn asking(model: &Simulator) -> HostBuilder {
    builder(model).tool_policy(Arc::new(AskAboutEcho))
}

fn approves() -> ApprovalDecision {
    ApprovalDecision {
        approves: true,
        ..ApprovalDecision::default()
    }
}

/// A person who takes their time, and approves.
#[derive(Debug)]
struct SlowPerson(Duration);

impl Approver for SlowPerson {
    fn ask<'a>(&'a self, question: &'a Question) -> Pin<Box<dyn Future<Output = agent::Answer> + Send + 'a>> {
        Box::pin(async {
            assert_eq!(question.input.value()["a"], 1);
            tokio::time::sleep(self.0).await;
            agent::Answer::Approve
        })
    }
}

/// A person who denies what somebody elsewhere has just approved, and the notices that come then.
#[derive(Debug)]
struct LatePerson {
    elsewhere: Arc<OnceLock<Store>>,
    notices: Arc<Mutex<Vec<(agent::Answer, ApprovalDecided)>>>,
}

impl Approver for LatePerson {
    fn ask<'a>(&'a self, question: &'a Question) -> Pin<Box<dyn Future<Output = agent::Answer> + Send + 'a>> {
        Box::pin(async {
            let store = self.elsewhere.get().unwrap();
            store.decide(&question.approval.id, approves()).await.unwrap();
            agent::Answer::Deny(Some("too many".to_owned()))
        })
    }

    fn came_too_late(&self, _: &Question, answer: &agent::Answer, holds: ApprovalDecided) {
        self.notices.lock().unwrap().push((answer.clone(), holds));
    }
}

#[tokio::test]
async fn a_person_hears_that_somebody_else_was_faster() {
    let model = model([tool_call("echo", json!({ "a": 1 })), Answer::text("Fine.")]);
    let host = asking(&model).build().await.unwrap();
    let (elsewhere, notices) = (Arc::new(OnceLock::new()), Arc::<Mutex<_>>::default());
    elsewhere.set(host.store().unwrap().clone()).unwrap();
    let options = RunOptions {
        approver: Some(Arc::new(LatePerson {
            elsewhere,
            notices: Arc::clone(&notices),
        })),
        ..RunOptions::default()
    };
    let report = host.session().run("Go.", options).await;
    assert_eq!(report.outcome, Ending::Completed);
    assert_eq!(outcomes(&report, "echo"), json!({ "ok": 1 }));
    let denied = agent::Answer::Deny(Some("too many".to_owned()));
    assert_eq!(*notices.lock().unwrap(), [(denied, ApprovalDecided::Approved)]);
}

/// The run's deadline is shorter than the person is slow.
#[tokio::test]
async fn waiting_for_a_person_is_no_time_of_the_run() {
    let model = model([tool_call("echo", json!({ "a": 1 })), Answer::text("Fine.")]);
    let deadline = Duration::from_secs(3);
    let host = builder_with(&model, |config| config.agent.deadline = deadline)
        .tool_policy(Arc::new(AskAboutEcho))
        .build()
        .await
        .unwrap();
    let options = RunOptions {
        approver: Some(Arc::new(SlowPerson(deadline + Duration::from_secs(1)))),
        ..RunOptions::default()
    };
    let report = host.session().run("Go.", options).await;
    assert_eq!((report.outcome, report.answer.as_str()), (Ending::Completed, "Fine."));
    assert_eq!(outcomes(&report, "echo"), json!({ "ok": 1 }));
}

/// A program's own code that asks, with a bug.
#[derive(Debug)]
struct BrokenApprover;

impl Approver for BrokenApprover {
    fn ask<'a>(&'a self, _: &'a Question) -> Pin<Box<dyn Future<Output = agent::Answer> + Send + 'a>> {
        panic!("a bug of the program")
    }
}

#[tokio::test]
async fn a_call_waits_if_the_one_who_asks_panics() {
    let model = model([tool_call("echo", json!({ "a": 1 })), Answer::text("Fine.")]);
    let host = asking(&model).build().await.unwrap();
    let options = RunOptions {
        approver: Some(Arc::new(BrokenApprover)),
        ..RunOptions::default()
    };
    let mut session = host.session();
    let report = session.run("Go.", options).await;
    assert_eq!(report.outcome, Ending::AwaitingApproval);
    assert!(session.waits_for_approval());
}

/// Without anybody to ask, the same session goes on once somebody has decided.
#[tokio::test]
async fn a_policy_can_have_a_run_wait() {
    let model = model([tool_call("echo", json!({ "a": 1 })), Answer::text("Fine.")]);
    let host = asking(&model).build().await.unwrap();
    let mut session = host.session();
    let report = session.run("Go.", RunOptions::default()).await;
    assert_eq!(report.outcome, Ending::AwaitingApproval);
    let store = host.store().unwrap();
    let waiting = store.approvals(ApprovalFilter::default()).await.unwrap();
    assert_eq!(waiting[0].tool, "echo");
    store.decide(&waiting[0].id, approves()).await.unwrap();
    let report = session.resume(RunOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.answer.as_str()), (Ending::Completed, "Fine."));
}

/// Its run is dropped while the second call waits for the permit of the first. Only the second one is made when it goes on.
#[tokio::test]
async fn a_dropped_run_goes_on_with_the_call_that_had_not_begun() {
    let server = HttpServer::start(Behaviour::Silence).await;
    let call = |path| {
        let input = json!({ "url": format!("{}/{path}", server.url()), "method": "POST" });
        ToolCall::new("fetch", input)
    };
    let model = model([Answer::tools([call("a"), call("b")]), Answer::text("Fine.")]);
    let host = builder_with(&model, |config| {
        let plugin = &mut config.plugins[0];
        plugin.grants.http = vec![HttpGrant::parse(&format!("{}/", server.url()), &["POST"]).unwrap()];
        plugin.grants.limits.concurrency = 1;
        plugin.grants.limits.timeout = Duration::from_secs(2);
    });
    let host = host.build().await.unwrap();
    let mut session = host.session();
    let begins = async {
        while server.heads().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        report = session.run("Go.", RunOptions::default()) => panic!("{report:#?}"),
        () = begins => {}
    }
    let id = session.id().to_owned();
    drop(session);
    let mut session = host.reopen("default", &id).await.unwrap();
    assert_eq!(session.uncertain_calls().count(), 1);
    let report = session.resume(RunOptions::default()).await.unwrap();
    assert_eq!(report.answer, "Fine.");
    let paths: Vec<String> = server.heads().into_iter().map(|head| head[..7].to_owned()).collect();
    assert_eq!(paths, ["POST /a", "POST /b"]);
}

/// An embedder who prints the pieces of an answer as they come.
#[tokio::test]
async fn by_default_no_text_of_an_answer_comes_twice() {
    let cut = || Answer::text("One two three four.").with_fault(FaultKind::Close, FaultPoint::Events(4));
    for (options, outcome, requests) in [
        (RunOptions::default(), Ending::ModelFailed, 1),
        (
            RunOptions {
                streams_to_user: false,
                ..RunOptions::default()
            },
            Ending::Completed,
            2,
        ),
    ] {
        let model = model([cut(), Answer::text("One two three four.")]);
        let shown = Arc::new(Mutex::new(String::new()));
        let seen = shown.clone();
        let host = builder(&model)
            .observer("printer", move |event: &Event| {
                if let EventKind::TextDelta { text } = &event.kind {
                    seen.lock().unwrap().push_str(text);
                }
            })
            .build()
            .await
            .unwrap();
        let report = host.session().run("Go.", options).await;
        assert_eq!(
            (report.outcome, model.requests().len()),
            (outcome, requests),
            "{report:?}"
        );
        // The observer has a thread of its own.
        host.shutdown().await;
        let shown = shown.lock().unwrap().clone();
        assert_eq!(shown.matches("One").count(), requests, "{shown}");
    }
}
