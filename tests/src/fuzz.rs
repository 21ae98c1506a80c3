//! Fuzz targets of the sandbox: arbitrary bytes as a component, and arbitrary bytes as a component's result.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cofferdam::sandbox::{CompilePlace, EngineSettings, Grants, Halt, Limits, Plugin, Sandbox};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::WatGuest;

/// Loading any bytes succeeds or returns an error. A component that loads lists its tools and runs the first, within its limits.
pub fn component(data: &[u8]) {
    runtime().block_on(async {
        if let Ok(plugin) = sandbox().load("fuzz", data.to_vec(), grants(), None).await {
            exercise(&plugin).await;
        }
    });
}

/// A guest that returns these bytes as a result. The first byte selects the function; the rest is the result's memory, with
/// arbitrary pointers, tags and lengths. Returns whether a call has a result.
pub fn values(data: &[u8]) -> bool {
    let Some((which, bytes)) = data.split_first() else {
        return false;
    };
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    match which {
        0 => runtime().block_on(async { exercise(&component_listing(bytes).await).await }),
        _ => runtime().block_on(run(echo_component(), "t", &encode(bytes))),
    }
}

/// Offset and length of each function's result in a guest's memory; see `WatGuest`. The remaining bytes go to `REST_OFFSET`.
const LIST_RESULT: (usize, usize) = (0, 16);
const CALL_RESULT: (usize, usize) = (16, 48);
const REST_OFFSET: usize = 4096;
const MAX_BYTES: usize = 4096;

/// A component that returns these bytes from `list-tools`. It is compiled for each input, because `list-tools` takes no
/// argument.
async fn component_listing(bytes: &[u8]) -> Plugin {
    static TEMPLATE: OnceLock<(Vec<u8>, usize)> = OnceLock::new();
    let (template, at) = TEMPLATE.get_or_init(|| {
        let (to, room) = LIST_RESULT;
        let guest = WatGuest::named("t")
            .items(&format!("(data $result \"{}\")", "\\a5".repeat(MAX_BYTES)))
            .list(&format!(
                "(memory.init $result (i32.const {to}) (i32.const 0) (i32.const {room}))
                 (memory.init $result (i32.const {REST_OFFSET}) (i32.const {room}) (i32.const {}))",
                MAX_BYTES - room
            ));
        let bytes = guest.build();
        let at = bytes
            .windows(MAX_BYTES)
            .position(|window| window.iter().all(|byte| *byte == 0xa5));
        (bytes, at.unwrap())
    });
    let mut component = template.clone();
    component[*at..at + MAX_BYTES].fill(0);
    component[*at..at + bytes.len()].copy_from_slice(bytes);
    load(&component).await
}

/// A component that returns the bytes it gets from `call-tool`, encoded as two encode each.
fn echo_component() -> &'static Plugin {
    static CALLER: OnceLock<Plugin> = OnceLock::new();
    CALLER.get_or_init(|| {
        let (to, room) = CALL_RESULT;
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
            REST_OFFSET - room,
            nibble(0),
            nibble(1)
        ));
        runtime().block_on(load(&guest.build()))
    })
}

/// Encodes each byte as two encode from `a` to `p`.
fn encode(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(b'a' + nibble)).collect()
}

async fn load(component: &[u8]) -> Plugin {
    let plugin = sandbox().load("fuzz", component.to_vec(), grants(), None).await;
    plugin.unwrap_or_else(|error| panic!("a good component: {error}"))
}

/// Returns whether a call has a result.
async fn exercise(plugin: &Plugin) -> bool {
    let tools = plugin.list_tools().await;
    let name = tools.ok().and_then(|tools| Some(tools.first()?.name.raw().to_owned()));
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
        // Compiles in this process, so that the fuzzer sees the coverage.
        Sandbox::new(&settings, [&grants().limits], CompilePlace::ThisProcess, tls).unwrap()
    })
}
