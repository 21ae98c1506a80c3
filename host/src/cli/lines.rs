//! Lines that a person types at a prompt, or that another program writes to stdin.
//!
//! On a terminal, lines can be edited and recalled, Tab completes words, and what is printed meanwhile can appear above the line that
//! is being typed. Otherwise lines are read as they come.
//!
//! A line is only read once it is asked for, so that programs that are started between two lines have the terminal as it was.

use std::io::{self, BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Editor, ExternalPrinter, Helper};
use tokio::sync::mpsc;

use super::output::Sink;
use super::{CliError, Context, prompt};

const PROMPT: &str = "> ";

/// The longest time that the end waits for the terminal to take what was printed.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// What came instead of a line, or the line.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    Line(String),
    /// Ctrl-C. If it isn't typed at a prompt on a terminal, it is a signal instead.
    Interrupt,
    /// The input is over, or Ctrl-D.
    End,
}

/// The words that Tab completes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Words(Arc<Mutex<Vec<String>>>);

impl Words {
    pub fn set(&self, words: impl IntoIterator<Item = String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = words.into_iter().collect();
    }
}

/// What the program prints while a line is being typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    Nothing,
    /// Whole lines, which appear above the prompt.
    Lines,
}

type LineEditor = Editor<Words, DefaultHistory>;

/// The source of lines.
pub struct Lines {
    wanted: std::sync::mpsc::Sender<()>,
    inputs: mpsc::Receiver<Result<Input, CliError>>,
    /// Whether an input was asked for that hasn't come yet.
    is_reading: bool,
    terminal: Option<Terminal>,
    stderr: Sink,
}

impl Lines {
    /// # Errors
    /// The system can't start another thread.
    pub fn open(cx: &Context, words: Words, meanwhile: Meanwhile) -> Result<Self, CliError> {
        let (wanted, requests) = std::sync::mpsc::channel();
        let (sender, inputs) = mpsc::channel(1);
        let (terminal, editor) = Terminal::open(cx, words, meanwhile)?.unzip();
        // Detached, because a blocked read must not delay the exit of the process.
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || match editor {
                Some(mut editor) => send_inputs(&requests, &sender, || edited_line(&mut editor)),
                None => {
                    let mut stdin = io::stdin().lock();
                    send_inputs(&requests, &sender, || plain_line(&mut stdin));
                }
            })
            .map_err(|source| CliError::Thread { what: "stdin", source })?;
        Ok(Self {
            wanted,
            inputs,
            is_reading: false,
            terminal,
            stderr: cx.stderr.clone(),
        })
    }

    /// The next line. If this is cancelled, the next call returns it.
    ///
    /// # Errors
    /// Stdin can't be read, or a line is longer than [`prompt::MAX_PROMPT_BYTES`].
    pub async fn next(&mut self) -> Result<Input, CliError> {
        if !self.is_reading {
            if self.terminal.is_none() && self.stderr.is_terminal() {
                self.stderr.write(PROMPT);
            }
            // The thread is gone after the last line.
            self.is_reading = self.wanted.send(()).is_ok();
        }
        let input = self.inputs.recv().await;
        self.is_reading = false;
        input.unwrap_or(Ok(Input::End))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        match self.terminal.take() {
            Some(terminal) => terminal.close(self.is_reading),
            None => self.stderr.end_line(),
        }
    }
}

fn send_inputs(
    requests: &std::sync::mpsc::Receiver<()>,
    sender: &mpsc::Sender<Result<Input, CliError>>,
    mut next: impl FnMut() -> Result<Input, CliError>,
) {
    while requests.recv().is_ok() {
        let input = next();
        let is_last = matches!(input, Ok(Input::End) | Err(_));
        if sender.blocking_send(input).is_err() || is_last {
            return;
        }
    }
}

fn plain_line(stdin: &mut impl BufRead) -> Result<Input, CliError> {
    Ok(prompt::read_line(stdin)?.map_or(Input::End, Input::Line))
}

fn edited_line(editor: &mut LineEditor) -> Result<Input, CliError> {
    match editor.readline(PROMPT) {
        Ok(line) => Ok(Input::Line(line)),
        Err(ReadlineError::Interrupted) => Ok(Input::Interrupt),
        Err(ReadlineError::Eof) => Ok(Input::End),
        Err(error) => Err(CliError::Stdin {
            what: "prompt",
            source: io::Error::other(error),
        }),
    }
}

/// A terminal whose last line is the prompt while a line is being read.
struct Terminal {
    /// How the terminal was set up, and is again afterwards: while a line is edited, it doesn't echo and has no signals.
    mode: Termios,
    print: std::sync::mpsc::Sender<Print>,
    /// The streams that are printed above the prompt, with what they wrote to before.
    streams: Vec<(Sink, Box<dyn Write + Send>)>,
}

enum Print {
    Text(String),
    Flush(std::sync::mpsc::Sender<()>),
}

impl Terminal {
    /// `None` if stdin or stdout isn't a terminal, or one that can't move its cursor.
    fn open(cx: &Context, words: Words, meanwhile: Meanwhile) -> Result<Option<(Self, LineEditor)>, CliError> {
        let Ok(mode) = tcgetattr(io::stdin()) else {
            return Ok(None);
        };
        let config = rustyline::Config::builder().completion_type(CompletionType::List);
        let config = config.auto_add_history(true).build();
        let Ok(mut editor) = Editor::with_config(config) else {
            return Ok(None);
        };
        editor.set_helper(Some(words));
        let Ok(printer) = editor.create_external_printer() else {
            return Ok(None);
        };
        let (print, receiver) = std::sync::mpsc::channel();
        // The printer waits for the prompt, and the prompt may wait for this program to ask for the next line.
        std::thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(move || print_above(printer, &receiver))
            .map_err(|source| CliError::Thread {
                what: "the terminal",
                source,
            })?;
        let above = || AbovePrompt {
            print: print.clone(),
            line: String::new(),
        };
        let mut streams = Vec::new();
        if meanwhile == Meanwhile::Lines {
            let writer = Box::new(above());
            streams.push((cx.stdout.clone(), cx.stdout.replace_writer(writer)));
            if cx.stderr.is_terminal() {
                let styles = anstream::AutoStream::choice(&io::stderr());
                let writer: Box<dyn Write + Send> = Box::new(above());
                let writer = Box::new(anstream::AutoStream::new(writer, styles));
                streams.push((cx.stderr.clone(), cx.stderr.replace_writer(writer)));
            }
        }
        Ok(Some((Self { mode, print, streams }, editor)))
    }

    /// Restores the terminal. A read that goes on never ends.
    fn close(self, is_reading: bool) {
        let (sender, flushed) = std::sync::mpsc::channel();
        if self.print.send(Print::Flush(sender)).is_ok() {
            let _ = flushed.recv_timeout(FLUSH_WAIT);
        }
        for (sink, writer) in self.streams {
            sink.replace_writer(writer);
        }
        if is_reading {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.mode);
            // Removes the prompt, and ends the mode in which terminals mark what is pasted.
            let _ = write!(io::stdout(), "\r\x1b[K\x1b[?2004l").and_then(|()| io::stdout().flush());
        }
    }
}

fn print_above(mut printer: impl ExternalPrinter, receiver: &std::sync::mpsc::Receiver<Print>) {
    for message in receiver {
        match message {
            // If the terminal is gone, there is nobody to say so to.
            Print::Text(text) => drop(printer.print(text)),
            Print::Flush(flushed) => drop(flushed.send(())),
        }
    }
}

/// Prints whole lines above the prompt.
struct AbovePrompt {
    print: std::sync::mpsc::Sender<Print>,
    /// The line that isn't whole yet.
    line: String,
}

impl Write for AbovePrompt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.push_str(&String::from_utf8_lossy(bytes));
        if let Some(end) = self.line.rfind('\n') {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            self.print
                .send(Print::Text(lines))
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..position).unwrap_or(line);
        let start = typed.rfind(' ').map_or(0, |blank| blank + 1);
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let words = words.iter().filter(|word| word.starts_with(&typed[start..]));
        Ok((start, words.cloned().collect()))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_word_at_the_cursor_is_completed() {
        let words = Words::default();
        words.set(["count_letter", "count_words", "schema"].map(str::to_owned));
        let history = DefaultHistory::new();
        let complete = |line: &str| {
            let context = rustyline::Context::new(&history);
            words.complete(line, line.len(), &context).unwrap()
        };
        assert_eq!(complete("sch"), (0, vec!["schema".to_owned()]));
        assert_eq!(complete("").1.len(), 3);
        assert_eq!(complete("schema count_l"), (7, vec!["count_letter".to_owned()]));
        assert_eq!(complete("count_letter {").1, Vec::<String>::new());
    }

    #[test]
    fn only_whole_lines_are_printed_above_the_prompt() {
        let (print, printed) = std::sync::mpsc::channel();
        let mut above = AbovePrompt {
            print,
            line: String::new(),
        };
        for text in ["a", "b\nc\nd", "\n"] {
            above.write_all(text.as_bytes()).unwrap();
        }
        drop(above);
        let printed = printed.into_iter().map(|print| match print {
            Print::Text(text) => text,
            Print::Flush(_) => unreachable!(),
        });
        assert_eq!(printed.collect::<Vec<_>>(), ["ab\nc\n", "d\n"]);
    }
}
