//! The servers, each a process of its own: the product, a plain server of the same protocol library, with a native tool or with
//! the product's component on bare wasmtime, and the official SDK for Python.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::common::bare::{Bare, Instances, Metering};
use crate::common::{PLUGIN, TOOL};

/// The argument that turns this benchmark into the plain server.
const SERVE: &str = "serve-plain-rmcp";
/// The calls that a plain server can have at once, with room for every client of the benchmark.
const MOST_CALLS: u32 = 64;
/// The Python that has the SDK, if it isn't where `.ci/run` installs it.
const PYTHON_VARIABLE: &str = "COFFERDAM_BENCH_PYTHON";

/// The tool of a plain server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PlainTool {
    /// A function of the server itself.
    Native,
    /// The product's component, in a fresh instance for each call.
    Component,
}

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Stdio,
    Http,
}

/// Starts servers, with their files in one folder.
pub struct Servers<'a> {
    pub folder: &'a Path,
}

impl Servers<'_> {
    /// The product with its default settings, which includes its log. `more` is further configuration.
    pub fn product(&self, over: Over, more: &str) -> Command {
        let file = self.folder.join(format!("{}.toml", more.len()));
        std::fs::write(
            &file,
            format!("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n{more}"),
        )
        .unwrap();
        let mut command = self.command(env!("CARGO_BIN_EXE_cofferdam"));
        command.arg("--config").arg(file).arg("mcp");
        if over == Over::Http {
            command.args(["--http", "127.0.0.1:0"]);
        }
        command
    }

    pub fn plain(&self, tool: PlainTool, over: Over) -> Command {
        let mut command = self.command(std::env::current_exe().unwrap());
        let tool = match tool {
            PlainTool::Native => "native",
            PlainTool::Component => "component",
        };
        command.arg(SERVE).arg(tool).arg(name(over));
        command
    }

    /// `None` if the SDK isn't installed.
    pub fn python(&self, over: Over) -> Option<Command> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let installed = || manifest.join("../target/tools/mcp/bin/python");
        let python = std::env::var_os(PYTHON_VARIABLE).map_or_else(installed, PathBuf::from);
        if !python.is_file() {
            return None;
        }
        let mut command = self.command(python);
        command
            .arg(manifest.join("benches/mcp/python_server.py"))
            .arg(name(over));
        Some(command)
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("stderr.log"))
            .unwrap();
        let mut command = Command::new(program);
        command.stderr(log).kill_on_drop(true);
        command
    }
}

fn name(over: Over) -> &'static str {
    match over {
        Over::Stdio => "stdio",
        Over::Http => "http",
    }
}

/// A server over HTTP, which prints its URL.
pub struct HttpServer {
    pub address: SocketAddr,
    /// Ends when it is dropped.
    _child: Child,
}

impl HttpServer {
    pub async fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut url).await.unwrap();
        let address = url
            .trim()
            .strip_prefix("http://")
            .and_then(|url| url.strip_suffix("/mcp"));
        Self {
            address: address.unwrap_or_else(|| panic!("no URL: {url}")).parse().unwrap(),
            _child: child,
        }
    }
}

/// Serves in the process that [`Servers::plain`] describes. Returns whether this is that process.
pub async fn become_plain_server_if_asked() -> bool {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(SERVE) {
        return false;
    }
    let plain = match arguments.next().as_deref() {
        Some("native") => Plain::Native,
        _ => Plain::component(),
    };
    match arguments.next().as_deref() {
        Some("stdio") => {
            let running = plain.serve(rmcp::transport::io::stdio_pipes()).await.unwrap();
            running.waiting().await.unwrap();
        }
        _ => serve_http(plain).await,
    }
    true
}

/// Configured as the product configures it.
async fn serve_http(plain: Plain) {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    let service = StreamableHttpService::new(
        move || Ok(plain.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}/mcp", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let service = service.clone();
                async move { Ok::<_, std::convert::Infallible>(service.handle(request).await) }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// A server with one tool and nothing else.
#[derive(Clone)]
enum Plain {
    /// A calculator that knows just enough for the benchmark.
    Native,
    Component(Arc<Bare>),
}

impl Plain {
    fn component() -> Self {
        let metering = Metering {
            fuel: true,
            epoch: true,
        };
        Self::Component(Arc::new(Bare::for_calls(
            PLUGIN,
            Instances::Pooled,
            metering,
            MOST_CALLS,
        )))
    }
}

impl ServerHandler for Plain {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({ "type": "object", "properties": { "expression": { "type": "string" } } });
        let schema = schema.as_object().cloned().unwrap();
        let tool = Tool::new(TOOL, "Multiplies.", Arc::new(schema));
        Ok(ListToolsResult::with_all_items(vec![tool]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let answer = match self {
            Self::Native => {
                let factors = arguments["expression"].as_str().unwrap().split('*');
                let product: i64 = factors.map(|factor| factor.trim().parse::<i64>().unwrap()).product();
                product.to_string()
            }
            Self::Component(component) => {
                let input = serde_json::to_string(&arguments).unwrap();
                component.call_for_text(TOOL, &input).await
            }
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(answer)]).into())
    }
}
