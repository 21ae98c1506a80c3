//! Lines that a person types at a prompt, or that another program writes to stdin.
//!
//! On a terminal, lines can be edited and recalled, Tab completes words, and what is printed meanwhile doesn't tear the line that is
//! being typed. On one that can't do that, lines that come together were pasted, and are one input. From a pipe, each line is one.
//!
//! A line is only read once it is asked for, so that programs that are started between two lines have the terminal as it was.

mod asked;
mod completions;
mod history;
mod keys;
mod paste;
mod recall;
mod terminal;
mod typed;
mod window;

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustyline::error::ReadlineError;
use tokio::sync::mpsc;

pub use self::asked::Asked;
pub use self::completions::Completions;
use self::history::HistoryFile;
use self::terminal::{Edited, Terminal, TerminalMode};
use self::typed::LOOK_EVERY;
pub use self::typed::TypedAhead;
use super::interrupt::stop_until_continued;
use super::output::Sink;
use super::prompt::{self, Purpose};
use super::{CliError, Context, error, format};

const PROMPT: &str = "> ";

/// How long a pasted line waits for the next one: longer than a terminal's program needs between two pieces of a paste, and shorter
/// than anybody types a line.
const PASTE_GAP: Duration = Duration::from_millis(50);

/// What came instead of a line, or the line.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// On a terminal, it can contain line breaks.
    Line(String),
    /// Ctrl-C at an empty line. If it isn't typed at a prompt on a terminal, it is a signal instead.
    Interrupt,
    /// The input is over, or Ctrl-D.
    End,
}

/// What was read for an input that was asked for.
enum Read {
    Input(Input),
    /// Nothing of it may be used, and the next one is asked for.
    Refused(CliError),
}

/// How lines are read on a terminal.
#[derive(Clone, Debug)]
pub struct Prompting {
    pub completions: Completions,
    /// Where lines are kept between runs of the program.
    pub history: Option<PathBuf>,
    pub between: Between,
}

/// What happens on the terminal between two lines, and while one is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// What is typed isn't shown, and waits for the next line. What is printed on stderr while a line is typed waits for its end.
    TypedAhead,
    /// Other programs have the terminal. What is printed while a line is typed appears above it.
    Programs,
}

/// The source of lines.
pub struct Lines {
    /// Each with what the line begins with.
    wanted: std::sync::mpsc::Sender<String>,
    inputs: mpsc::Receiver<Result<Read, CliError>>,
    /// Whether an input was asked for that hasn't come yet.
    is_reading: bool,
    terminal: Option<Terminal>,
    /// How the terminal edits lines itself. Between two of them, it doesn't, and what is typed waits for the next one.
    cooked: Option<TerminalMode>,
    /// How the terminal was set up, if what is typed between two lines waits for the next one.
    collected: Option<TerminalMode>,
    half_typed: HalfTyped,
    typed_ahead: TypedAhead,
    /// What the next line begins with, where the terminal edits lines itself.
    begun: String,
    stderr: Sink,
}

/// The lines that are being edited. If the terminal is closed meanwhile, they are kept, and the next process can recall them.
#[derive(Clone)]
struct HalfTyped {
    completions: Completions,
    history: Option<HistoryFile>,
}

impl HalfTyped {
    /// Once, though the signal and the end of the input both say that the terminal is gone.
    fn keep(&self) {
        for line in self.completions.edits().take() {
            self.append(&line);
        }
    }

    fn append(&self, line: &str) {
        if let Some(history) = &self.history {
            history.append(line);
        }
    }
}

impl Lines {
    /// # Errors
    /// The system can't start another thread.
    pub fn open(cx: &Context, prompting: Prompting) -> Result<Self, CliError> {
        let (wanted, requests) = std::sync::mpsc::channel();
        let (sender, inputs) = mpsc::channel(1);
        let half_typed = HalfTyped {
            completions: prompting.completions.clone(),
            history: prompting.history.clone().map(HistoryFile::new),
        };
        let kept = half_typed.clone();
        if io::stdin().is_terminal()
            && let Some(history) = &half_typed.history
            && let Some(problem) = history.problem()
        {
            cx.note(&format!(
                "Lines aren't kept for the next time, because {} can't be used: {problem}.",
                format::escape(&history.path().display().to_string())
            ));
        }
        cx.typed_ahead.await_lines();
        let between = prompting.between;
        let (terminal, edited) = Terminal::open(cx, prompting)?.unzip();
        // Where the prompt is seen.
        let has_prompt = terminal.is_none() && between == Between::TypedAhead && cx.stderr.is_terminal();
        let cooked = TerminalMode::current().filter(|_| has_prompt);
        // Detached, because a blocked read must not delay the exit of the process.
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || match edited {
                Some(mut edited) => {
                    for line in kept.history.iter().flat_map(HistoryFile::load) {
                        let _ = edited.editor.add_history_entry(line);
                    }
                    send_inputs(&requests, &sender, |begun| edited_line(&mut edited, &begun, &kept));
                }
                None => {
                    let mut stdin = io::stdin().lock();
                    let is_terminal = stdin.is_terminal();
                    let mut is_over = false;
                    send_inputs(&requests, &sender, |_| match is_terminal {
                        true => typed_lines(&mut stdin, follows, &mut is_over),
                        false => {
                            let line = prompt::read_line(&mut stdin)?;
                            Ok(Read::Input(line.map_or(Input::End, Input::Line)))
                        }
                    });
                }
            })
            .map_err(|source| CliError::Thread { what: "stdin", source })?;
        let mode = terminal.as_ref().map(Terminal::mode).or_else(|| cooked.clone());
        let collected = mode.filter(|_| between == Between::TypedAhead);
        if let Some(mode) = &collected {
            // The editor leaves the terminal after each line as it finds it.
            mode.without_echo().restore();
        }
        Ok(Self {
            wanted,
            inputs,
            is_reading: false,
            terminal,
            cooked,
            collected,
            half_typed,
            typed_ahead: cx.typed_ahead.clone(),
            begun: String::new(),
            stderr: cx.stderr.clone(),
        })
    }

    /// Whether lines are edited on a terminal.
    pub const fn are_edited(&self) -> bool {
        self.terminal.is_some()
    }

    /// For a process that ends without another line: keeps what was typed and not read yet, so that the next one can recall it, and sets
    /// the terminal up as it was.
    pub fn leaving(&self) -> impl FnOnce() + Send + use<> {
        let (typed_ahead, half_typed) = (self.typed_ahead.clone(), self.half_typed.clone());
        let mode = self.collected.clone();
        move || {
            if let Some(mode) = mode {
                // If the terminal is gone, nothing is left there.
                let _ = typed_ahead.read_terminal();
                mode.restore();
            }
            half_typed.append(typed_ahead.take().text.trim_end());
        }
    }

    /// The next line. If this is cancelled, the next call returns it. A line that the terminal has cut off, or that isn't UTF-8, is
    /// reported and left out.
    ///
    /// # Errors
    /// Stdin can't be read, or a line is longer than [`prompt::MAX_PROMPT_BYTES`].
    pub async fn next(&mut self) -> Result<Input, CliError> {
        loop {
            let Some(begun) = self.ask().await else {
                return Ok(Input::End);
            };
            let held = self.collected.is_some().then(|| self.stderr.hold_back());
            // The thread is gone after the last line.
            self.is_reading = self.is_reading || self.wanted.send(begun).is_ok();
            let input = self.inputs.recv().await;
            self.is_reading = false;
            drop(held);
            if let Some(cooked) = &self.cooked {
                cooked.without_echo().restore();
            }
            match input {
                Some(Ok(Read::Refused(why))) => {
                    self.stderr.line(&error::render(&why, why.hint().as_deref()));
                }
                Some(Ok(Read::Input(Input::Line(line)))) => {
                    return Ok(Input::Line(std::mem::take(&mut self.begun) + &line));
                }
                Some(Ok(Read::Input(input))) => return Ok(input),
                Some(Err(error)) => return Err(error),
                None => return Ok(Input::End),
            }
        }
    }

    /// Keeps what is typed while no line is read for the next one, though the terminal should be closed until then. Never returns.
    pub async fn collect_typed(&self) {
        match &self.collected {
            Some(_) => self.typed_ahead.collect().await,
            None => std::future::pending().await,
        }
    }

    /// Stops the process, with the terminal as it was, until it is continued.
    async fn stop(&self) {
        if let Some(mode) = &self.collected {
            // The shell would read, and run, what is left.
            let _ = self.typed_ahead.read_terminal();
            mode.restore();
            stop_until_continued().await;
            // In the background, the system would stop it again at once, before a signal that ends it counts.
            while !TerminalMode::is_in_foreground() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            if self.terminal.is_some() {
                mode.without_echo().restore();
            }
        }
    }

    /// Shows the prompt, and returns what the line begins with: what was typed before. `None` if that was Ctrl-D, and nothing else waits.
    /// Ctrl-Z stops the process first.
    async fn ask(&mut self) -> Option<String> {
        let mut begun = String::new();
        if self.is_reading {
            // Ctrl-C at a terminal that edits lines itself has cleared the line.
            self.half_typed.append(&std::mem::take(&mut self.begun));
        } else {
            if let Some(cooked) = &self.cooked {
                // An editor reads the rest itself.
                let _ = self.typed_ahead.read_terminal();
                cooked.restore();
            }
            let mut typed = self.typed_ahead.take();
            if typed.stops {
                // It waits in its place, though the process should end while it is stopped.
                self.typed_ahead.push_line(&typed.text);
                self.stop().await;
                typed = self.typed_ahead.take();
            }
            if typed.ends {
                return None;
            }
            begun = typed.text;
        }
        if self.terminal.is_none() {
            self.begun += &begun;
            if self.stderr.is_terminal() {
                self.stderr.write(&format!("{PROMPT}{}", self.begun));
            }
        }
        Some(begun)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        match self.is_reading {
            true => self.half_typed.append(self.typed_ahead.take().text.trim_end()),
            // Otherwise the shell would read, and run, what was typed and not read yet.
            false => self.leaving()(),
        }
        match self.terminal.take() {
            Some(terminal) => {
                let line = self.half_typed.completions.edits().line();
                if self.is_reading {
                    self.half_typed.keep();
                }
                terminal.close(self.is_reading.then_some(line.as_str()));
            }
            None => {
                self.half_typed.append(&self.begun);
                if let Some(cooked) = &self.cooked {
                    cooked.restore();
                }
                self.stderr.end_line();
            }
        }
    }
}

fn send_inputs(
    requests: &std::sync::mpsc::Receiver<String>,
    sender: &mpsc::Sender<Result<Read, CliError>>,
    mut next: impl FnMut(String) -> Result<Read, CliError>,
) {
    for begun in requests {
        let input = next(begun);
        let is_last = matches!(input, Ok(Read::Input(Input::End)) | Err(_));
        if sender.blocking_send(input).is_err() || is_last {
            return;
        }
    }
}

/// A line that was typed, with those that come together with it. Refused if the terminal has cut one of them off. Ctrl-D among them
/// ends the input after them.
fn typed_lines(
    stdin: &mut impl BufRead,
    mut follows: impl FnMut() -> bool,
    is_over: &mut bool,
) -> Result<Read, CliError> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    while !*is_over && bytes as u64 <= prompt::MAX_PROMPT_BYTES && (lines.is_empty() || follows()) {
        match prompt::read_line(stdin)? {
            Some(line) => {
                bytes += line.len();
                lines.push(line);
            }
            None => *is_over = true,
        }
    }
    Ok(match lines.is_empty() {
        true => Read::Input(Input::End),
        false if lines.iter().any(|line| prompt::is_cut(line)) => Read::Refused(prompt::cut_line(Purpose::Prompt)),
        false => Read::Input(Input::Line(lines.join("\n").trim_end_matches('\n').to_owned())),
    })
}

/// Whether more was typed on the terminal already, or comes at once. The terminal hands over a line at a time, so none is buffered.
fn follows() -> bool {
    let stdin = io::stdin();
    let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
    let gap = Timespec::try_from(PASTE_GAP).ok();
    poll(&mut ready, gap.as_ref()).is_ok_and(|count| count > 0)
}

fn edited_line(edited: &mut Edited, begun: &str, half_typed: &HalfTyped) -> Result<Read, CliError> {
    let initial = std::mem::take(&mut edited.initial) + begun;
    let mut read = edited.editor.readline_with_initial(PROMPT, (&initial, ""));
    while read.is_ok() && edited.keys.given_up.take() {
        keep_unsent(edited, half_typed, None);
        read = edited.editor.readline(PROMPT);
    }
    match read {
        Ok(line) => {
            keep_unsent(edited, half_typed, Some(&line));
            let line = edited.keys.continuations.take_from(line);
            // Even one that isn't kept can be recalled now.
            let _ = edited.editor.add_history_entry(&line);
            half_typed.append(&line);
            Ok(Read::Input(Input::Line(line)))
        }
        Err(ReadlineError::Interrupted) => {
            keep_unsent(edited, half_typed, None);
            Ok(Read::Input(Input::Interrupt))
        }
        Err(ReadlineError::Eof) => {
            half_typed.keep();
            Ok(Read::Input(Input::End))
        }
        // The editor has dropped what came with it, so that the rest makes no sense.
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            edited.discard_input();
            Ok(Read::Refused(prompt::not_utf8()))
        }
        Err(error) => {
            half_typed.keep();
            Err(CliError::Stdin {
                what: "prompt",
                source: io::Error::other(error),
            })
        }
    }
}

/// What was typed and not sent can be recalled: lines that Ctrl-C cleared, drafts, and earlier lines that were changed.
fn keep_unsent(edited: &mut Edited, half_typed: &HalfTyped, sent: Option<&str>) {
    for line in half_typed.completions.edits().take() {
        if Some(line.as_str()) == sent {
            continue;
        }
        let line = edited.keys.continuations.without(line);
        let _ = edited.editor.add_history_entry(&line);
        half_typed.append(&line);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_that_come_together_are_one_input() {
        let mut stdin = &b"one\n\nthree\nfour\nlast"[..];
        // What was typed together: three lines, one, and one with the end.
        let mut together = [true, true, false, false, true].into_iter();
        let mut is_over = false;
        let mut next = || match typed_lines(&mut stdin, || together.next().unwrap(), &mut is_over) {
            Ok(Read::Input(input)) => Some(input),
            _ => None,
        };
        for input in [
            Input::Line("one\n\nthree".to_owned()),
            Input::Line("four".to_owned()),
            Input::Line("last".to_owned()),
            Input::End,
        ] {
            assert_eq!(next(), Some(input));
        }
    }

    #[test]
    fn nothing_is_used_of_lines_of_which_one_is_cut() {
        let text = format!("short\n{}\n", "x".repeat(4095));
        let mut together = [true, false].into_iter();
        let read = typed_lines(&mut text.as_bytes(), || together.next().unwrap(), &mut false);
        assert!(matches!(read.unwrap(), Read::Refused(_)));
    }
}
