//! What a fuzzer tries on the sandbox: bytes that say they are a component, and what a component says is a result.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cofferdam::sandbox::{CompilePlace, EngineSettings, Grants, Halt, Limits, Plugin, Sandbox};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{WatGuest, WatTool};

/// Any bytes load, or are told why not; what loads lists its tools, and runs the first of them, within its limits.
pub fn component(data: &[u8]) {
    runtime().block_on(async {
        if let Ok(plugin) = sandbox().load("fuzz", data, grants()).await {
            exercise(&plugin).await;
        }
    });
}

/// A guest whose results are these bytes: the first says of which function, the rest lies where the result is. Pointers
/// into the memory, tags and lengths are whatever they are.
pub fn values(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    // Where a guest has its results; see `WatGuest`.
    let (at, room) = if which & 1 == 0 { (0, 16) } else { (16, 48) };
    let result = &bytes[..bytes.len().min(room)];
    // What they may point to.
    let rest = &bytes[result.len()..bytes.len().min(4096)];
    let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
    let copy = format!(
        "(memory.init $result (i32.const {at}) (i32.const 0) (i32.const {}))
         (memory.init $rest (i32.const 4096) (i32.const 0) (i32.const {}))",
        result.len(),
        rest.len()
    );
    let guest = WatGuest::new([WatTool::named("t")]).items(&format!(
        "(data $result \"{}\") (data $rest \"{}\")",
        text(result),
        text(rest)
    ));
    let guest = match at {
        0 => guest.list(&copy),
        _ => guest.call(&copy),
    };
    let bytes = guest.build();
    runtime().block_on(async {
        let plugin = sandbox().load("fuzz", &bytes, grants()).await;
        exercise(&plugin.unwrap_or_else(|error| panic!("a good component: {error}"))).await;
    });
}

async fn exercise(plugin: &Plugin) {
    let tools = plugin.list_tools().await;
    let name = tools.ok().and_then(|tools| Some(tools.first()?.name.clone()));
    let halt = Halt {
        deadline: Instant::now() + Duration::from_secs(1),
        cancel: &CancellationToken::new(),
    };
    let tenant: Arc<str> = "fuzz".into();
    let name = name.unwrap_or_default();
    let (_, usage) = plugin.call(&tenant, &name, "{}", halt).await;
    let limits = plugin.limits();
    assert!(
        usage.fuel <= limits.fuel && usage.peak_memory <= limits.memory,
        "{usage:?}"
    );
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
