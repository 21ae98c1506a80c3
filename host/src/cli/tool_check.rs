//! `cofferdam tool check`: checks a component before it is installed or published.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::interrupt::Interrupt;
use super::subject::{Subject, same_component};
use super::table::{Column, Table};
use super::{CliError, Context, Output, config_in_code, error, format};
use crate::assembly::HostError;
use crate::author::check::{self, Bounds, Finding, Level, Report, ToolReport};
use crate::config::Config;
use crate::telemetry::LogLevel;
use crate::tools::ComponentSource;

/// The maximum length of a description and of an input, in characters.
const MAX_DESCRIPTION_CHARS: usize = 200;
const MAX_INPUT_CHARS: usize = 160;
/// The maximum length of a line that a tool printed, in characters.
const MAX_PRINTED_CHARS: usize = 300;

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// A component file, builtin:NAME, or a configured plugin or tool. A program needs a plugin that describes it
    #[arg(value_name = "FILE", add = super::completions::components())]
    component: String,
    /// The largest number of different inputs per tool; each is sent twice
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    inputs: u32,
    /// The time limit of each call, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    call_timeout: u64,
    /// The time limit of all calls together, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time: u64,
}

/// The exit code is 0 if the check passes, else 1.
pub async fn check(cx: &Context, args: CheckArgs) -> Result<u8, CliError> {
    let mut config = config_in_code();
    // The report has the problems that the log would have.
    config.logging.console = LogLevel::Error;
    let _logging = cx.logging(&config, true)?;
    let configured = configuration(cx, &args.component)?;
    if Subject::is_name(&args.component) {
        cx.note_missing_configuration(&configured);
    }
    let subject = Subject::find(&configured, &args.component).await?;
    if subject.is_configured {
        config.engine = configured.engine.clone();
    }
    let bounds = Bounds {
        inputs: args.inputs as usize,
        call_timeout: Duration::from_millis(args.call_timeout),
        time: Duration::from_secs(args.time),
    };
    let tls = crate::tls::client_config().map_err(HostError::from)?;
    let cancel = CancellationToken::new();
    let _interrupt = Interrupt::cancel_on_signal(cancel.clone(), cx);
    let mut report = check::check(&config, &subject.plugin, bounds, tls, cancel).await?;
    if !subject.is_configured {
        suggest_settings(&mut report, &configured, &subject.plugin.source);
    }
    report.plugin = subject.is_configured.then_some(subject.plugin.name);
    match cx.global.output {
        Output::Text => cx.stdout.write(&text(&report)),
        Output::Json => cx.stdout.json_pretty(&report),
        Output::StreamJson => cx.stdout.json_line(&report),
    }
    Ok(u8::from(!report.passed))
}

/// The configuration. A component can be checked without one, so a configuration that isn't valid stops the check only if the user
/// relies on it: by `--config`, or by the name of a plugin or tool.
fn configuration(cx: &Context, target: &str) -> Result<Config, CliError> {
    match cx.config() {
        Err(error) if cx.global.config.is_none() && !Subject::is_name(target) => {
            cx.note(&error::render_warning(
                &error,
                Some("the check goes on without the configuration"),
            ));
            Ok(config_in_code())
        }
        loaded => loaded,
    }
}

/// Tools can need settings, which a component that is named by its file doesn't have here.
fn suggest_settings(report: &mut Report, configured: &Config, source: &ComponentSource) {
    let mut plugins = configured.plugins.iter();
    let Some(plugin) = plugins.find(|plugin| same_component(&plugin.source, source)) else {
        return;
    };
    let needs_settings = |finding: &&mut Finding| ["no_success", "no_request"].contains(&finding.code);
    for finding in report.findings.iter_mut().filter(needs_settings) {
        finding.hint = Some(format!(
            "`cofferdam tool check {0}` uses the settings of the plugin `{0}`, which has the same component",
            plugin.name
        ));
    }
}

fn text(report: &Report) -> String {
    let mut out = format!("component  {}\n", format::escape(&report.component));
    let mut line = |label: &str, value: Option<String>| {
        if let Some(value) = value {
            out.push_str(&format!("{label:<11}{value}\n"));
        }
    };
    line("plugin", report.plugin.clone());
    line("digest", report.digest.clone());
    line("size", report.size_bytes.map(format::bytes));
    line("contract", report.contract.clone());
    line(
        "load",
        report
            .load_ms
            .map(|load| format!("{}, compiling included unless it was cached", format::millis(load))),
    );
    if !report.imports.is_empty() {
        let mut table = Table::new([Column::Left("import"), Column::Left("meaning"), Column::Left("grant")]);
        for import in &report.imports {
            table.row([
                import.name.display().to_string(),
                import.meaning.to_owned(),
                import.grant.unwrap_or("needs none").to_owned(),
            ]);
        }
        out.push_str(&format!("\n{}", table.render()));
    }
    for tool in &report.tools {
        out.push_str(&tool_text(tool));
    }
    if !report.findings.is_empty() {
        out.push('\n');
    }
    for finding in &report.findings {
        out.push_str(&finding_text(finding));
    }
    let count = |level| report.findings.iter().filter(|finding| finding.level == level).count() as u64;
    out.push_str(&format!(
        "\n{}: {}, {} in {} and {}\n",
        if report.passed { "passed" } else { "failed" },
        format::counted(count(Level::Failure), "failure"),
        format::counted(count(Level::Warning), "warning"),
        format::counted(report.calls, "call"),
        format::millis(report.duration_ms),
    ));
    out
}

fn tool_text(tool: &ToolReport) -> String {
    let claims = [
        (tool.read_only, "read-only"),
        (tool.idempotent, "idempotent"),
        (tool.destructive, "destructive"),
    ];
    let claims: Vec<&str> = claims
        .into_iter()
        .filter_map(|(claimed, word)| claimed.then_some(word))
        .collect();
    let mut out = format!(
        "\ntool       {}\nclaims     {}\nsays       {}\ninput      {}\n",
        tool.name,
        if claims.is_empty() {
            "-".to_owned()
        } else {
            claims.join(", ")
        },
        format::one_line(tool.description.raw(), MAX_DESCRIPTION_CHARS),
        format::escape_json(&tool.input_schema.to_string()),
    );
    if let Some(sample) = &tool.sample {
        let warm = sample
            .warm_ms
            .map_or_else(String::new, |warm| format!(", then {}", format::millis(warm)));
        out.push_str(&format!(
            "sample     {}\n           {} in {}{warm}; fuel {}, peak memory {}\n",
            short(&sample.input),
            sample.outcome.name(),
            format::millis(sample.cold_ms),
            format::count(sample.fuel),
            format::bytes(sample.peak_memory_bytes),
        ));
    }
    let outcomes: Vec<String> = tool
        .outcomes
        .iter()
        .map(|(outcome, times)| format!("{} {times}", outcome.name()))
        .collect();
    if !outcomes.is_empty() {
        out.push_str(&format!("outcomes   {}\n", outcomes.join(", ")));
    }
    for (number, request) in tool.requests.iter().enumerate() {
        let label = if number == 0 { "requests" } else { "" };
        out.push_str(&format!(
            "{label:<11}{}\n",
            format::one_line(request.raw(), MAX_INPUT_CHARS)
        ));
    }
    for (number, case) in tool.servers.iter().enumerate() {
        let label = if number == 0 { "servers" } else { "" };
        out.push_str(&format!("{label:<11}{}: {}\n", case.server, case.outcome.name()));
    }
    if let Some(answer) = &tool.error_answer {
        out.push_str(&format!(
            "answered   {}, for example to {}:\n           {}\n",
            answer.outcome.name(),
            short(&answer.input),
            format::one_line(answer.message.raw(), MAX_DESCRIPTION_CHARS)
        ));
    }
    out
}

fn finding_text(finding: &Finding) -> String {
    let of = finding
        .tool
        .as_deref()
        .map_or_else(String::new, |tool| format!("`{tool}`: "));
    let input = finding
        .input
        .as_ref()
        .map_or_else(String::new, |input| format!(", with {}", short(input)));
    let text = format!("{of}{}{input} [{}]", finding.text, finding.code);
    let label = match finding.level {
        Level::Failure => "failure",
        Level::Warning => "warning",
    };
    let hint = finding.hint.as_ref();
    let hint = hint.map_or_else(String::new, |hint| {
        format!("hint: {}\n", format::escape(&format::indented(hint)))
    });
    let printed: String = finding
        .printed
        .iter()
        .map(|line| format!("{:>8}  {}\n", "printed", format::one_line(line, MAX_PRINTED_CHARS)))
        .collect();
    format!("{label}: {}\n{printed}{hint}", format::escape(&text))
}

fn short(input: &Value) -> String {
    format::one_line(&input.to_string(), MAX_INPUT_CHARS)
}
