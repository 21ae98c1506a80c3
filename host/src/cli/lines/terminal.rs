//! A terminal whose last line is the prompt while a line is being read.

use std::io::{self, IsTerminal, Write};
use std::sync::PoisonError;
use std::time::Duration;

use anstream::AutoStream;
use rustix::process::{Signal, getpgrp, kill_current_process_group};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetpgrp,
    tcsetattr,
};
use rustyline::{Behavior, ColorMode, CompletionType, Editor, ExternalPrinter};

use super::keys::{self, KeyState};
use super::paste::Paste;
use super::recall::Recalled;
use super::{Between, Completions, Prompting};
use crate::cli::interrupt::handle_ctrl_c;
use crate::cli::output::Sink;
use crate::cli::{CliError, Context};

/// The longest time that the end waits for the terminal to take what was printed.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// How often a process in the background stops itself until it has the terminal, and how long each time takes if it isn't stopped: where
/// no shell could continue it, the system doesn't.
const STOPS: usize = 10;
const STOP_WAIT: Duration = Duration::from_millis(30);

/// The character that stands for none, where the terminal has one for a signal.
const NONE: u8 = 0;

pub type LineEditor = Editor<Completions, Recalled>;

/// The editor, and what its keys need.
pub struct Edited {
    pub editor: LineEditor,
    pub keys: KeyState,
    /// What the next line begins with.
    pub initial: String,
}

impl Edited {
    /// Forgets what was typed or pasted and not read yet, with what comes at once. Keeps the line before it.
    pub fn discard_input(&mut self) {
        let stdin = io::stdin();
        let _ = tcflush(&stdin, QueueSelector::IFlush);
        while super::follows() && tcflush(&stdin, QueueSelector::IFlush).is_ok() {}
        *self.keys.paste.lock().unwrap_or_else(PoisonError::into_inner) = Paste::default();
        self.initial = self
            .editor
            .helper()
            .map(|helper| helper.edits().line())
            .unwrap_or_default();
    }
}

/// How a terminal echoes, edits and signals.
#[derive(Clone, Debug)]
pub struct TerminalMode(Termios);

impl TerminalMode {
    pub fn current() -> Option<Self> {
        tcgetattr(io::stdin()).ok().map(Self)
    }

    /// In the background, the terminal is the shell's, and who sets it up is stopped.
    pub fn restore(&self) {
        if Self::is_in_foreground() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        }
    }

    /// Whether the terminal is this program's, and not that of the shell that runs it in the background.
    pub fn is_in_foreground() -> bool {
        tcgetpgrp(io::stdin()).map_or(true, |group| group == getpgrp())
    }

    /// Stops a program in the background until the terminal is its own. How the terminal is set up before that is the shell's.
    fn wait_for_foreground() {
        for _ in 0..STOPS {
            if Self::is_in_foreground() || kill_current_process_group(Signal::TTIN).is_err() {
                return;
            }
            std::thread::sleep(STOP_WAIT);
        }
    }

    /// The same without echo, and without lines: a terminal that collects a line itself drops what is beyond its 4,095th byte.
    /// Ctrl-C is still a signal, and leaves what was typed before it. Ctrl-Z and Ctrl-\ are keys, because the shell would read, and run,
    /// what was typed before such a signal. Enter is a line break, however the terminal was found.
    pub fn without_echo(&self) -> Self {
        let mut mode = self.0.clone();
        mode.input_modes.insert(InputModes::ICRNL);
        mode.input_modes.remove(InputModes::IGNCR | InputModes::INLCR);
        mode.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        mode.local_modes.insert(LocalModes::ISIG | LocalModes::NOFLSH);
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        mode.special_codes[SpecialCodeIndex::VSUSP] = NONE;
        mode.special_codes[SpecialCodeIndex::VQUIT] = NONE;
        Self(mode)
    }
}

pub struct Terminal {
    /// How the terminal was set up, and is again afterwards: while a line is edited, it doesn't echo and has no signals.
    mode: TerminalMode,
    print: std::sync::mpsc::Sender<Print>,
    /// The streams that are printed above the prompt, with what they wrote to before.
    streams: Vec<(Sink, Box<dyn Write + Send>)>,
}

enum Print {
    Text(String),
    Flush(std::sync::mpsc::Sender<()>),
}

impl Terminal {
    /// `None` if stdin isn't a terminal, neither stdout nor stderr is one, or one that can't move its cursor.
    pub fn open(cx: &Context, prompting: Prompting) -> Result<Option<(Self, Edited)>, CliError> {
        if TerminalMode::current().is_some() {
            TerminalMode::wait_for_foreground();
        }
        let Some(mode) = TerminalMode::current() else {
            return Ok(None);
        };
        // At the end of each line, the editor restores the handler of Ctrl-C that it found at the line's beginning. If ours came
        // later than that, the next Ctrl-C would end the process.
        handle_ctrl_c();
        // Where the answers go to a file or a pipe, the prompt is shown beside them.
        let behavior = match !cx.stdout.is_terminal() && cx.stderr.is_terminal() {
            true => Behavior::PreferTerm,
            false => Behavior::Stdio,
        };
        let config = rustyline::Config::builder()
            .completion_type(CompletionType::List)
            .behavior(behavior)
            // It isn't for colours: what is printed of a line depends on the window.
            .color_mode(ColorMode::Forced)
            .build();
        let history = Recalled::new(&config, prompting.completions.edits().clone());
        let Ok(mut editor) = Editor::with_history(config, history) else {
            return Ok(None);
        };
        editor.set_helper(Some(prompting.completions));
        let keys = keys::bind(&mut editor, mode.clone());
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
        if prompting.between == Between::Programs {
            if cx.stdout.is_terminal() {
                let writer = Box::new(above());
                streams.push((cx.stdout.clone(), cx.stdout.replace_writer(writer)));
            }
            if cx.stderr.is_terminal() {
                let writer: Box<dyn Write + Send> = Box::new(above());
                let writer = Box::new(AutoStream::new(writer, cx.stderr.colors()));
                streams.push((cx.stderr.clone(), cx.stderr.replace_writer(writer)));
            }
        }
        let edited = Edited {
            editor,
            keys,
            initial: String::new(),
        };
        Ok(Some((Self { mode, print, streams }, edited)))
    }

    pub fn mode(&self) -> TerminalMode {
        self.mode.clone()
    }

    /// Restores the terminal. A read that goes on never ends: that of `reading`, which stays visible unless it is empty.
    pub fn close(self, reading: Option<&str>) {
        let (sender, flushed) = std::sync::mpsc::channel();
        if self.print.send(Print::Flush(sender)).is_ok() {
            let _ = flushed.recv_timeout(FLUSH_WAIT);
        }
        for (sink, writer) in self.streams {
            sink.replace_writer(writer);
        }
        match reading {
            Some(line) => {
                // What is half typed isn't for the shell.
                let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.mode.0);
                show(if line.is_empty() { "\r\x1b[K" } else { "\r\n" });
                show(keys::LEAVE_PASTES);
            }
            None => self.mode.restore(),
        }
    }
}

/// Writes to the terminal that lines are edited on. If it is gone, there is nobody to say so to.
pub fn show(text: &str) {
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let terminal: &mut dyn Write = match stdout.is_terminal() {
        true => &mut stdout,
        false => &mut stderr,
    };
    let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
