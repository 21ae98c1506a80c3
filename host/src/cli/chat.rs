//! `cofferdam chat`: one session, a run a line.

use std::io;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::interrupt::{Interrupt, interrupted};
use super::live::{Live, print_error};
use super::{CliError, Context, Output, prompt, run, summary};
use crate::agent::RunReport;
use crate::events::Ending;

/// Talks until the input ends. The exit code is that of the last run; Ctrl-C during a run cancels that run alone, and at
/// the prompt it ends the conversation.
pub async fn chat(cx: &Context) -> Result<u8, CliError> {
    let config = cx.config()?;
    run::require_key(&config)?;
    let narrate = cx.narrates();
    let _logging = cx.logging(&config, narrate)?;
    let live = Live::start(cx, config, narrate).await?;
    let mut session = live.session();
    let mut lines = lines()?;
    let mut last: Option<RunReport> = None;
    cx.note("An empty line is ignored; /exit or the end of the input (Ctrl-D) ends the conversation.");

    let code = loop {
        if cx.stderr.is_terminal() {
            cx.stderr.write("\n> ");
        }
        let line = tokio::select! {
            line = lines.recv() => line.transpose(),
            () = interrupted() => break Ending::Cancelled.exit_code(),
        };
        let line = match line {
            Ok(line) => line,
            // What was said and paid before stands, and so does how it ended.
            Err(error) => {
                cx.report_error(&error);
                break last.as_ref().map_or(2, |report| report.outcome.exit_code());
            }
        };
        let prompt = match line.as_deref().map(str::trim) {
            None | Some("/exit" | "/quit") => break last.as_ref().map_or(0, |report| report.outcome.exit_code()),
            Some("") => continue,
            Some(prompt) => prompt,
        };
        let cancel = CancellationToken::new();
        let interrupt = Interrupt::cancels(cancel.clone(), cx.stderr.clone());
        let report = live.run(&mut session, prompt, cancel).await;
        print_turn(cx, &report);
        drop(interrupt);
        last = Some(report);
    };

    cx.stderr.end_line();
    if let (Output::Text, Some(mut report)) = (cx.global.output, last) {
        // Its other figures are those of the conversation already.
        report.iterations = report.metrics.iterations;
        cx.note(&format!("\n{}", summary::summary(&report).trim_end()));
    }
    live.shutdown().await;
    Ok(code)
}

/// A whole summary after every answer would drown the conversation: a line now, the summary at its end.
fn print_turn(cx: &Context, report: &RunReport) {
    match cx.global.output {
        Output::Text => {
            cx.note(&summary::brief(report));
            print_error(cx, report);
        }
        // Reports of one conversation follow each other, so each has a line of its own.
        Output::Json => cx.stdout.json_line(report),
        Output::StreamJson => super::live::print_report(cx, report),
    }
}

/// Lines of stdin, read by a thread that nothing waits for: a blocked read must not hold up the end of the process.
fn lines() -> Result<mpsc::Receiver<Result<String, CliError>>, CliError> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut stdin = io::stdin().lock();
            while let Some(line) = prompt::read_line(&mut stdin).transpose() {
                let last = line.is_err();
                if sender.blocking_send(line).is_err() || last {
                    break;
                }
            }
        })
        .map_err(|source| CliError::Thread { what: "stdin", source })?;
    Ok(receiver)
}
