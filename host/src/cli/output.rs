//! The two output streams: data on stdout, everything else on stderr.
//!
//! Rust ignores SIGPIPE, so when a reader closes the pipe (`cofferdam … | head`), the next write fails. That isn't an error:
//! the rest of the output is silently dropped, and the exit code doesn't change. Any other failure, such as a full disk, is
//! kept and reported at the end, because data is missing.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anstream::{AutoStream, ColorChoice};
use rustix::fs::fstat;
use rustix::termios::tcgetwinsize;
use serde::Serialize;

use super::commands::Commands;

/// The width of a terminal that doesn't say how wide it is.
const DEFAULT_WIDTH: usize = 80;

/// A shared output stream whose methods never fail. Clones write to the same stream.
#[derive(Clone)]
pub struct Sink {
    state: Arc<Mutex<State>>,
    terminal: bool,
    /// Whether a line can be removed again: on a terminal that is more than a printer.
    can_erase: bool,
    colors: ColorChoice,
    /// How many columns the terminal has, if it says so.
    columns: fn() -> Option<usize>,
    /// What commands in a line of a message need.
    commands: Commands,
    /// Whether it writes although the stream is [held back](Sink::hold_back).
    is_past_hold: bool,
}

struct State {
    writer: Box<dyn Write + Send>,
    /// Set after a failure; later writes are dropped.
    closed: bool,
    /// The first failure that was not a closed pipe.
    failure: Option<io::Error>,
    /// Whether the last line is unfinished.
    mid_line: bool,
    /// Whether nothing was written so far.
    untouched: bool,
    /// The line that isn't whole yet, where only whole lines are written.
    held: Option<String>,
    /// What waits while the stream is [held back](Sink::hold_back).
    waiting: Option<String>,
    /// Whether the line below what was written has a [status](Sink::status), which isn't part of it.
    has_status: bool,
}

/// Whether the terminal understands escape sequences. One that says nothing of itself, or `dumb`, gets none.
fn is_capable() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

struct SinkWriter(Sink);

impl Write for SinkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&String::from_utf8_lossy(bytes));
        let state = self.0.lock();
        match (&state.failure, state.closed) {
            (Some(failure), _) => Err(io::Error::new(failure.kind(), failure.to_string())),
            (None, true) => Err(io::ErrorKind::BrokenPipe.into()),
            (None, false) => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of a line up to which it is held back until it is whole. So memory stays bounded, and a reader sees that a long line grows.
const MAX_HELD_BYTES: usize = 4 * 1024;

/// Removes what stands in the line of the cursor.
const ERASE_LINE: &str = "\r\x1b[K";

impl Sink {
    /// The stream for data. What is written to it is unchanged, so styles are for a terminal only.
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let colors = AutoStream::choice(&stdout);
        let sink = Self::new(Box::new(stdout), terminal, colors, || columns(io::stdout()));
        // So that a line of the log is a line there, and doesn't begin within one of the answer.
        if !terminal && shares_a_file_with_stderr() {
            sink.lock().held = Some(String::new());
        }
        sink
    }

    /// The stream for everything else. Styles are stripped if stderr doesn't support them or `NO_COLOR` is set.
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        let terminal = stderr.is_terminal();
        let colors = AutoStream::choice(&stderr);
        let writer = Box::new(AutoStream::new(stderr, colors));
        Self::new(writer, terminal, colors, || columns(io::stderr()))
    }

    fn new(writer: Box<dyn Write + Send>, terminal: bool, colors: ColorChoice, columns: fn() -> Option<usize>) -> Self {
        let state = State {
            writer,
            closed: false,
            failure: None,
            mid_line: false,
            untouched: true,
            held: None,
            waiting: None,
            has_status: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            terminal,
            can_erase: terminal && is_capable(),
            colors,
            columns,
            commands: Commands::default(),
            is_past_hold: false,
        }
    }

    /// For messages: the commands in a line get the options that they need.
    pub fn completing(self, commands: Commands) -> Self {
        Self { commands, ..self }
    }

    /// Writes to another stream from now on, and returns the one until now. `self` and its clones share the stream.
    pub fn replace_writer(&self, writer: Box<dyn Write + Send>) -> Box<dyn Write + Send> {
        std::mem::replace(&mut self.lock().writer, writer)
    }

    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether what is shown can be removed again.
    pub const fn can_erase(&self) -> bool {
        self.can_erase
    }

    /// Whether nothing arrives any more: the reader is gone, or writing has failed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether a failure has lost output, and not only a reader that is gone.
    pub fn has_failed(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// Whether styles are shown.
    pub const fn colors(&self) -> ColorChoice {
        self.colors
    }

    /// How many columns the terminal has at this moment; `None` if it isn't one.
    pub fn width(&self) -> Option<usize> {
        self.terminal.then(|| (self.columns)().unwrap_or(DEFAULT_WIDTH))
    }

    /// Writes `text` unchanged and flushes.
    pub fn write(&self, text: &str) {
        let mut state = self.lock();
        if state.closed || text.is_empty() {
            return;
        }
        if !self.is_past_hold
            && let Some(waiting) = &mut state.waiting
        {
            waiting.push_str(text);
            return;
        }
        let erased = match std::mem::take(&mut state.has_status) {
            true => ERASE_LINE,
            false => "",
        };
        let whole = match &mut state.held {
            None => Cow::Borrowed(text),
            Some(held) => {
                held.push_str(text);
                let whole = held.rfind('\n').map_or(0, |end| end + 1);
                let is_long = held.len() - whole > MAX_HELD_BYTES;
                let end = if is_long { held.len() } else { whole };
                Cow::Owned(held.drain(..end).collect())
            }
        };
        if state.put(&[erased, &whole]) {
            state.mid_line = !text.ends_with('\n');
            state.untouched = false;
        }
    }

    /// The same stream for somebody who writes bytes, and wants to know that nobody reads them.
    pub fn as_writer(&self) -> impl Write + Send + use<> {
        SinkWriter(self.clone())
    }

    /// Has what is written wait until the guard is dropped.
    ///
    /// What stands in the line then is for [`Self::past_hold`].
    pub fn hold_back(&self) -> HeldBack {
        self.lock().waiting.get_or_insert_default();
        HeldBack(self.clone())
    }

    /// The same stream for the one who holds it back.
    pub fn past_hold(&self) -> Self {
        Self {
            is_past_hold: true,
            ..self.clone()
        }
    }

    /// Shows a line on a terminal until the next text is written, or until [`Self::clear_status`]. Without a terminal, on one that
    /// can't remove a line, or below an unfinished line, nothing is shown.
    pub fn status(&self, text: &str) {
        let mut state = self.lock();
        if self.can_erase && !state.closed && !state.mid_line && state.waiting.is_none() {
            state.has_status = state.put(&[ERASE_LINE, text]);
        }
    }

    pub fn clear_status(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.has_status) {
            state.put(&[ERASE_LINE]);
        }
    }

    /// Writes `text` and a newline in one write.
    pub fn line(&self, text: &str) {
        self.foreign_line(&self.commands.complete(text));
    }

    /// The same for a text that isn't this program's own.
    pub fn foreign_line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Writes text of a model or a tool: unchanged to a file or a pipe, escaped to a terminal.
    pub fn write_untrusted(&self, text: &str) {
        if self.terminal {
            self.write(&super::format::escape(text));
        } else {
            self.write(text);
        }
    }

    /// Ends the last line if it is unfinished.
    pub fn end_line(&self) {
        self.clear_status();
        if self.is_mid_line() {
            self.write("\n");
        }
    }

    pub fn is_mid_line(&self) -> bool {
        let state = self.lock();
        match &state.waiting {
            Some(waiting) if !self.is_past_hold => !waiting.is_empty() && !waiting.ends_with('\n'),
            _ => state.mid_line,
        }
    }

    /// Whether nothing was written so far.
    pub fn is_untouched(&self) -> bool {
        self.lock().untouched
    }

    /// Writes a JSON document on one line.
    pub fn json_line(&self, value: &impl Serialize) {
        self.json(serde_json::to_string(value));
    }

    /// Writes an indented JSON document.
    pub fn json_pretty(&self, value: &impl Serialize) {
        self.json(serde_json::to_string_pretty(value));
    }

    fn json(&self, text: serde_json::Result<String>) {
        match text {
            Ok(text) if self.terminal => self.line(&super::format::escape_json(&text)),
            Ok(text) => self.line(&text),
            Err(error) => {
                self.lock().failure.get_or_insert(error.into());
            }
        }
    }

    /// Takes the failure that lost output, if there was one. Writes an unfinished line that was held back.
    pub fn take_failure(&self) -> Option<io::Error> {
        let mut state = self.lock();
        state.put_held();
        state.failure.take()
    }

    /// Writes an unfinished line that was held back, before the process exits at once. Doesn't wait for a write that is stuck.
    pub fn put_held(&self) {
        if let Ok(mut state) = self.state.try_lock() {
            state.put_held();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream whose texts wait.
#[must_use]
pub struct HeldBack(Sink);

impl Drop for HeldBack {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let waiting = state.waiting.take().unwrap_or_default();
        if !waiting.is_empty() && !state.closed && state.put(&[&waiting]) {
            state.mid_line = !waiting.ends_with('\n');
            state.untouched = false;
        }
    }
}

fn shares_a_file_with_stderr() -> bool {
    match (fstat(io::stdout()), fstat(io::stderr())) {
        (Ok(stdout), Ok(stderr)) => (stdout.st_dev, stdout.st_ino) == (stderr.st_dev, stderr.st_ino),
        _ => false,
    }
}

fn columns(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let size = tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

impl State {
    fn put_held(&mut self) {
        let rest = self.held.as_mut().map(std::mem::take).unwrap_or_default();
        if !rest.is_empty() && !self.closed {
            self.put(&[&rest]);
        }
    }

    /// Writes and flushes. Returns whether that was possible.
    fn put(&mut self, texts: &[&str]) -> bool {
        let writer = &mut self.writer;
        let mut written = texts.iter().try_for_each(|text| writer.write_all(text.as_bytes()));
        written = written.and_then(|()| writer.flush());
        let Err(error) = written else { return true };
        self.closed = true;
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.failure = Some(error);
        }
        false
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink")
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// The written bytes, for a test to read.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A sink into memory that behaves as a terminal or not. Styles are stripped.
    pub(crate) fn memory(terminal: bool) -> (Sink, Written) {
        let written = Written::default();
        let stripped = anstream::StripStream::new(Box::new(written.clone()) as Box<dyn Write + Send>);
        let sink = Sink::new(Box::new(stripped), terminal, ColorChoice::Never, || None);
        (sink, written)
    }

    fn failing(kind: io::ErrorKind) -> Sink {
        Sink::new(Box::new(Failing(kind)), false, ColorChoice::Never, || None)
    }

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        let sink = failing(io::ErrorKind::BrokenPipe);
        sink.line("lost");
        sink.line("lost as well");
        assert!(sink.take_failure().is_none());
    }

    #[test]
    fn who_writes_bytes_hears_that_nobody_reads_them() {
        let (sink, written) = memory(false);
        assert_eq!(sink.as_writer().write(b"line\n").unwrap(), 5);
        assert_eq!(written.text(), "line\n");
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
            let mut writer = failing(kind).as_writer();
            assert_eq!(writer.write(b"lost\n").unwrap_err().kind(), kind);
            assert_eq!(writer.write(b"lost as well\n").unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn a_full_disk_is_reported_once() {
        let sink = failing(io::ErrorKind::StorageFull);
        sink.line("lost");
        assert_eq!(sink.take_failure().unwrap().kind(), io::ErrorKind::StorageFull);
        sink.line("lost as well");
        assert!(sink.take_failure().is_none());
    }

    #[test]
    fn untrusted_text_is_escaped_only_on_a_terminal() {
        for (terminal, shown) in [(true, "a\\u{7}b"), (false, "ab")] {
            // The test's own sink strips control characters where the real stdout passes them on.
            let (sink, written) = memory(terminal);
            sink.write_untrusted("a\u{7}b");
            assert_eq!(written.text(), shown);
        }
    }

    #[test]
    fn a_status_is_gone_before_the_next_text() {
        let written = Written::default();
        let mut sink = Sink::new(Box::new(written.clone()), true, ColorChoice::Never, || None);
        sink.can_erase = true;
        sink.status("3 words");
        sink.status("5 words");
        sink.line("five words");
        sink.write("mid");
        sink.status("not here");
        sink.end_line();
        sink.status("last");
        sink.end_line();
        assert_eq!(
            written.text(),
            "\r\x1b[K3 words\r\x1b[K5 words\r\x1b[Kfive words\nmid\n\r\x1b[Klast\r\x1b[K"
        );
        for terminal in [false, true] {
            let (mut sink, nothing) = memory(terminal);
            sink.can_erase = false;
            sink.status("3 words");
            assert_eq!(nothing.text(), "");
        }
    }

    #[test]
    fn a_line_of_a_shared_file_is_written_whole() {
        let (sink, written) = memory(false);
        sink.lock().held = Some(String::new());
        sink.write("one ");
        assert_eq!(written.text(), "");
        assert!(sink.is_mid_line());
        sink.write("line\nand");
        assert_eq!(written.text(), "one line\n");
        sink.end_line();
        sink.write("the rest");
        sink.put_held();
        assert_eq!(written.text(), "one line\nand\nthe rest");
        sink.write(&"x".repeat(MAX_HELD_BYTES));
        sink.write("y");
        assert!(written.text().ends_with("xy"), "a long line isn't held back");
        sink.write(" end");
        assert!(sink.take_failure().is_none());
        assert!(written.text().ends_with("xy end"));
    }

    #[test]
    fn what_is_held_back_is_written_in_order() {
        let (sink, written) = memory(true);
        sink.line("before");
        let held = sink.hold_back();
        sink.line("first");
        sink.clone().write("second");
        sink.end_line();
        assert_eq!(written.text(), "before\n");
        drop(held);
        sink.line("after");
        assert_eq!(written.text(), "before\nfirst\nsecond\nafter\n");
    }

    #[test]
    fn end_line_writes_at_most_one_newline() {
        let (sink, written) = memory(false);
        sink.end_line();
        sink.write("answer");
        sink.end_line();
        sink.end_line();
        assert_eq!(written.text(), "answer\n");
    }
}
