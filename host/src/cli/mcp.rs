//! `cofferdam mcp`: serves tools to any client of the Model Context Protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::grants::GrantArgs;
use super::interrupt::Interrupt;
use super::watch::Files;
use super::{CliError, Context, Output, mcp_config, standalone, tool};
use crate::config::{Arguments, Config};
use crate::mcp::{Access, McpServer};
use crate::secret::Secret;
use crate::telemetry::{EventBus, LogLevel};
use crate::tools::{PluginProblem, ToolSet};

/// The longest time that the end waits for the last events.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct McpArgs {
    #[command(subcommand)]
    command: Option<McpCommand>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    /// Print what to add to a client's configuration
    Config(mcp_config::ConfigArgs),
}

/// The components that are served in place of the configured plugins.
#[derive(Args, Clone, Debug, Default)]
pub struct PluginArgs {
    /// Serve this component (also builtin:NAME) and ignore the configuration; may be repeated
    #[arg(long, value_name = "FILE")]
    pub plugin: Vec<String>,
    #[command(flatten)]
    pub grants: GrantArgs,
    /// The calls that are refused because a person must approve them: never, destructive, writes or always
    #[arg(long, value_name = "WHICH")]
    pub approve: Option<String>,
}

impl PluginArgs {
    /// What the command line sets of the configuration.
    fn arguments(&self) -> Arguments {
        let mut arguments = Arguments::default();
        if let Some(approve) = &self.approve {
            arguments.set("--approve", &["agent", "approve"], approve);
        }
        arguments
    }

    /// Whether there are any, so that the configuration isn't used.
    pub fn is_standalone(&self) -> bool {
        !self.plugin.is_empty()
    }

    /// The configuration with these components in place of its own, or as it is if there are none.
    ///
    /// # Errors
    /// As [`GrantArgs::apply`], or a grant, a limit or the configuration is invalid.
    pub fn config(&self, cx: &Context) -> Result<Config, CliError> {
        let mut arguments = self.arguments();
        self.grants.apply(&self.plugin, false, &mut arguments)?;
        match self.is_standalone() {
            true => standalone::config(arguments),
            false => cx.config_with(arguments),
        }
    }

    /// The tools that are served with this configuration.
    ///
    /// # Errors
    /// As [`standalone::load`] for these components, or else as [`tool::load`].
    pub async fn load(&self, cx: &Context, config: &Config) -> Result<ToolSet, CliError> {
        let tools = match self.is_standalone() {
            true => standalone::load(cx, config).await?,
            false => tool::load(cx, config, false).await?,
        };
        // Its clients can't be asked, so they are refused what a person must approve.
        Ok(tools.with_approvals(config.agent.approve))
    }
}

#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    plugins: PluginArgs,
    /// Serve over HTTP at http://ADDRESS/mcp, such as 127.0.0.1:8080, instead of stdin and stdout; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// The environment variable with the token that clients must send; needed unless ADDRESS is on loopback
    #[arg(long, value_name = "VARIABLE", requires = "http")]
    token_env: Option<String>,
    /// Another host name by which clients address the server; may be repeated
    #[arg(long, value_name = "NAME", requires = "http")]
    allow_host: Vec<String>,
    /// A web page that may use the server, as scheme://host[:port]; may be repeated
    #[arg(long, value_name = "ORIGIN", requires = "http")]
    allow_origin: Vec<String>,
    /// Reload components and configuration when they change, and tell clients
    #[arg(long)]
    watch: bool,
}

impl McpArgs {
    /// Whether the configuration isn't used.
    pub fn is_standalone(&self) -> bool {
        self.serve.plugins.is_standalone()
    }
}

impl ServeArgs {
    /// Who may connect, or `None` for stdin and stdout. Checked before the components are compiled.
    fn access(&self) -> Result<Option<(SocketAddr, Access)>, CliError> {
        let Some(address) = self.http else { return Ok(None) };
        let token = match &self.token_env {
            None => None,
            Some(variable) => Some(
                std::env::var(variable)
                    .map(|token| Secret::trimmed(&token))
                    .map_err(|_| {
                        CliError::usage(
                            format!("--token-env: the environment variable {variable} is not set"),
                            format!("set {variable} to the token that clients send"),
                        )
                    })?,
            ),
        };
        let access = Access::new(
            address,
            token.as_ref(),
            self.allow_host.clone(),
            self.allow_origin.clone(),
        );
        match access {
            Ok(access) => Ok(Some((address, access))),
            Err(error) => Err(CliError::usage(error.to_string(), error.hint())),
        }
    }
}

/// Serves until the client leaves or the process is interrupted, and then exits with code 0. Over stdin and stdout, nothing
/// but the protocol is on stdout. Over HTTP, the URL is the only line.
pub async fn mcp(cx: &Context, args: McpArgs) -> Result<u8, CliError> {
    if let Some(McpCommand::Config(config)) = args.command {
        return mcp_config::print(cx, config).await;
    }
    if cx.global.output != Output::Text {
        return Err(CliError::usage(
            "stdout belongs to the protocol, so --output has no effect",
            "remove --output; the log file has every event as JSON",
        ));
    }
    let args = args.serve;
    let access = args.access()?;
    let config = args.plugins.config(cx)?;
    if !args.plugins.is_standalone() {
        cx.note_missing_configuration(&config);
    }
    let _logging = cx.logging(&config, false)?;
    let log = cx.log_level(&config, false);
    let events = EventBus::with_contents(config.logging.contents);
    // Before the components are read, so that a change meanwhile is noticed.
    let files = args.watch.then(|| Files::of(&config));
    let tools = Arc::new(args.plugins.load(cx, &config).await?);
    let (sender, receiver) = watch::channel(Arc::clone(&tools));
    let server = McpServer::new(
        receiver,
        events.clone(),
        config.alerts.clone(),
        &config.agent.tenant,
        config.agent.deadline,
    );
    let cancel = CancellationToken::new();
    let _interrupt = Interrupt::cancel_on_signal(cancel.clone(), cx);
    let reloading = reload_on_change(cx.bound_to(&config), args.plugins.clone(), log, files, sender);
    let _reloading = AbortOnDropHandle::new(tokio::spawn(reloading));
    match access {
        None => serve_stdio(cx, &server, &tools, cancel).await?,
        Some((address, access)) => serve_http(cx, &server, &tools, (address, access), cancel).await?,
    }
    events.flush(FLUSH_WAIT).await;
    Ok(0)
}

async fn serve_stdio(
    cx: &Context,
    server: &McpServer,
    tools: &ToolSet,
    cancel: CancellationToken,
) -> Result<(), CliError> {
    cx.note(&format!(
        "serving {} over stdin and stdout; close stdin or press Ctrl-C to stop",
        count(tools)
    ));
    server
        .serve_stdio(cancel)
        .await
        .map_err(|source| CliError::Protocol(source.to_string()))
}

async fn serve_http(
    cx: &Context,
    server: &McpServer,
    tools: &ToolSet,
    (address, access): (SocketAddr, Access),
    cancel: CancellationToken,
) -> Result<(), CliError> {
    let (listener, url) = listen(address).await?;
    cx.stdout.line(&url);
    cx.note(&format!("serving {} at {url}; press Ctrl-C to stop", count(tools)));
    server
        .serve_http(listener, access, cancel)
        .await
        .map_err(|error| CliError::Protocol(error.to_string()))
}

/// Listens at an address. The second part is the URL of the tools there.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, String), CliError> {
    let failed = |source| CliError::Listen {
        what: "MCP server",
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let url = format!("http://{}/mcp", listener.local_addr().map_err(failed)?);
    Ok((listener, url))
}

fn count(tools: &ToolSet) -> String {
    match tools.tools().count() {
        1 => "1 tool".to_owned(),
        count => format!("{count} tools"),
    }
}

/// Whether a plugin that is served now can't be loaded. A component that is being built must not take its tools away.
fn loses_a_plugin(now: &ToolSet, next: &ToolSet) -> bool {
    let mut failed = next
        .problems()
        .iter()
        .filter(|problem| matches!(problem.problem, PluginProblem::Component(_)));
    failed.any(|problem| now.tools().any(|tool| tool.plugin == problem.plugin))
}

/// With `--watch`, loads the tools again whenever a file has changed. What can't be loaded changes nothing.
async fn reload_on_change(
    mut cx: Context,
    plugins: PluginArgs,
    log: LogLevel,
    files: Option<Files>,
    sender: watch::Sender<Arc<ToolSet>>,
) {
    let Some(mut files) = files else {
        // The sender must live as long as the server.
        return std::future::pending().await;
    };
    loop {
        files.changed().await;
        let loaded = match plugins.config(&cx) {
            Ok(config) => {
                files.follow(&config);
                cx = cx.bound_to(&config);
                plugins.load(&cx, &config).await
            }
            Err(error) => Err(error),
        };
        match loaded {
            Ok(tools) if loses_a_plugin(&sender.borrow(), &tools) => {
                cx.note("a plugin can't be loaded any more; the tools stay as they were");
            }
            Ok(tools) => {
                tracing::info!(tools = tools.tools().count(), "reloaded the tools");
                let tools = tools.continuing(&sender.borrow());
                sender.send_replace(Arc::new(tools));
            }
            Err(error) => {
                // Unless the log on stderr says it.
                if log < LogLevel::Warn {
                    cx.report_error(&error);
                }
                tracing::warn!(%error, hint = error.hint(), "the changed files can't be loaded; the tools stay as they were");
            }
        }
    }
}
