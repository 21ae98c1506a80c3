//! The two ways out of the process: data on stdout, everything else on stderr.
//!
//! Rust ignores SIGPIPE, so a reader that goes away (`cofferdam … | head`) shows as an error of the next write. That is
//! the reader's right and no fault: the rest is dropped in silence, and the exit code stays what it would have been. Any
//! other failure, a full disk for one, is kept and reported at the end, because then data is missing.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// A shared way out that never fails its caller. Clones write to the same place.
#[derive(Clone)]
pub struct Sink {
    state: Arc<Mutex<State>>,
    terminal: bool,
}

struct State {
    writer: Box<dyn Write + Send>,
    /// Once set, nothing is written any more.
    closed: bool,
    /// The first failure that was not a closed pipe.
    failure: Option<io::Error>,
    /// Whether the last character was something other than a newline.
    mid_line: bool,
}

impl Sink {
    /// Data. Styles are never written here, so what a program reads is what was meant.
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self::new(Box::new(stdout), terminal)
    }

    /// Everything else. Styles are stripped where stderr shows none or `NO_COLOR` asks for none.
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        let terminal = stderr.is_terminal();
        Self::new(Box::new(anstream::AutoStream::auto(stderr)), terminal)
    }

    fn new(writer: Box<dyn Write + Send>, terminal: bool) -> Self {
        let state = State {
            writer,
            closed: false,
            failure: None,
            mid_line: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            terminal,
        }
    }

    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes and flushes `text` as it is.
    pub fn write(&self, text: &str) {
        let mut state = self.lock();
        if state.closed || text.is_empty() {
            return;
        }
        let written = state
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| state.writer.flush());
        match written {
            Ok(()) => state.mid_line = !text.ends_with('\n'),
            Err(error) => {
                state.closed = true;
                if error.kind() != io::ErrorKind::BrokenPipe {
                    state.failure = Some(error);
                }
            }
        }
    }

    /// Writes `text` and a newline in one piece.
    pub fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Writes what a model or a tool said: as it is into a file or a pipe, made harmless on a terminal.
    pub fn write_foreign(&self, text: &str) {
        if self.terminal {
            self.write(&super::format::escape(text));
        } else {
            self.write(text);
        }
    }

    /// Ends the line where one was begun.
    pub fn end_line(&self) {
        if self.is_mid_line() {
            self.write("\n");
        }
    }

    pub fn is_mid_line(&self) -> bool {
        self.lock().mid_line
    }

    /// One JSON document on one line.
    pub fn json_line(&self, value: &impl Serialize) {
        self.json(serde_json::to_string(value));
    }

    /// One JSON document, indented for people.
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

    /// The failure that lost output, if there was one.
    pub fn take_failure(&self) -> Option<io::Error> {
        self.lock().failure.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// What was written, for a test to read.
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

    /// A sink into memory that takes itself for a terminal or not. Styles are stripped.
    pub(crate) fn memory(terminal: bool) -> (Sink, Written) {
        let written = Written::default();
        let stripped = anstream::StripStream::new(Box::new(written.clone()) as Box<dyn Write + Send>);
        (Sink::new(Box::new(stripped), terminal), written)
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
    fn a_reader_that_went_away_is_no_fault() {
        let sink = Sink::new(Box::new(Failing(io::ErrorKind::BrokenPipe)), false);
        sink.line("lost");
        sink.line("lost as well");
        assert!(sink.take_failure().is_none());
    }

    #[test]
    fn a_full_disk_is_reported_once() {
        let sink = Sink::new(Box::new(Failing(io::ErrorKind::StorageFull)), false);
        sink.line("lost");
        assert_eq!(sink.take_failure().unwrap().kind(), io::ErrorKind::StorageFull);
        sink.line("lost as well");
        assert!(sink.take_failure().is_none());
    }

    #[test]
    fn only_a_terminal_needs_protection() {
        for (terminal, shown) in [(true, "a\\u{7}b"), (false, "ab")] {
            // The test's own sink strips control characters where the real stdout passes them on.
            let (sink, written) = memory(terminal);
            sink.write_foreign("a\u{7}b");
            assert_eq!(written.text(), shown);
        }
    }

    #[test]
    fn a_line_is_ended_once() {
        let (sink, written) = memory(false);
        sink.end_line();
        sink.write("answer");
        sink.end_line();
        sink.end_line();
        assert_eq!(written.text(), "answer\n");
    }
}
