//! What a fuzzer tries on the sandbox: bytes that say they are a component, and what a component says is a result.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cofferdam::sandbox::{CompilePlace, EngineSettings, Grants, Halt, Limits, Plugin, Sandbox};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::WatGuest;

/// Any bytes load, or are told why not; what loads lists its tools, and runs the first of them, within its limits.
pub fn component(data: &[u8]) {
    runtime().block_on(async {
        if let Ok(plugin) = sandbox().load("fuzz", data, grants()).await {
            exercise(&plugin).await;
        }
    });
}

/// A guest whose results are these bytes: the first says of which function, the rest lies where the result is. Pointers
/// into the memory, tags and lengths are whatever they are. Returns whether a call has a result.
pub fn values(data: &[u8]) -> bool {
    let Some((which, bytes)) = data.split_first() else {
        return false;
    };
    let bytes = &bytes[..bytes.len().min(MOST)];
    match which {
        0 => runtime().block_on(async { exercise(&lister(bytes).await).await }),
        _ => runtime().block_on(run(caller(), "t", &letters(bytes))),
    }
}

/// Where a guest has the results of its functions, and how long they are; see `WatGuest`. What they point to lies elsewhere.
const LIST: (usize, usize) = (0, 16);
const CALL: (usize, usize) = (16, 48);
const REST: usize = 4096;
const MOST: usize = 4096;

/// A component that lists its tools with these bytes. It has to be compiled, for nobody tells a guest anything when it is asked
/// for its tools.
async fn lister(bytes: &[u8]) -> Plugin {
    static TEMPLATE: OnceLock<(Vec<u8>, usize)> = OnceLock::new();
    let (template, at) = TEMPLATE.get_or_init(|| {
        let (to, room) = LIST;
        let guest = WatGuest::named("t")
            .items(&format!("(data $result \"{}\")", "\\a5".repeat(MOST)))
            .list(&format!(
                "(memory.init $result (i32.const {to}) (i32.const 0) (i32.const {room}))
                 (memory.init $result (i32.const {REST}) (i32.const {room}) (i32.const {}))",
                MOST - room
            ));
        let bytes = guest.build();
        let at = bytes
            .windows(MOST)
            .position(|window| window.iter().all(|byte| *byte == 0xa5));
        (bytes, at.unwrap())
    });
    let mut component = template.clone();
    component[*at..at + MOST].fill(0);
    component[*at..at + bytes.len()].copy_from_slice(bytes);
    load(&component).await
}

/// A component that answers a call with the bytes that it is given, two letters for each.
fn caller() -> &'static Plugin {
    static CALLER: OnceLock<Plugin> = OnceLock::new();
    CALLER.get_or_init(|| {
        let (to, room) = CALL;
        let nibble = |offset: usize| {
            format!(
                "(i32.sub (i32.load8_u offset={offset} (i32.add (local.get 2) (i32.shl (local.get $i) (i32.const 1)))) (i32.const 97))"
            )
        };
        let guest = WatGuest::named("t").call(&format!(
            "(block $done (loop $next
                (br_if $done (i32.ge_u (local.get $i) (i32.shr_u (local.get 3) (i32.const 1))))
                (i32.store8
                    (i32.add (local.get $i) (select (i32.const {to}) (i32.const {}) (i32.lt_u (local.get $i) (i32.const {room}))))
                    (i32.or (i32.shl {} (i32.const 4)) {}))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $next)))",
            REST - room,
            nibble(0),
            nibble(1)
        ));
        runtime().block_on(load(&guest.build()))
    })
}

fn letters(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(b'a' + nibble)).collect()
}

async fn load(component: &[u8]) -> Plugin {
    let plugin = sandbox().load("fuzz", component, grants()).await;
    plugin.unwrap_or_else(|error| panic!("a good component: {error}"))
}

/// Returns whether a call has a result.
async fn exercise(plugin: &Plugin) -> bool {
    let tools = plugin.list_tools().await;
    let name = tools.ok().and_then(|tools| Some(tools.first()?.name.clone()));
    run(plugin, &name.unwrap_or_default(), "{}").await
}

async fn run(plugin: &Plugin, name: &str, input: &str) -> bool {
    let halt = Halt {
        deadline: Instant::now() + Duration::from_secs(1),
        cancel: &CancellationToken::new(),
    };
    let tenant: Arc<str> = "fuzz".into();
    let (result, usage) = plugin.call(&tenant, name, input, halt).await;
    let limits = plugin.limits();
    assert!(
        usage.fuel <= limits.fuel && usage.peak_memory <= limits.memory,
        "{usage:?}"
    );
    result.is_ok()
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    })
}

fn grants() -> &'static Grants {
    static GRANTS: OnceLock<Grants> = OnceLock::new();
    GRANTS.get_or_init(|| Grants {
        limits: Limits {
            fuel: 10_000_000,
            memory: 16 << 20,
            timeout: Duration::from_secs(1),
            ..Limits::default()
        },
        ..Grants::default()
    })
}

fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        let settings = EngineSettings {
            host_concurrency: 4,
            ..EngineSettings::default()
        };
        let tls = cofferdam::tls::client_config().unwrap();
        // In this process, so that a fuzzer sees what is reached.
        Sandbox::new(&settings, [&grants().limits], CompilePlace::ThisProcess, tls).unwrap()
    })
}
