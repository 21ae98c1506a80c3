//! Shared by `run`, `chat` and `demo`: a host whose events are printed as they happen, and the report at the end.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::approver::TerminalApprover;
use super::output::Sink;
use super::printer::{Printer, Render};
use super::progress::{JsonLines, ProgressRenderer};
use super::session_args::SettingNames;
use super::{CliError, Context, Output, attach, error, summary};
use crate::agent::{Approver, LeftOut, RunOptions, RunReport, Session};
use crate::assembly::Host;
use crate::config::Config;
use crate::events::{Ending, ErrorInfo, TrimReason};
use crate::telemetry::{EventBus, Observer};
use crate::tools::AnswerSchema;
use crate::transcript::Attachment;

/// The name of the terminal's observer on the event bus.
const OBSERVER: &str = "terminal";

/// The longest time that the end of a run waits for its last events to reach the printer thread.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// A host and the thread that prints its events.
#[derive(Debug)]
pub struct LiveHost {
    host: Host,
    printed: Printed,
    approver: Option<Arc<dyn Approver>>,
    output: Output,
    names: SettingNames,
    stderr: Sink,
    schema: Option<Arc<AnswerSchema>>,
}

/// What was printed of the events so far.
#[derive(Clone, Debug)]
pub struct Printed {
    events: EventBus,
    printer: Option<Printer>,
}

impl Printed {
    /// Waits until all events are printed.
    pub async fn wait(&self) {
        self.events.flush(FLUSH_WAIT).await;
        if let Some(printer) = &self.printer {
            printer.flush().await;
        }
    }

    /// The events that are missing from the output.
    fn dropped(&self) -> u64 {
        let dropped = self.events.dropped().into_iter();
        let dropped = dropped.filter_map(|(name, lost)| (name == OBSERVER).then_some(lost));
        dropped.sum::<u64>() + self.printer.as_ref().map_or(0, Printer::dropped)
    }
}

impl LiveHost {
    /// # Errors
    /// The host can't be built from this configuration.
    pub async fn start(cx: &Context, config: Config, show_progress: bool) -> Result<Self, CliError> {
        let output = cx.global.output;
        let names = SettingNames::new(&config, cx.commands.clone());
        let mut renders: Vec<Box<dyn Render>> = Vec::new();
        if output == Output::StreamJson {
            renders.push(Box::new(JsonLines::new(cx.stdout.clone(), names.clone())));
        }
        let answer = output == Output::Text;
        if answer || show_progress {
            let renderer = ProgressRenderer::new(cx.stdout.clone(), cx.stderr.clone(), answer, show_progress)
                .with_failures(answer && cx.global.verbose);
            renders.push(match cx.global.plain {
                true => Box::new(renderer),
                false => Box::new(renderer.with_markdown()),
            });
        }
        let printer = match renders.is_empty() {
            true => None,
            false => Some(Printer::start(renders).map_err(|source| CliError::Thread {
                what: "the output",
                source,
            })?),
        };
        let log = cx.log_level(&config, show_progress);
        let mut builder = Host::builder(config);
        if let Some(printer) = &printer {
            builder = builder.observer(OBSERVER, printer.observer());
        }
        let host = builder.build().await?;
        host.check_capabilities().await?;
        cx.report_left_out(host.config(), host.tools(), log);
        let printed = Printed {
            events: host.events().clone(),
            printer,
        };
        // A person who reads the question can answer it.
        let approver = (cx.stderr.is_terminal() && io::stdin().is_terminal()).then(|| {
            let approver = TerminalApprover::new(cx.stderr.clone(), printed.clone(), cx.typed_ahead.clone());
            Arc::new(approver) as Arc<dyn Approver>
        });
        Ok(Self {
            host,
            printed,
            approver,
            output,
            names,
            stderr: cx.stderr.clone(),
            schema: None,
        })
    }

    /// The same for runs whose answers must match a schema.
    pub fn answering(mut self, schema: Option<Arc<AnswerSchema>>) -> Self {
        self.schema = schema;
        self
    }

    pub fn observe(&self, name: &str, observer: impl Observer) {
        self.host.events().add_observer(name, observer);
    }

    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Runs of sessions that `host` took over are still printed.
    pub fn replace_host(&mut self, host: Host) {
        // Hints name the key of the model that is asked now.
        self.names = self.names.for_config(host.config());
        self.host = host;
    }

    /// Whether somebody is at the terminal who can decide about calls.
    pub const fn asks_a_person(&self) -> bool {
        self.approver.is_some()
    }

    pub fn session(&self) -> Session {
        self.host.session()
    }

    /// Runs the prompt and returns when all of its events are printed.
    pub async fn run(
        &self,
        session: &mut Session,
        prompt: &str,
        attachments: Vec<Attachment>,
        cancel: CancellationToken,
    ) -> RunReport {
        let report = session.run_with(prompt, attachments, self.options(cancel)).await;
        self.printed().await;
        self.with_named_settings(report)
    }

    /// Goes on with a run that another process has left, if there is one.
    pub async fn resume(&self, session: &mut Session, cancel: CancellationToken) -> Option<RunReport> {
        let report = session.resume(self.options(cancel)).await;
        self.printed().await;
        report.map(|report| self.with_named_settings(report))
    }

    /// Sends the prompt once more that got no answer, if there is one.
    pub async fn send_again(&self, session: &mut Session, cancel: CancellationToken) -> Option<RunReport> {
        let report = session.send_again(self.options(cancel)).await;
        self.printed().await;
        report.map(|report| self.with_named_settings(report))
    }

    /// The report with a hint that names settings as they were set.
    fn with_named_settings(&self, mut report: RunReport) -> RunReport {
        if let Some(error) = &mut report.error {
            self.names.apply(error);
        }
        report
    }

    fn options(&self, cancel: CancellationToken) -> RunOptions {
        RunOptions {
            cancel,
            // In `text`, an answer is shown once it matches.
            streams_to_user: self.output.streams_to_user() && !(self.schema.is_some() && self.output == Output::Text),
            approver: self.approver.clone(),
            schema: self.schema.clone(),
        }
    }

    /// Waits until all events are printed.
    async fn printed(&self) {
        self.printed.wait().await;
        let lost = self.printed.dropped();
        if lost > 0 {
            self.stderr.line(&format!(
                "warning: the output was too slow, so {lost} events are missing from it"
            ));
        }
    }

    pub async fn shutdown(self) {
        self.host.shutdown().await;
    }
}

/// The last line of `stream-json`.
#[derive(Serialize)]
struct ReportLine<'a> {
    event: &'static str,
    #[serde(flatten)]
    report: &'a RunReport,
}

/// Says that what happened could not be written to the session.
pub fn print_unsaved(cx: &Context, unsaved: Option<&ErrorInfo>) {
    if let Some(unsaved) = unsaved {
        let message = format!("the session could not be written to its end: {}", unsaved.message);
        cx.stderr.line(&error::warning(&message, unsaved.hint.as_deref()));
    }
}

/// Names the attachments that requests left out.
pub fn print_left_out(cx: &Context, report: &RunReport) {
    let for_good = |why: &str| format!("left out of the conversation for good, because {why}");
    let again = "attach them again to ask about them";
    type Case = fn(&LeftOut) -> bool;
    let cases: [(Case, String, &str); 3] = [
        (
            |it| it.comes_back,
            "left out of requests of this run, because the budget doesn't cover them".to_owned(),
            "they stay in the session, and are sent again with a request that the budget covers",
        ),
        (
            |it| !it.comes_back && it.reason != TrimReason::CrowdedOut,
            for_good("the model's API doesn't accept the whole"),
            again,
        ),
        (
            |it| it.reason == TrimReason::CrowdedOut,
            for_good(&attach::crowded_out()),
            again,
        ),
    ];
    for (is_it, what, hint) in cases {
        let files = report.left_out.iter().filter(|it| is_it(it));
        let files: Vec<String> = files.map(|it| attach::left_out(&it.file)).collect();
        if !files.is_empty() {
            let message = format!("{what}: {}", files.join(", "));
            cx.stderr.line(&error::warning(&message, Some(hint)));
        }
    }
}

/// Prints the report in the requested format. In `text`, the answer is already printed, and the summary goes to stderr.
pub fn print_report(cx: &Context, report: &RunReport) {
    print_unsaved(cx, report.unsaved.as_ref());
    print_left_out(cx, report);
    match cx.global.output {
        Output::Json => cx.stdout.json_pretty(report),
        Output::StreamJson => cx.stdout.json_line(&ReportLine {
            event: "report",
            report,
        }),
        Output::Text => {
            print_summary(cx, report);
            print_error(cx, report);
        }
    }
}

/// Prints the summary in the detail that is asked for.
pub fn print_summary(cx: &Context, report: &RunReport) {
    if let Some(summary) = summary::summary(report, cx.detail(), cx.stderr.width()) {
        cx.stderr.line(&format!("\n{summary}"));
    }
}

/// Prints why a run did not complete.
pub fn print_error(cx: &Context, report: &RunReport) {
    // A user who pressed Ctrl-C knows why.
    if let Some(error) = report.error.as_ref().filter(|_| report.outcome != Ending::Cancelled) {
        cx.stderr.line(&error::render_info(error));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_report_line_has_an_event_name_and_the_fields_of_the_report() {
        let report = summary::tests::report();
        let line = serde_json::to_value(ReportLine {
            event: "report",
            report: &report,
        })
        .unwrap();
        let mut expected = serde_json::to_value(&report).unwrap();
        expected["event"] = "report".into();
        assert_eq!(line, expected);
    }
}
