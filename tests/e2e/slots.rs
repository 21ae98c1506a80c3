//! Reuse of pool slots. Although the pool prefers the component that used a slot last, there are more memories than slots,
//! so every guest gets slots that others used. A call finds nothing of another call: neither in initial nor in grown
//! memory, nor in tables or globals.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cofferdam::assembly::load_tools;
use cofferdam::config::Config;
use cofferdam::events::Outcome;
use cofferdam::sandbox::CompilePlace;
use cofferdam::telemetry::{AlertSettings, Emitter, EventBus};
use cofferdam::tools::{ComponentSource, Part, PluginSettings, ToolCall, ToolContext, ToolSet};
use cofferdam_tests::{WatGuest, WatTool, component};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Concurrent calls. The pool then has six memories.
const AT_ONCE: usize = 2;
/// WAT guests that differ in a constant only, each with two memories.
const VARIANTS: usize = 8;

/// The tool of a round: it searches for data of others, and leaves data itself.
fn tool(round: usize) -> String {
    match round % 3 {
        0 => "state".to_owned(),
        1 => "slots_c".to_owned(),
        _ => format!("slots_wat_{}", round / 3 % VARIANTS),
    }
}

/// Traps if it finds data of another call.
const SEARCH: &str = r#"
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

const LEAVE_DATA: &str = r#"
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

fn wat_guest(variant: usize, call: &str) -> Vec<u8> {
    let tool = WatTool::named(&format!("slots_wat_{variant}"));
    let items = r#"
        (global $variant i32 (i32.const VARIANT))
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
    let items = items.replace("VARIANT", &variant.to_string());
    WatGuest::new([tool]).items(&items).call(call).build()
}

struct Host {
    tools: ToolSet,
    bus: EventBus,
}

impl Host {
    async fn start(call: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str, bytes: Vec<u8>| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            ComponentSource::Path(path)
        };
        let mut plugins = vec![
            PluginSettings::new("rust", ComponentSource::Builtin("faulty".to_owned())),
            PluginSettings::new(
                "c",
                written("c.wasm", component(include_bytes!("../guests/slots.wasm").to_vec())),
            ),
        ];
        plugins.extend((0..VARIANTS).map(|variant| {
            let bytes = wat_guest(variant, call);
            PluginSettings::new(format!("wat-{variant}"), written(&format!("{variant}.wasm"), bytes))
        }));
        let mut config = Config {
            plugins,
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

    /// The outcome of a call and the text of its result.
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
            input: input.into(),
        };
        let result = self.tools.call(call, &context).await;
        let text = match &result.content[..] {
            [Part::Text { text }] => text.clone(),
            other => format!("{other:?}"),
        };
        (result.outcome, text)
    }
}

/// Makes this many calls of each kind of guest.
async fn expect_nothing_found(calls: usize) {
    let host = Arc::new(Host::start(&format!("{SEARCH}{LEAVE_DATA}")).await);
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|task| {
            let host = host.clone();
            tokio::spawn(async move {
                for round in 0..calls / AT_ONCE * 3 {
                    let tool = tool(round + task);
                    let (outcome, found) = host.call(&tool, json!({})).await;
                    let is_clean = outcome == Outcome::Ok && matches!(found.as_str(), "1" | "done");
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
async fn a_call_finds_nothing_of_another() {
    expect_nothing_found(10_000).await;
}

/// Slots are cleared on one processor while the other runs. Fewer calls, because each page then costs both of them time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_finds_nothing_of_another_on_two_processors() {
    expect_nothing_found(1_000).await;
}

/// Checks that the search works: guests that search twice find their own data.
#[tokio::test]
async fn guests_that_search_twice_find_their_own_data() {
    let host = Host::start(&format!("{SEARCH}{LEAVE_DATA}{SEARCH}")).await;
    let (outcome, found) = host.call("state", json!({ "twice": true })).await;
    assert_eq!((outcome, found.as_str()), (Outcome::Ok, "8194"));
    let (outcome, found) = host.call("slots_wat_0", json!({})).await;
    assert_eq!(outcome, Outcome::Trapped, "{found}");
    let (outcome, found) = host.call("slots_c", json!({ "twice": true })).await;
    assert_eq!(outcome, Outcome::Trapped, "{found}");
}
