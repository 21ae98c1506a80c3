//! A host whose processors are busy: who waits for them, and whose fault that is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cofferdam::assembly::load_tools;
use cofferdam::config::{Config, Folders, LoadOptions};
use cofferdam::events::Outcome;
use cofferdam::sandbox::CompilePlace;
use cofferdam::telemetry::{AlertSettings, Emitter, EventBus};
use cofferdam::tools::{ToolCall, ToolContext, ToolSet};
use cofferdam_tests::WatGuest;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

async fn tools(folder: &Path, config: &str) -> ToolSet {
    std::fs::write(folder.join("cofferdam.toml"), config).unwrap();
    let config = Config::load_from(&LoadOptions {
        file: None,
        env: BTreeMap::new(),
        cwd: folder.to_owned(),
        folders: Some(Folders {
            config: folder.to_owned(),
            data: folder.to_owned(),
            cache: crate::cache().join("cofferdam"),
        }),
        ..LoadOptions::default()
    });
    let place = CompilePlace::Child(env!("CARGO_BIN_EXE_cofferdam-under-test").into());
    let tls = cofferdam::tls::client_config().unwrap();
    load_tools(&config.unwrap(), Some(place), tls).await.unwrap()
}

async fn call(tools: &ToolSet, tool: &str) -> (Outcome, String) {
    let bus = EventBus::new();
    let emitter = Emitter::new(&bus, "busy", "tenant", AlertSettings::default());
    let context = ToolContext {
        emitter: &emitter,
        deadline: Instant::now() + Duration::from_secs(60),
        cancel: &CancellationToken::new(),
    };
    let call = ToolCall {
        id: "c".to_owned(),
        name: tool.to_owned(),
        input: json!({}).into(),
    };
    let result = tools.call(call, &context).await;
    (result.outcome, result.finished.detail.unwrap_or_default())
}

/// A flood keeps an innocent tool of the same tenant from the processors until its time is over. The host says that it was busy,
/// and no breaker counts it. The calls of the flood keep each other waiting as well, which excuses none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_the_processor_is_the_hosts_fault_and_waiting_for_oneself_is_not() {
    let processors = std::thread::available_parallelism().unwrap().get();
    let runaways = (16 * processors).clamp(64, 240);
    let folder = tempfile::tempdir().unwrap();
    let flood = WatGuest::named("spin").call("(loop $again (br $again))");
    // A tenth of a second, alone.
    let steps = "(local.set $i (i32.const 60000000)) \
        (loop $again (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))";
    std::fs::write(folder.path().join("flood.wasm"), flood.build()).unwrap();
    std::fs::write(
        folder.path().join("innocent.wasm"),
        WatGuest::named("work").call(steps).build(),
    )
    .unwrap();
    let config = "[plugins.flood]\ncomponent = \"flood.wasm\"\n\
        limits = { timeout = \"4s\", fuel = 1_000_000_000_000, concurrency = 240 }\n\
        [plugins.innocent]\ncomponent = \"innocent.wasm\"\nlimits = { timeout = \"800ms\" }\n\
        [plugins.innocent.breaker]\nfailure_threshold = 1\n";
    let tools = Arc::new(tools(folder.path(), config).await);
    assert_eq!(call(&tools, "work").await, (Outcome::Ok, String::new()));
    let mut spinning = JoinSet::new();
    for _ in 0..runaways {
        let tools = tools.clone();
        spinning.spawn(async move { call(&tools, "spin").await });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (outcome, detail) = call(&tools, "work").await;
    assert_eq!(outcome, Outcome::Overloaded, "{detail}");
    assert!(detail.contains("waiting for the processor"), "{detail}");
    for (outcome, detail) in spinning.join_all().await {
        assert_eq!(outcome, Outcome::Timeout, "{detail}");
    }
    assert_eq!(call(&tools, "work").await, (Outcome::Ok, String::new()));
    assert_eq!(call(&tools, "spin").await.0, Outcome::BreakerOpen);
}
