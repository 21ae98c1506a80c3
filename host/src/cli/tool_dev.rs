//! `cofferdam tool dev`: builds a project whenever it changes, and keeps a prompt open to call its tools.

mod announce;
mod changes;
mod command;
mod describe;
mod project;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::announce::Announcer;
use self::command::Command;
use self::project::{Project, describe};
use super::grants::GrantArgs;
use super::interrupt::{ctrl_c, terminated};
use super::lines::{Between, Input, Lines, Prompting};
use super::tool_call::{self, Calls};
use super::watch::Files;
use super::{CliError, Context, Output, config_in_code, mcp, mcp_config, tool};
use crate::agent::DEFAULT_TENANT;
use crate::author::{AuthorError, Language};
use crate::mcp::{Access, McpServer};
use crate::resilience::Override;
use crate::telemetry::{EventBus, LogLevel};
use crate::tools::ToolSet;

/// The longest time that the end waits for clients of the MCP server.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub struct DevArgs {
    /// The project's folder
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Serve the tools to MCP clients as well, at http://ADDRESS/mcp [default ADDRESS: a free port of 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = "127.0.0.1:0")]
    mcp: Option<SocketAddr>,
    #[command(flatten)]
    grants: GrantArgs,
}

/// Runs until the input ends or the process is interrupted, and then exits with code 0.
pub async fn dev(cx: &Context, args: DevArgs) -> Result<u8, CliError> {
    let mut cx = cx.clone();
    let events_shown = cx.global.output == Output::StreamJson;
    if cx.global.output == Output::Json {
        // There is more than one document, so each is a line.
        cx.global.output = Output::StreamJson;
    }
    if Language::of(&args.folder).is_none() {
        return Err(AuthorError::NoProject(args.folder).into());
    }
    let access = args.mcp.map(access).transpose()?;
    let mut config = config_in_code();
    config.logging.console = LogLevel::Error;
    let _logging = cx.logging(&config, true)?;
    let events = EventBus::with_contents(config.logging.contents);
    let calls = Calls::new(&cx, &config, events.clone(), events_shown)?;
    let (tools, receiver) = watch::channel(Arc::new(tool::load_silently(&config).await?));
    let project = Project::new(&cx, &args, tools)?;
    let server = McpServer::new(
        receiver,
        events,
        config.alerts.clone(),
        DEFAULT_TENANT,
        config.agent.deadline,
    );
    // Dropping this kills what a build has started. Signals are waited for before anything is started.
    let developing = async {
        let mut files = Files::of_project(&args.folder, cx.global.config.as_deref());
        tokio::select! {
            biased;
            () = ctrl_c() => return Ok(()),
            () = project.build(&mut files) => {}
        }
        let serving = match access {
            Some((address, access)) => Some(Serving::start(&cx, &server, address, access).await?),
            None => None,
        };
        let ended = tokio::select! {
            ended = prompt(&cx, &project, &calls) => ended,
            () = project.build_on_change(&mut files) => Ok(()),
        };
        if let Some(serving) = serving {
            serving.stop().await;
        }
        ended
    };
    tokio::select! {
        biased;
        () = terminated() => {}
        ended = developing => ended?,
    }
    Ok(0)
}

fn access(address: SocketAddr) -> Result<(SocketAddr, Access), CliError> {
    match Access::new(address, None, Vec::new(), Vec::new()) {
        Ok(access) => Ok((address, access)),
        Err(error) => Err(CliError::usage(
            format!("--mcp: {error}"),
            "name an address of 127.0.0.1; `cofferdam mcp --http ADDRESS --token-env VARIABLE` serves other machines",
        )),
    }
}

/// The MCP server while it runs.
struct Serving {
    cancel: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Serving {
    async fn start(cx: &Context, server: &McpServer, address: SocketAddr, access: Access) -> Result<Self, CliError> {
        let (listener, url) = mcp::listen(address).await?;
        Announcer(cx).server(&url, &mcp_config::http_snippet(&url));
        let cancel = CancellationToken::new();
        let (cx, server, stop) = (cx.clone(), server.clone(), cancel.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = server.serve_http(listener, access, stop).await {
                cx.report_error(&CliError::Protocol(error.to_string()));
            }
        });
        Ok(Self {
            cancel,
            task: AbortOnDropHandle::new(task),
        })
    }

    async fn stop(self) {
        self.cancel.cancel();
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.task).await;
    }
}

/// Reads lines and does what they ask for, until they end.
async fn prompt(cx: &Context, project: &Project<'_>, calls: &Calls) -> Result<(), CliError> {
    let announcer = Announcer(cx);
    announcer.note("prompt", "NAME {JSON} calls a tool, `help` lists them, `quit` ends");
    let prompting = Prompting {
        completions: project.completions(),
        history: None,
        between: Between::Programs,
    };
    let mut lines = Lines::open(cx, prompting)?;
    loop {
        let input = tokio::select! {
            biased;
            () = ctrl_c() => Input::Interrupt,
            input = lines.next() => input?,
        };
        let Input::Line(line) = input else { return Ok(()) };
        let tools = project.tools();
        let described = describe(&tools);
        match command::parse(&line, &described) {
            Err(mistake) => announcer.mistake(&mistake),
            Ok(Command::Nothing) => {}
            Ok(Command::Quit) => return Ok(()),
            Ok(Command::Build) => project.request_build(),
            Ok(Command::Help) => announcer.help(&described),
            Ok(Command::Schema(tool)) => announcer.schemas(tool),
            Ok(Command::Call { tool, input }) => {
                if call(cx, calls, &tools, tool, input).await == Next::End {
                    return Ok(());
                }
            }
        }
    }
}

/// Ctrl-C cancels the call. Once more, it ends the command.
async fn call(cx: &Context, calls: &Calls, tools: &ToolSet, tool: &str, input: &str) -> Next {
    // Its author wants to see what the tool does, however often it has failed.
    tools.override_breaker(DEFAULT_TENANT, &format!("tool:{tool}"), Override::Closed);
    let cancel = CancellationToken::new();
    let mut calling = std::pin::pin!(calls.call(tools, tool.to_owned(), input, &cancel));
    let result = tokio::select! {
        // Waits for signals before the call begins.
        biased;
        () = ctrl_c() => {
            cancel.cancel();
            tokio::select! {
                biased;
                () = ctrl_c() => return Next::End,
                result = calling => result,
            }
        }
        result = &mut calling => result,
    };
    tool_call::print(cx, &result);
    Next::Line
}

/// What follows a call.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    End,
}
