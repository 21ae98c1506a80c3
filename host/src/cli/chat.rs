//! `cofferdam chat`: one session, with one run per line of input.

use tokio_util::sync::CancellationToken;

use super::interrupt::{Interrupt, interrupted};
use super::lines::{Input, Lines, Meanwhile, Words};
use super::live::{LiveHost, print_error, print_summary};
use super::{CliError, Context, Output, run, summary};
use crate::agent::RunReport;
use crate::events::Ending;

/// Runs a conversation until the input ends. The exit code is that of the last run. Ctrl-C during a run cancels only that
/// run; at the prompt it ends the conversation.
pub async fn chat(cx: &Context) -> Result<u8, CliError> {
    let config = cx.config()?;
    run::require_key(&config)?;
    cx.note_missing_configuration(&config);
    let show_progress = cx.shows_progress();
    let _logging = cx.logging_of_runs(&config, show_progress)?;
    let live = LiveHost::start(cx, config, show_progress).await?;
    let mut session = live.session();
    let mut lines = Lines::open(cx, Words::default(), Meanwhile::Nothing)?;
    let mut last: Option<RunReport> = None;
    cx.note("Empty lines are ignored. /exit or the end of the input (Ctrl-D) ends the conversation.");

    let code = loop {
        if cx.stderr.is_terminal() {
            cx.stderr.line("");
        }
        let input = tokio::select! {
            input = lines.next() => input,
            () = interrupted() => Ok(Input::Interrupt),
        };
        let line = match input {
            Ok(Input::Line(line)) => line,
            Ok(Input::Interrupt) => break Ending::Cancelled.exit_code(),
            Ok(Input::End) => break last.as_ref().map_or(0, |report| report.outcome.exit_code()),
            // The runs before the error count, so the exit code is still that of the last run.
            Err(error) => {
                cx.report_error(&error);
                break last.as_ref().map_or(2, |report| report.outcome.exit_code());
            }
        };
        let prompt = match line.trim() {
            "/exit" | "/quit" => break last.as_ref().map_or(0, |report| report.outcome.exit_code()),
            "" => continue,
            prompt => prompt,
        };
        let cancel = CancellationToken::new();
        let interrupt = Interrupt::cancel_on_signal(cancel.clone(), cx.stderr.clone());
        let report = live.run(&mut session, prompt, cancel).await;
        print_turn(cx, &report);
        drop(interrupt);
        last = Some(report);
    };

    drop(lines);
    cx.stderr.end_line();
    if let (Output::Text, Some(mut report)) = (cx.global.output, last) {
        // `metrics` covers the whole session. The report's own count covers only the last run.
        report.iterations = report.metrics.iterations;
        print_summary(cx, &report);
    }
    live.shutdown().await;
    Ok(code)
}

/// Prints one line after each answer. The full summary comes at the end, so that it doesn't drown the conversation.
fn print_turn(cx: &Context, report: &RunReport) {
    match cx.global.output {
        Output::Text => {
            if cx.detail() != summary::Detail::None {
                cx.stderr.line(&summary::brief(report));
            }
            print_error(cx, report);
        }
        // Several reports follow each other, so each is on one line.
        Output::Json => cx.stdout.json_line(report),
        Output::StreamJson => super::live::print_report(cx, report),
    }
}
