//! Slots of the pool are used again and again, by whoever comes. Nothing of one call is found in another: not in memory, that
//! was there from the start or grown, not in tables, not in globals.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cofferdam::agent::load_tools;
use cofferdam::config::Config;
use cofferdam::sandbox::CompilePlace;
use cofferdam::telemetry::{AlertSettings, Emitter, EventBus};
use cofferdam::tools::{ComponentSource, Outcome, Part, PluginSettings, ToolCall, ToolContext, ToolSet};
use cofferdam_tests::{WatGuest, WatTool, component};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Two calls run at the same time, in few slots, so that each slot sees all guests.
const AT_ONCE: usize = 2;

/// Tools that look for what others left, answer `1` if they find nothing, and leave something themselves.
const TOOLS: [&str; 3] = ["state", "slots_wat", "slots_c"];

/// Traps where something is left.
const LOOK: &str = r#"
    (if (i64.ne (global.get $mark) (i64.const 7)) (then unreachable))
    (if (i32.ne (table.size $functions) (i32.const 100)) (then unreachable))
    (if (i32.ne (call_indirect $functions (type $number) (i32.const 0)) (i32.const 1)) (then unreachable))
    (local.set $i (i32.const 1))
    (loop $entries
        (if (i32.eqz (ref.is_null (table.get $functions (local.get $i)))) (then unreachable))
        (br_if $entries (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))
    ;; The second memory: as it was written down, and zeros.
    (if (i32.ne (memory.size $other) (i32.const 2)) (then unreachable))
    (if (i64.ne (i64.load $other (i32.const 70000)) (i64.const 0x2222222211111111)) (then unreachable))
    (i64.store $other (i32.const 70000) (i64.const 0))
    (drop (memory.grow $other (i32.const 1)))
    (local.set $i (i32.const 0))
    (loop $bytes
        (if (i64.ne (i64.load $other (local.get $i)) (i64.const 0)) (then unreachable))
        (br_if $bytes (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 196608))))
    ;; The first, beyond what the host wrote for this call: where the last allocation ends.
    (drop (memory.grow 0 (i32.const 1)))
    (local.set $i (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (loop $bytes
        (if (i64.ne (i64.load (local.get $i)) (i64.const 0)) (then unreachable))
        (br_if $bytes (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.mul (memory.size 0) (i32.const 65536)))))
    ;; Segments that were dropped are there again.
    (memory.init $other $passive (i32.const 0) (i32.const 0) (i32.const 8))
    (table.init $functions $more (i32.const 5) (i32.const 0) (i32.const 1))
"#;

const LEAVE: &str = r#"
    (global.set $mark (i64.const 99))
    (drop (table.grow $functions (ref.func $two) (i32.const 50)))
    (table.fill $functions (i32.const 0) (ref.func $two) (i32.const 150))
    (memory.fill $other (i32.const 0) (i32.const 0x5a) (i32.const 196608))
    (memory.fill 0
        (global.get $heap)
        (i32.const 0x5a)
        (i32.sub (i32.mul (memory.size 0) (i32.const 65536)) (global.get $heap)))
    (data.drop $passive)
    (elem.drop $more)
"#;

fn wat_guest(call: &str) -> Vec<u8> {
    let tool = WatTool::named("slots_wat");
    let items = r#"
        (type $number (func (result i32)))
        (func $one (result i32) (i32.const 1))
        (func $two (result i32) (i32.const 2))
        (table $functions 100 200 funcref)
        (elem (table $functions) (i32.const 0) func $one)
        (elem $more func $two)
        (elem declare func $two)
        (global $mark (mut i64) (i64.const 7))
        (memory $other 2)
        (data (memory $other) (i32.const 70000) "\11\11\11\11\22\22\22\22")
        (data $passive "\01\02\03\04\05\06\07\08")"#;
    WatGuest::new([tool]).items(items).call(call).build()
}

struct Host {
    tools: ToolSet,
    bus: EventBus,
}

impl Host {
    async fn start(wat: Vec<u8>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str, bytes: Vec<u8>| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            ComponentSource::Path(path)
        };
        let mut config = Config {
            plugins: vec![
                PluginSettings::new("rust", ComponentSource::Builtin("faulty".to_owned())),
                PluginSettings::new("wat", written("wat.wasm", wat)),
                PluginSettings::new(
                    "c",
                    written("c.wasm", component(include_bytes!("../guests/slots.wasm").to_vec())),
                ),
            ],
            ..Config::default()
        };
        config.engine.host_concurrency = u32::try_from(AT_ONCE).unwrap();
        config.engine.cache_dir = Some(crate::cache().join("cofferdam"));
        let place = CompilePlace::Child(PathBuf::from(env!("CARGO_BIN_EXE_cofferdam-under-test")));
        let tls = cofferdam::tls::client_config().unwrap();
        let tools = load_tools(&config, Some(place), tls).await.unwrap();
        assert!(tools.problems().is_empty(), "{:?}", tools.problems());
        Self {
            tools,
            bus: EventBus::new(),
        }
    }

    /// How the call ended, and what it found.
    async fn call(&self, tool: &str, input: Value) -> (Outcome, String) {
        let emitter = Emitter::new(&self.bus, "slots", "default", AlertSettings::default());
        let context = ToolContext {
            emitter: &emitter,
            deadline: Instant::now() + Duration::from_secs(60),
            cancel: &CancellationToken::new(),
        };
        let call = ToolCall {
            id: String::new(),
            name: tool.to_owned(),
            input,
        };
        let result = self.tools.call(call, &context).await;
        let text = match &result.content[..] {
            [Part::Text { text }] => text.clone(),
            other => format!("{other:?}"),
        };
        (result.outcome, text)
    }
}

/// So many calls of each guest.
async fn expect_nothing_found(calls: usize) {
    let host = Arc::new(Host::start(wat_guest(&format!("{LOOK}{LEAVE}"))).await);
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|task| {
            let host = host.clone();
            tokio::spawn(async move {
                for round in 0..calls / AT_ONCE * TOOLS.len() {
                    let tool = TOOLS[(round + task) % TOOLS.len()];
                    let (outcome, found) = host.call(tool, json!({})).await;
                    let is_clean = outcome == Outcome::Ok && (found == "1" || tool == "slots_wat");
                    assert!(is_clean, "{tool}, {round} calls later: {outcome:?}: {found}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_of_one_call_is_found_in_another() {
    expect_nothing_found(10_000).await;
}

/// Slots that are cleared on one processor while the other is at work; fewer, for each page then costs both of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_on_two_processors() {
    expect_nothing_found(1_000).await;
}

/// They would find it.
#[tokio::test]
async fn guests_that_look_twice_find_what_they_left() {
    let host = Host::start(wat_guest(&format!("{LOOK}{LEAVE}{LOOK}"))).await;
    let (outcome, found) = host.call("state", json!({ "twice": true })).await;
    assert_eq!((outcome, found.as_str()), (Outcome::Ok, "8194"));
    let (outcome, found) = host.call("slots_wat", json!({})).await;
    assert_eq!(outcome, Outcome::Trapped, "{found}");
    let (outcome, found) = host.call("slots_c", json!({ "twice": true })).await;
    assert_eq!(outcome, Outcome::Trapped, "{found}");
}
