//! `cofferdam chat`: a conversation, with one run per prompt.

mod command;
mod conversation;

use std::future::pending;
use std::io::{self, IsTerminal};

use clap::Args;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use self::command::{Line, parse};
use self::conversation::Conversation;
use super::interrupt::{Interrupt, ctrl_c, terminated};
use super::lines::{Between, Input, Lines, Prompting};
use super::live::LiveHost;
use super::prompt::{self, Purpose};
use super::session_args::SessionArgs;
use super::watch::Files;
use super::{CliError, Context, Output, completions, run, session};
use crate::events::Ending;

/// The lines of earlier conversations, in the data folder.
const HISTORY: &str = "chat-history";

#[derive(Args, Debug)]
pub struct ChatArgs {
    /// Go on with this session, by its id or the beginning of it, or begin one with this id
    #[arg(long = "session", value_name = "ID", add = completions::sessions(), conflicts_with_all = ["ephemeral", "continues"])]
    id: Option<String>,
    /// Go on with the newest session
    #[arg(long = "continue", conflicts_with = "ephemeral")]
    continues: bool,
    #[command(flatten)]
    session: SessionArgs,
}

/// Runs a conversation until the input ends. The exit code is that of the last run. Ctrl-C during a run cancels only that run; at
/// the prompt it clears the line, and twice at an empty line it ends the conversation.
pub async fn chat(cx: &Context, args: ChatArgs) -> Result<u8, CliError> {
    let config = args.session.config(cx)?;
    run::require_keys(&config)?;
    if args.id.is_some() || args.continues {
        session::require_kept(&config, if args.continues { "--continue" } else { "--session" })?;
    }
    cx.note_missing_configuration(&config);
    let show_progress = cx.shows_progress();
    let _logging = cx.logging_of_runs(&config, show_progress)?;
    let history = config.storage.folder().join(HISTORY);
    // As they are before they are read, so that no change is missed.
    let files = Files::of(&config);
    cx.commands.repeat(args.session.repeated());
    let live = LiveHost::start(cx, config, show_progress).await?;
    let id = match args.continues {
        true => Some(session::newest(cx, &live).await?),
        false => args.id,
    };
    let session = match id {
        Some(id) => session::open_or_create(cx, &live, &id).await?,
        None => live.session(),
    };
    if session.is_continued() {
        let id = session::short(session.id());
        cx.note(&format!(
            "Going on with the session {id}: `cofferdam session show {id}` shows what was said."
        ));
    }
    let mut conversation = Conversation::start(cx, live, session, files);
    let prompting = Prompting {
        completions: conversation.completions(),
        history: Some(history),
        between: Between::TypedAhead,
    };
    let mut lines = Lines::open(cx, prompting)?;
    if lines.are_edited() || (cx.stderr.is_terminal() && io::stdin().is_terminal()) {
        cx.note("`/help` lists the commands. Ctrl-D ends the conversation.");
    } else if io::stdin().is_terminal() && !cx.stdout.is_terminal() {
        cx.note("Lines can't be edited, because neither stdout nor stderr is a terminal.");
    } else if cx.stderr.is_terminal() {
        cx.note("Each line of stdin is a prompt of its own; `cofferdam run -` takes all of stdin as one.");
    }
    let code = converse(cx, &mut conversation, &mut lines).await;
    drop(lines);
    cx.stderr.end_line();
    conversation.finish().await;
    Ok(code)
}

/// Runs what Ctrl-C cancels. Returns whether the process was asked to end meanwhile.
///
/// If the terminal is gone, nobody has decided to cancel anything. So the run is left as after a crash: it can be gone on with.
async fn interruptible(cx: &Context, lines: &Lines, run: impl AsyncFnOnce(CancellationToken)) -> bool {
    let (cancel, gone) = (CancellationToken::new(), CancellationToken::new());
    let interrupt = Interrupt::at_terminal(cancel.clone(), gone.clone(), cx, lines.leaving());
    let typed = cancel.clone();
    tokio::select! {
        () = gone.cancelled() => {}
        () = run(cancel) => {}
        // After Ctrl-C, a key is for the line that comes at once, such as Up.
        () = typed.run_until_cancelled(lines.collect_typed()).then(|_| pending()) => {}
    }
    if interrupt.was_terminated() {
        lines.leaving()();
    }
    interrupt.was_terminated()
}

/// Reads lines and answers them, and returns the exit code.
async fn converse(cx: &Context, conversation: &mut Conversation<'_>, lines: &mut Lines) -> u8 {
    let mut was_interrupted = false;
    let is_typed = io::stdin().is_terminal();
    // A program that reads the reports decides itself.
    let is_script = !is_typed && cx.global.output == Output::Text;
    // Of the prompt on the line before.
    let mut has_failed = false;
    conversation.offer().await;
    loop {
        // An answer that nobody can read would cost as much.
        if cx.stdout.is_closed() {
            let way_on = match conversation.is_kept() {
                true => " `cofferdam chat --continue` goes on with it.",
                false => "",
            };
            cx.note(&format!(
                "The answers can't be written any more, so the conversation ends here: what read them has ended, perhaps with the same \
                 Ctrl-C, or the disk is full.{way_on}"
            ));
            return conversation.exit_code().unwrap_or(0);
        }
        conversation.note_changed_files();
        if cx.stderr.is_terminal() {
            cx.stderr.line("");
        }
        conversation.complete();
        let input = tokio::select! {
            // Waits for signals before the prompt is there.
            biased;
            () = ctrl_c() => Ok(Input::Interrupt),
            () = terminated() => return Ending::Cancelled.exit_code(),
            input = lines.next() => input,
        };
        let line = match input {
            Ok(Input::Line(line)) => line,
            Ok(Input::Interrupt) if cx.stderr.is_terminal() && !was_interrupted => {
                was_interrupted = true;
                cx.stderr
                    .line("Ctrl-C once more ends the conversation, and so do Ctrl-D and `/exit`.");
                continue;
            }
            Ok(Input::Interrupt) => return Ending::Cancelled.exit_code(),
            Ok(Input::End) => return conversation.exit_code().unwrap_or(0),
            // The runs before the error count, so the exit code is still that of the last run.
            Err(error) => {
                cx.report_error(&error);
                return conversation.exit_code().unwrap_or(2);
            }
        };
        was_interrupted = false;
        let parsed = parse(&line);
        let prepares = parsed.as_ref().is_ok_and(Line::prepares);
        // What follows such a line in a pipe was written as if it had worked.
        let ends_if_it_fails = match parsed {
            Ok(Line::Attach(Some(_))) => !is_typed,
            Ok(_) => is_script && prepares,
            Err(_) => is_script,
        };
        let done = match parsed {
            Ok(Line::Prompt(_)) if has_failed && is_script => {
                cx.note(
                    "The conversation ends here, so that no prompt is sent without the answer to the one before it.",
                );
                return conversation.exit_code().unwrap_or(1);
            }
            Ok(Line::Exit) => return conversation.exit_code().unwrap_or(0),
            Ok(Line::Nothing | Line::Prompt(_)) if conversation.goes_on(&line) => {
                if interruptible(cx, lines, async |cancel| {
                    conversation.resume(lines.are_edited(), cancel).await
                })
                .await
                {
                    return Ending::Cancelled.exit_code();
                }
                has_failed = conversation.has_failed();
                Ok(())
            }
            Ok(Line::Nothing) => Ok(()),
            Ok(Line::Prompt(text)) => match prompt::check(text.to_owned(), Purpose::Prompt) {
                Ok(text) => {
                    let together = text.lines().count();
                    if together > 1 && !lines.are_edited() {
                        cx.note(&format!(
                            "{together} lines arrived together and are sent as one prompt."
                        ));
                    }
                    conversation.note_changed_files();
                    let are_edited = lines.are_edited();
                    if interruptible(cx, lines, async |cancel| {
                        conversation.ask(&text, are_edited, cancel).await
                    })
                    .await
                    {
                        return Ending::Cancelled.exit_code();
                    }
                    has_failed = conversation.has_failed();
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Ok(Line::Help) => {
                conversation.help(lines.are_edited());
                Ok(())
            }
            Ok(Line::Clear) => {
                conversation.clear().await;
                Ok(())
            }
            Ok(Line::Model(None)) => {
                conversation.show_model();
                Ok(())
            }
            Ok(Line::Model(Some(name))) => conversation.change_model(name).await,
            Ok(Line::Attach(None)) => {
                conversation.list_attachments();
                Ok(())
            }
            Ok(Line::Detach(files)) => conversation.detach(files).await,
            Ok(Line::Attach(Some(files))) => conversation.attach(files),
            Ok(Line::Tools) => {
                conversation.list_tools();
                Ok(())
            }
            Ok(Line::Budget) => conversation.show_budget().await,
            Err(mistake) => Err(CliError::usage(mistake.message, mistake.hint)),
        };
        has_failed &= !(prepares && done.is_ok());
        if let Err(error) = done {
            cx.report_error(&error);
            if ends_if_it_fails {
                cx.note("The conversation ends here, so that no prompt is sent as if this line had worked.");
                return 2;
            }
        }
    }
}
