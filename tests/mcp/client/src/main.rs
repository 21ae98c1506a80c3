//! The protocol library's own client against the real binary, over stdio and HTTP, for the newest revision of the protocol and
//! the two before it, each by name: `cargo run -- PATH_TO_COFFERDAM`.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation, ProgressNotificationParam,
    ProtocolVersion, ServerNotification, SubscriptionFilter,
};
use rmcp::service::{NotificationContext, RoleClient, RunningService, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

/// The newest revision begins with `server/discover`, the others with `initialize`.
const NEWEST: ProtocolVersion = ProtocolVersion::V_2026_07_28;
const REVISIONS: [ProtocolVersion; 3] = [NEWEST, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2025_06_18];
const TOKEN: &str = "a-token-of-this-test";
/// Far longer than anything takes, so that a hang fails the test.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One call of a tool at a time, so that a call that was not cancelled is noticed by the next one.
const FAULTY: &str =
    "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nlimits = { concurrency = 1, timeout = \"5m\" }\n";
const CALCULATOR: &str = "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Stdio,
    Http,
}

type Client = RunningService<RoleClient, Handler>;

/// Notes what the server says unasked.
#[derive(Clone)]
struct Handler {
    revision: ProtocolVersion,
    progress: Arc<Notify>,
    list_changed: Arc<Notify>,
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(ClientCapabilities::default(), Implementation::new("test", "1"))
            .with_protocol_version(self.revision.clone())
    }

    async fn on_progress(&self, progress: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        assert!(progress.progress > 0.0);
        self.progress.notify_one();
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.list_changed.notify_one();
    }
}

fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .args(["mcp", "--quiet", "--watch"])
        .kill_on_drop(true);
    command
}

/// A server over HTTP that prints its URL.
async fn http_server(program: &str, folder: &Path) -> (Child, String) {
    let mut server = command(program, folder)
        .args(["--http", "127.0.0.1:0", "--token-env", "TEST_TOKEN"])
        .env("TEST_TOKEN", TOKEN)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let url = lines.next_line().await.unwrap().expect("no URL");
    (server, url)
}

async fn connect(program: &str, folder: &Path, over: Over, revision: &ProtocolVersion) -> (Client, Option<Child>) {
    let handler = Handler {
        revision: revision.clone(),
        progress: Arc::default(),
        list_changed: Arc::default(),
    };
    let lifecycle = match *revision == NEWEST {
        true => ClientLifecycleMode::Discover {
            preferred_versions: vec![revision.clone()],
        },
        false => ClientLifecycleMode::Initialize,
    };
    match over {
        Over::Stdio => {
            let process = TokioChildProcess::new(command(program, folder)).unwrap();
            (handler.serve_with_lifecycle(process, lifecycle).await.unwrap(), None)
        }
        Over::Http => {
            let (server, url) = http_server(program, folder).await;
            let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(TOKEN);
            let transport = StreamableHttpClientTransport::from_config(config);
            let client = handler.serve_with_lifecycle(transport, lifecycle).await.unwrap();
            (client, Some(server))
        }
    }
}

fn call(tool: &'static str, input: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(tool).with_arguments(input.as_object().cloned().unwrap())
}

fn text(result: &CallToolResult) -> &str {
    &result.content[0].as_text().unwrap().text
}

fn outcome(result: &CallToolResult) -> &Value {
    &result.meta.as_ref().unwrap()["cofferdam/outcome"]
}

async fn names(client: &Client) -> Vec<String> {
    let tools = client.list_tools(None).await.unwrap().tools;
    tools.into_iter().map(|tool| tool.name.into_owned()).collect()
}

async fn lists_and_calls(client: &Client) {
    assert!(names(client).await.contains(&"echo".to_owned()));
    let result = client.call_tool(call("echo", json!({ "a": 1 }))).await.unwrap();
    assert_eq!(
        (result.is_error, outcome(&result)),
        (Some(false), &json!("ok")),
        "{result:?}"
    );
    let result = client.call_tool(call("panic", json!({}))).await.unwrap();
    assert_eq!(
        (result.is_error, outcome(&result)),
        (Some(true), &json!("trapped")),
        "{result:?}"
    );
    assert!(text(&result).contains("crashed"), "{result:?}");
    let result = client.call_tool(call("sleep", json!({ "ms": "many" }))).await.unwrap();
    assert_eq!(
        (result.is_error, outcome(&result)),
        (Some(true), &json!("invalid_input")),
        "{result:?}"
    );
    let Err(ServiceError::McpError(error)) = client.call_tool(call("no_such_tool", json!({}))).await else {
        panic!("an unknown tool is a protocol error");
    };
    assert!(
        error.code.0 == -32602 && error.message.contains("no_such_tool"),
        "{error:?}"
    );
}

/// Dropping a call cancels it: over stdio by a notification, over HTTP as the revision has it.
async fn a_cancelled_call_ends(client: &Client) {
    let forever = client.call_tool(call("sleep", json!({ "ms": 600_000 })));
    assert!(tokio::time::timeout(Duration::from_millis(500), forever).await.is_err());
    let result = client.call_tool(call("sleep", json!({ "ms": 1 }))).await.unwrap();
    assert_eq!(outcome(&result), "ok", "{result:?}");
}

async fn a_long_call_reports_progress(client: &Client) {
    let sleep = client.call_tool(call("sleep", json!({ "ms": 7_000 })));
    let (result, ()) = tokio::join!(sleep, client.service().progress.notified());
    assert_eq!(outcome(&result.unwrap()), "ok");
}

/// Of the older revisions, only stdio has a way to say it: over HTTP there is no session that the server could speak in.
async fn a_changed_list_is_announced(client: &Client, over: Over, folder: &Path) {
    let change = || std::fs::write(folder.join("cofferdam.toml"), format!("{FAULTY}{CALCULATOR}")).unwrap();
    if client.service().revision == NEWEST {
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        let mut changes = client.listen(filter).await.unwrap();
        change();
        let notification = changes.next().await.unwrap();
        assert!(matches!(
            notification,
            Some(ServerNotification::ToolListChangedNotification(_))
        ));
        assert!(names(client).await.contains(&"calculate".to_owned()));
    } else {
        change();
        if over == Over::Stdio {
            client.service().list_changed.notified().await;
            assert!(names(client).await.contains(&"calculate".to_owned()));
        }
        while !names(client).await.contains(&"calculate".to_owned()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let result = client
        .call_tool(call("calculate", json!({ "expression": "25 * 17" })))
        .await;
    assert_eq!(text(&result.unwrap()), "425");
}

async fn session(program: &str, over: Over, revision: ProtocolVersion) {
    let started = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cofferdam.toml"), FAULTY).unwrap();
    let (mut client, server) = connect(program, folder.path(), over, &revision).await;
    let negotiated = client.peer_info().unwrap().protocol_version.clone();
    assert_eq!(negotiated, revision);
    lists_and_calls(&client).await;
    a_cancelled_call_ends(&client).await;
    a_long_call_reports_progress(&client).await;
    a_changed_list_is_announced(&client, over, folder.path()).await;
    client.close().await.unwrap();
    drop(server);
    println!("ok {:5.2} s  {over:?} {revision}", started.elapsed().as_secs_f64());
}

#[tokio::main]
async fn main() {
    let program = std::env::args().nth(1).expect("usage: cargo run -- PATH_TO_COFFERDAM");
    let program = std::fs::canonicalize(program)
        .unwrap()
        .into_os_string()
        .into_string()
        .unwrap();
    let mut sessions = tokio::task::JoinSet::new();
    for over in [Over::Stdio, Over::Http] {
        for revision in REVISIONS {
            let program = program.clone();
            sessions.spawn(async move {
                let session = session(&program, over, revision.clone());
                let ended = tokio::time::timeout(TIMEOUT, session).await;
                ended.unwrap_or_else(|_| panic!("{over:?} {revision}: it hangs"));
            });
        }
    }
    while let Some(ended) = sessions.join_next().await {
        ended.unwrap();
    }
}
