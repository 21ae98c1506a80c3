//! Calls wait for the rate limits that the server announces, in one queue for all sessions of a key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cofferdam::agent::RunOptions;
use cofferdam::assembly::Host;
use cofferdam::config::Config;
use cofferdam::events::Ending;
use cofferdam::model::{ModelSettings, ProviderKind};
use cofferdam::secret::Secret;
use cofferdam::simulator::{Answer, RateLimitOptions, Script, Simulator, SimulatorOptions};
use cofferdam::store::Store;
use cofferdam_tests::tool_call;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::lab;

/// Requests that the server allows in a second.
const A_SECOND: u32 = 10;

fn limited() -> Simulator {
    let script = Script::new()
        .answer(Answer::text("Done.").forever())
        .rate_limits(RateLimitOptions {
            per: Duration::from_secs(1),
            requests: Some(A_SECOND),
            ..RateLimitOptions::default()
        });
    Simulator::start(script, SimulatorOptions::default()).unwrap()
}

async fn host(server: &Simulator, provider: ProviderKind, follow_rate_limits: bool) -> Host {
    let config = Config {
        model: ModelSettings {
            provider,
            base_url: server.url().parse().unwrap(),
            api_key: Some(Secret::new("test")),
            follow_rate_limits,
            ..ModelSettings::default()
        },
        ..Config::default()
    };
    let builder = Host::builder(config).store(Store::in_memory().unwrap());
    builder.build().await.unwrap()
}

/// How many requests the server refused.
fn refused(server: &Simulator) -> usize {
    let requests = server.requests();
    requests.iter().filter(|request| request.status == Some(429)).count()
}

/// Runs one session each for these tenants, all at once. Returns the tenants of those that completed, in this order.
async fn run_all(host: Arc<Host>, tenants: impl IntoIterator<Item = &'static str>) -> Vec<&'static str> {
    let completed = Arc::new(Mutex::new(Vec::new()));
    let mut sessions = JoinSet::new();
    for tenant in tenants {
        let (host, completed) = (host.clone(), completed.clone());
        sessions.spawn(async move {
            let mut session = host.session_for(tenant).unwrap();
            if session.run("Go.", RunOptions::default()).await.outcome == Ending::Completed {
                completed.lock().unwrap().push(tenant);
            }
        });
        // So that those of one tenant are in the queue before the next one's.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    sessions.join_all().await;
    Arc::into_inner(completed).unwrap().into_inner().unwrap()
}

#[tokio::test]
async fn many_sessions_share_a_limit_without_refusals_and_fairly() {
    for provider in [ProviderKind::Anthropic, ProviderKind::OpenAi] {
        let server = limited();
        let host = Arc::new(host(&server, provider, true).await);
        // Nothing is known before the first answer.
        run_all(host.clone(), ["first"]).await;
        let completed = run_all(host, ["loud"; 35].into_iter().chain(["quiet"; 2])).await;
        assert_eq!(completed.len(), 37, "{provider:?}");
        assert!(refused(&server) <= 2, "{provider:?}: {} were refused", refused(&server));
        let last_quiet = completed.iter().rposition(|tenant| *tenant == "quiet").unwrap();
        assert!(last_quiet < 22, "{provider:?}: it waited for {last_quiet} others");
    }
}

#[tokio::test]
async fn without_the_wait_the_server_refuses() {
    let server = limited();
    let host = Arc::new(host(&server, ProviderKind::Anthropic, false).await);
    run_all(host, ["loud"; 30]).await;
    assert!(refused(&server) >= 15, "{} were refused", refused(&server));
}

#[tokio::test]
async fn a_run_says_what_it_waits_for() {
    let script = Script::new()
        .answer(tool_call("calculate", json!({ "expression": "25 * 17" })))
        .answer(Answer::text("It is {{result:calculate}}."))
        .rate_limits(RateLimitOptions {
            per: Duration::from_secs(2),
            requests: Some(1),
            ..RateLimitOptions::default()
        });
    let server = Simulator::start(script, SimulatorOptions::default()).unwrap();
    let lab = lab([]);
    let config = format!(
        "[model]\nbase_url = \"{}\"\n[plugins.calculator]\ncomponent = \"builtin:calculator\"\n",
        server.url()
    );
    lab.write("cofferdam.toml", config);
    let started = Instant::now();
    let ran = lab.call(["run", "--plain", "What is 25 * 17?"]).await.expect_code(0);
    assert!(ran.stdout.contains("It is 425."), "{ran}");
    assert!(ran.stderr.contains("is reached for requests"), "{ran}");
    assert!(started.elapsed() >= Duration::from_millis(1_900), "{ran}");
    assert_eq!(refused(&server), 0);
}
