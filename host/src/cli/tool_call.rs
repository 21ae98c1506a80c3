//! `cofferdam tool call`: sends one tool call through the whole dispatch path, to a configured tool or to a standalone
//! component.

use std::pin::pin;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::grants::{self, GrantArgs};
use super::interrupt::Interrupt;
use super::printer::Printer;
use super::progress::{JsonLines, ProgressLine, metrics_line, running};
use super::prompt::{self, Purpose};
use super::session_args::SettingNames;
use super::{CliError, Context, Output, format, standalone, tool};
use crate::config::Config;
use crate::events::Outcome;
use crate::telemetry::{AlertSettings, Emitter, EventBus};
use crate::tools::{ComponentSource, Part, ToolCall, ToolContext, ToolResult, ToolSet, is_tool_name};
use crate::transcript::ToolInput;
use crate::untrusted::{escape, is_terminal_control};

/// The longest time that the end of a call waits for its last events.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// How often a terminal shows that the call goes on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub struct CallArgs {
    /// A configured tool, or FILE#TOOL (also builtin:NAME#TOOL), which ignores the configuration and has default limits. A
    /// FILE with one tool needs no #TOOL
    #[arg(value_name = "TOOL", add = super::completions::tools())]
    target: String,
    /// The tool's input; `-` reads it from stdin
    #[arg(value_name = "JSON", default_value = "{}")]
    input: String,
    /// More words, which are a mistake
    #[arg(hide = true)]
    words: Vec<String>,
    #[command(flatten)]
    grants: GrantArgs,
}

impl CallArgs {
    /// Whether the call ignores the configuration.
    pub fn is_standalone_component(&self) -> bool {
        matches!(Target::parse(&self.target), Target::Component { .. })
    }
}

/// The source of the tool.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Configured {
        tool: String,
    },
    Component {
        source: ComponentSource,
        /// `None`: its only tool.
        tool: Option<String>,
    },
}

impl Target {
    /// Splits at the last `#`, because file names can contain `#` and tool names can't.
    fn parse(text: &str) -> Self {
        match text.rsplit_once('#') {
            Some((source, tool)) => Self::Component {
                source: ComponentSource::parse(source),
                tool: Some(tool.to_owned()),
            },
            // Files have a folder or an extension, and `builtin:` has a colon.
            None if !is_tool_name(text) => Self::Component {
                source: ComponentSource::parse(text),
                tool: None,
            },
            None => Self::Configured { tool: text.to_owned() },
        }
    }
}

/// The exit code is 0 if the outcome is `ok`, else 1, even if a fallback replaced the result.
pub async fn call(cx: &Context, args: CallArgs) -> Result<u8, CliError> {
    let target = Target::parse(&args.target);
    if let Some(mistake) = misplaced_word(&args, &target) {
        return Err(mistake);
    }
    let text = match args.input.as_str() {
        "-" => prompt::read_stdin(cx, Purpose::Input).await?,
        _ => args.input,
    };
    check_json(&text).map_err(|message| CliError::usage(message, input_hint(&args.target)))?;
    let mut config = match &target {
        Target::Configured { .. } if !args.grants.is_empty() => {
            return Err(CliError::usage(
                "grants and limits of the command line are for FILE or FILE#TOOL; a configured tool has those of the configuration",
                "change its section `[plugins.NAME]`",
            ));
        }
        Target::Configured { .. } => {
            let config = cx.config()?;
            cx.note_missing_configuration(&config);
            config
        }
        Target::Component { source, .. } => standalone::config(grants::component(&source.to_string(), &args.grants)?)?,
    };
    // Room for more calls than this one takes a third of the time of a start.
    config.engine.host_concurrency = 1;
    // Text output prints the metrics of the call below.
    let progress_shown = cx.global.output == Output::Text;
    let _logging = cx.logging(&config, progress_shown)?;
    let events = EventBus::with_contents(config.logging.contents);
    let (tools, name) = match target {
        Target::Configured { tool } => (tool::load(cx, &config, progress_shown).await?, tool),
        Target::Component { tool, .. } => {
            let tools = standalone::load(cx, &config).await?;
            let name = match tool {
                Some(tool) => tool,
                None => only_tool(&args.target, &tools)?,
            };
            (tools, name)
        }
    };
    let calls = Calls::new(cx, &config, events, cx.global.output == Output::StreamJson)?;
    let cancel = CancellationToken::new();
    let _interrupt = Interrupt::cancel_on_signal(cancel.clone(), cx);
    // The deadline starts here, so that the time to compile doesn't count.
    let result = showing_progress(cx, &name.clone(), calls.call(&tools, name, &text, &cancel)).await;
    print(cx, &result);
    if result.outcome == Outcome::UnknownTool && config.origins.file().is_some() {
        cx.note(&config.origins.summary());
    }
    Ok(u8::from(result.outcome != Outcome::Ok))
}

/// Says on a terminal that the tool runs, until it has ended.
async fn showing_progress<T>(cx: &Context, tool: &str, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    let since = Instant::now();
    loop {
        if let Ok(ended) = tokio::time::timeout(PROGRESS_INTERVAL, &mut call).await {
            cx.stderr.clear_status();
            return ended;
        }
        if cx.shows_progress() {
            cx.stderr.status(&running(tool, 0, since.elapsed()));
        }
    }
}

/// What isn't part of the input: the name of a tool as a word of its own, or a word too many.
fn misplaced_word(args: &CallArgs, target: &Target) -> Option<CliError> {
    let CallArgs {
        target: file, input, ..
    } = args;
    let may_be_a_tool = input != "-" && is_tool_name(input) && check_json(input).is_err();
    if may_be_a_tool && matches!(target, Target::Component { tool: None, .. }) {
        return Some(CliError::usage(
            format!("`{input}` isn't JSON, and the second word is the tool's input"),
            format!("if it is the name of a tool, write `{file}#{input}`; `cofferdam tool list {file}` has the names"),
        ));
    }
    let word = args.words.first()?;
    Some(CliError::usage(
        format!("`tool call` takes a tool and its input, and there is one more word: `{word}`"),
        input_hint(file),
    ))
}

fn input_hint(target: &str) -> String {
    let component = target.rsplit_once('#').map_or(target, |(file, _)| file);
    format!(
        "write a JSON object in single quotes, such as '{{\"name\": \"value\"}}'; `cofferdam tool inspect {component}` shows the tool's \
         schema"
    )
}

/// Sends calls of the person at the terminal through the dispatch path.
#[derive(Debug)]
pub struct Calls {
    events: EventBus,
    alerts: AlertSettings,
    tenant: String,
    deadline: Duration,
    printer: Option<Printer>,
}

impl Calls {
    /// `events_shown`: whether every event of a call is printed as a line of JSON.
    ///
    /// # Errors
    /// The system can't start another thread.
    pub fn new(cx: &Context, config: &Config, events: EventBus, events_shown: bool) -> Result<Self, CliError> {
        let printer = match events_shown {
            true => {
                let printer = Printer::start(vec![Box::new(JsonLines::new(
                    cx.stdout.clone(),
                    SettingNames::new(config, cx.commands.clone()),
                ))])
                .map_err(|source| CliError::Thread {
                    what: "the output",
                    source,
                })?;
                events.add_observer("terminal", printer.observer());
                Some(printer)
            }
            false => None,
        };
        Ok(Self {
            events,
            alerts: config.alerts.clone(),
            tenant: config.agent.tenant.clone(),
            deadline: config.agent.deadline,
            printer,
        })
    }

    /// Calls a tool, and returns when all of the call's events are printed.
    pub async fn call(&self, tools: &ToolSet, name: String, input: &str, cancel: &CancellationToken) -> ToolResult {
        let deadline = Instant::now() + self.deadline;
        let id = uuid::Uuid::now_v7().to_string();
        let emitter = Emitter::new(&self.events, &id, &self.tenant, self.alerts.clone());
        let context = ToolContext {
            emitter: &emitter,
            deadline,
            cancel,
        };
        let call = ToolCall {
            id,
            name,
            input: ToolInput::read(input),
        };
        let result = tools.call(call, &context).await;
        self.events.flush(FLUSH_WAIT).await;
        if let Some(printer) = &self.printer {
            printer.flush().await;
        }
        result
    }
}

/// Says what is wrong with an input that isn't JSON.
pub fn check_json(input: &str) -> Result<(), String> {
    let parsed = serde_json::from_str::<Value>(input);
    parsed
        .map(drop)
        .map_err(|error| format!("the input isn't JSON: {error}"))
}

fn only_tool(file: &str, tools: &ToolSet) -> Result<String, CliError> {
    let names: Vec<&str> = tools.tools().map(|tool| tool.name.as_str()).collect();
    match names[..] {
        [name] => Ok(name.to_owned()),
        [] => Err(CliError::usage(
            format!("{file} has no tool that can be used"),
            "`cofferdam tool inspect FILE` shows why",
        )),
        _ => Err(CliError::usage(
            format!("{file} has {} tools: {}", names.len(), names.join(", ")),
            format!("write {file}#TOOL"),
        )),
    }
}

/// Prints what a tool answered, and on stderr how the call went.
pub fn print(cx: &Context, result: &ToolResult) {
    match cx.global.output {
        Output::Text => {
            for content in &result.content {
                match content {
                    Part::Text { text } => cx.stdout.write_untrusted(text),
                    Part::Image { .. } => cx.stdout.write("(an image; --output json has its data)"),
                }
                cx.stdout.end_line();
            }
            // The fallback is what the model reads. Who calls the tool here wants to know what failed.
            for line in result.finished.replaced_output.as_deref().unwrap_or_default().lines() {
                cx.note(&ProgressLine::new("error", escape(line, is_terminal_control)).render());
            }
            // Users of this command are often the tool's authors, so show what the tool printed.
            for line in result.finished.log.lines().filter(|line| !line.trim().is_empty()) {
                cx.note(&ProgressLine::new("printed", escape(line, is_terminal_control)).render());
            }
            if result.finished.log_bytes_dropped > 0 {
                let dropped = format::bytes(result.finished.log_bytes_dropped);
                cx.note(&ProgressLine::new("printed", format!("(and {dropped} more than log_bytes keeps)")).render());
            }
            let details: Vec<&str> = result.finished.detail.as_deref().unwrap_or_default().lines().collect();
            // A backtrace follows its cause.
            let shown = if cx.global.verbose { details.len() } else { 1 };
            for line in details.iter().take(shown) {
                cx.note(&ProgressLine::new("detail", escape(line, is_terminal_control)).render());
            }
            let hidden = details.len().saturating_sub(shown);
            if hidden > 0 {
                let lines = format::counted(hidden as u64, "line");
                let text = format!("(and {lines} of a backtrace, which --verbose shows)");
                cx.note(&ProgressLine::new("detail", text).render());
            }
            cx.note(&metrics_line(&result.finished).render());
        }
        Output::Json => cx.stdout.json_pretty(&json(result)),
        Output::StreamJson => {
            let mut line = json(result);
            line["event"] = "result".into();
            cx.stdout.json_line(&line);
        }
    }
}

fn json(result: &ToolResult) -> Value {
    let finished = &result.finished;
    json!({
        "tool": finished.tool,
        "plugin": finished.plugin,
        "outcome": result.outcome,
        "is_error": result.is_error,
        "degraded": result.degraded,
        "content": result.content,
        "replaced_output": finished.replaced_output,
        "tries": finished.tries,
        "duration_ms": finished.duration_ms,
        "fuel": finished.fuel,
        "peak_memory_bytes": finished.peak_memory_bytes,
        "host_calls": finished.host_calls,
        "http_requests": finished.http_requests,
        "bytes_sent": finished.bytes_sent,
        "bytes_received": finished.bytes_received,
        "detail": finished.detail,
        "log": finished.log,
        "log_bytes_dropped": finished.log_bytes_dropped,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn targets_are_parsed() {
        let component = |source, tool: &str| Target::Component {
            source,
            tool: Some(tool.to_owned()),
        };
        let whole = |source| Target::Component { source, tool: None };
        for (text, target) in [
            (
                "calculate",
                Target::Configured {
                    tool: "calculate".to_owned(),
                },
            ),
            ("a.wasm#add", component(ComponentSource::Path("a.wasm".into()), "add")),
            (
                "odd#name.wasm#add",
                component(ComponentSource::Path("odd#name.wasm".into()), "add"),
            ),
            (
                "builtin:faulty#loop",
                component(ComponentSource::Builtin("faulty".to_owned()), "loop"),
            ),
            ("a.wasm", whole(ComponentSource::Path("a.wasm".into()))),
            ("./a", whole(ComponentSource::Path("./a".into()))),
            ("builtin:faulty", whole(ComponentSource::Builtin("faulty".to_owned()))),
        ] {
            assert_eq!(Target::parse(text), target, "{text}");
        }
    }
}
