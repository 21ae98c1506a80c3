//! `cofferdam tool call`: sends one tool call through the whole dispatch path, to a configured tool or to a standalone
//! component.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::interrupt::Interrupt;
use super::printer::Printer;
use super::progress::{JsonLines, ProgressLine, metrics_line};
use super::{CliError, Context, Output, config_in_code, prompt, tool};
use crate::agent::DEFAULT_TENANT;
use crate::config::Config;

use crate::events::Outcome;
use crate::sandbox::{Grants, HttpGrant};
use crate::telemetry::redact::escape_controls;
use crate::telemetry::{Emitter, EventBus};
use crate::tools::{ComponentSource, Part, PluginSettings, ToolCall, ToolContext, ToolResult};

/// The methods that `--allow-http` grants: all, because the user has named the address.
const ALLOWED_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// The longest time that the end of a call waits for its last events.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub struct CallArgs {
    /// A configured tool, or FILE#TOOL (also builtin:NAME#TOOL), which ignores the configuration and has default limits
    #[arg(value_name = "TOOL")]
    target: String,
    /// The tool's input; `-` reads it from stdin
    #[arg(value_name = "JSON")]
    input: String,
    /// Allow a FILE#TOOL to send HTTP requests to this scheme://host[:port][/path-prefix], with any method
    #[arg(long, value_name = "URL")]
    allow_http: Vec<String>,
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
    Configured { tool: String },
    Component { source: ComponentSource, tool: String },
}

impl Target {
    /// Splits at the last `#`, because file names can contain `#` and tool names can't.
    fn parse(text: &str) -> Self {
        match text.rsplit_once('#') {
            None => Self::Configured { tool: text.to_owned() },
            Some((source, tool)) => Self::Component {
                source: ComponentSource::parse(source),
                tool: tool.to_owned(),
            },
        }
    }
}

/// The exit code is 0 if the outcome is `ok`, else 1, even if a fallback replaced the result.
pub async fn call(cx: &Context, args: CallArgs) -> Result<u8, CliError> {
    let text = if args.input == "-" {
        prompt::read(Some(args.input))?
    } else {
        args.input
    };
    let input: Value = serde_json::from_str(&text).map_err(|error| {
        CliError::usage(
            format!("the input is not JSON: {error}"),
            r#"for example '{"expression": "25 * 17"}'"#,
        )
    })?;
    let (config, name) = match Target::parse(&args.target) {
        Target::Configured { .. } if !args.allow_http.is_empty() => {
            return Err(CliError::usage(
                "--allow-http only works with FILE#TOOL; a configured tool has the grants of the configuration",
                "add the address to `[plugins.NAME] http`",
            ));
        }
        Target::Configured { tool } => (cx.config()?, tool),
        Target::Component { source, tool } => (standalone_config(source, &args.allow_http)?, tool),
    };
    // Text output prints the metrics of the call below.
    let progress_shown = cx.global.output == Output::Text;
    let _logging = cx.logging(&config, progress_shown)?;
    let events = EventBus::with_contents(config.logging.contents);
    let tools = tool::load(cx, &config, progress_shown).await?;
    // Starts here, so that the time to compile doesn't count.
    let deadline = Instant::now() + config.agent.deadline;
    let printer = match cx.global.output {
        Output::StreamJson => {
            let printer =
                Printer::start(vec![Box::new(JsonLines(cx.stdout.clone()))]).map_err(|source| CliError::Thread {
                    what: "the output",
                    source,
                })?;
            events.add_observer("terminal", printer.observer());
            Some(printer)
        }
        Output::Text | Output::Json => None,
    };

    let cancel = CancellationToken::new();
    let _interrupt = Interrupt::cancel_on_signal(cancel.clone(), cx.stderr.clone());
    let id = uuid::Uuid::now_v7().to_string();
    let emitter = Emitter::new(&events, &id, DEFAULT_TENANT, config.alerts.clone());
    let context = ToolContext {
        emitter: &emitter,
        deadline,
        cancel: &cancel,
    };
    let result = tools
        .call(
            ToolCall {
                id,
                name,
                input: input.into(),
            },
            &context,
        )
        .await;
    events.flush(FLUSH_WAIT).await;
    if let Some(printer) = printer {
        printer.flush().await;
    }
    print(cx, &result);
    Ok(u8::from(result.outcome != Outcome::Ok))
}

/// The default configuration with this one plugin.
fn standalone_config(source: ComponentSource, allow_http: &[String]) -> Result<Config, CliError> {
    let http = allow_http
        .iter()
        .map(|url| HttpGrant::parse(url, &ALLOWED_METHODS))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            CliError::usage(
                format!("--allow-http: {error}"),
                "write scheme://host[:port][/path-prefix]",
            )
        })?;
    let name = source.plugin_name();
    // Required, because without this plugin there is no call.
    let plugin = PluginSettings {
        required: true,
        grants: Grants {
            http,
            ..Grants::default()
        },
        ..PluginSettings::new(name, source)
    };
    Ok(Config {
        plugins: vec![plugin],
        ..config_in_code()
    })
}

fn print(cx: &Context, result: &ToolResult) {
    match cx.global.output {
        Output::Text => {
            for content in &result.content {
                match content {
                    Part::Text { text } => cx.stdout.write_untrusted(text),
                    Part::Image { .. } => cx.stdout.write("(an image; --output json has its data)"),
                }
                cx.stdout.end_line();
            }
            // Users of this command are often the tool's authors, so show what the tool printed.
            for line in result.finished.log.lines() {
                cx.note(&ProgressLine::new("printed", escape_controls(line)).render());
            }
            if let Some(detail) = &result.finished.detail {
                cx.note(&ProgressLine::new("detail", escape_controls(detail)).render());
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
        "tries": finished.tries,
        "duration_ms": finished.duration_ms,
        "fuel": finished.fuel,
        "peak_memory_bytes": finished.peak_memory_bytes,
        "host_calls": finished.host_calls,
        "http_requests": finished.http_requests,
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
            tool: tool.to_owned(),
        };
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
        ] {
            assert_eq!(Target::parse(text), target, "{text}");
        }
    }

    #[test]
    fn a_standalone_component_gets_only_the_allowed_grants() {
        let source = ComponentSource::Path("dir/my tool.wasm".into());
        let config = standalone_config(source, &["https://api.example/v1".to_owned()]).unwrap();
        let [plugin] = config.plugins.as_slice() else {
            unreachable!("one plugin")
        };
        assert_eq!(
            (plugin.name.as_str(), plugin.required, plugin.grants.config.len()),
            ("my_tool", true, 0)
        );
        let [grant] = plugin.grants.http.as_slice() else {
            unreachable!("one grant")
        };
        assert_eq!(
            (grant.host.as_str(), grant.path_prefix.as_str()),
            ("api.example", "/v1")
        );
    }

    #[test]
    fn an_invalid_grant_is_a_usage_error() {
        let error = standalone_config(ComponentSource::Path("a.wasm".into()), &["ftp://x".to_owned()]).unwrap_err();
        assert!(matches!(error, CliError::Usage { .. }));
    }
}
