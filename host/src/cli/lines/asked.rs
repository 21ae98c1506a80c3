//! A line that answers a question.
//!
//! It isn't read by the line editor, because a question can be over while its answer is typed, and the editor's read can't be ended. The
//! terminal hands over each key, so that no answer is too long for it, and Ctrl-C is still a signal.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use unicode_width::UnicodeWidthChar;

use super::terminal::TerminalMode;
use super::typed::{Decoder, Key, LOOK_EVERY, TypedAhead, TypedLine, read_keys};
use super::{PASTE_GAP, keys};
use crate::cli::format;
use crate::cli::interrupt::Stop;
use crate::cli::output::Sink;

/// Nobody has read a question so soon after it appeared.
const UNREAD: Duration = Duration::from_millis(300);
/// The pause after which somebody who was typing as the question appeared has seen it.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// A longer line that is no answer is a text, and not a mistyped answer.
const LONGEST_WORD_BYTES: usize = "always".len();
/// How much is repeated of what nobody will read, in characters.
const MAX_IGNORED_CHARS: usize = 60;

/// The width of a terminal that doesn't say how wide it is.
const COLUMNS: usize = 80;

/// The terminal while a question is asked. What was typed before, or so soon that nobody can have read the question, is set aside for
/// the next line.
pub struct Asked(Arc<Mutex<Option<Asking>>>);

impl Asked {
    pub fn begin(stderr: Sink, ahead: TypedAhead) -> Self {
        ahead.set_asked(true);
        Self(Arc::new(Mutex::new(Some(Asking {
            stderr,
            ahead,
            stop: Stop::here(),
            before: None,
            is_stale: false,
            decoder: Decoder::default(),
            shown: Shown::default(),
            aside: None,
            began: None,
            ended: None,
            answer: Vec::new(),
        }))))
    }

    /// The next line, after `choices`. Several are one if they come together. If another program had the terminal meanwhile, `question`
    /// is shown once more.
    ///
    /// # Errors
    /// Ctrl-D, or the terminal is gone.
    pub async fn line(&self, question: &str, choices: &str) -> io::Result<String> {
        let (asking, question, choices) = (Arc::clone(&self.0), question.to_owned(), choices.to_owned());
        let line = tokio::task::spawn_blocking(move || read_line(&asking, &question, &choices)).await;
        line.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// The last line was no answer. If it was begun before anybody can have read the question, it is set aside with what follows it.
    /// Otherwise a text waits in the next line. Returns whether it does.
    pub fn refuse(&self, line: &str) -> bool {
        let mut asking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asking.as_mut().is_some_and(|asking| asking.refuse(line))
    }
}

impl Drop for Asked {
    /// Nothing is read once the question is over: it would be for somebody else. What is half typed then waits in the next line.
    fn drop(&mut self) {
        if let Some(mut asking) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            asking.ahead.push_line(&asking.shown.line.text);
            asking.hand_back();
            asking.ahead.set_asked(false);
            if asking.aside.as_ref().is_some_and(|aside| aside.is_news) && !asking.ahead.is_awaited() {
                asking.say_what_waits();
            }
        }
    }
}

fn read_line(asking: &Mutex<Option<Asking>>, question: &str, choices: &str) -> io::Result<String> {
    if let Some(asking) = asking.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        asking.shown = Shown::default();
        asking.answer.clear();
        asking.began = None;
    }
    loop {
        match asking.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(asking) => {
                if let Some(line) = asking.step(question, choices)? {
                    return Ok(line);
                }
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

struct Asking {
    stderr: Sink,
    ahead: TypedAhead,
    stop: Stop,
    /// How the terminal was set up before. `None` while it isn't ours.
    before: Option<TerminalMode>,
    /// Another program had the terminal since the question was shown.
    is_stale: bool,
    decoder: Decoder,
    shown: Shown,
    /// Until then, what is typed is set aside.
    aside: Option<Aside>,
    /// When the line was begun.
    began: Option<Instant>,
    /// When Enter was pressed, unless something came after it.
    ended: Option<Instant>,
    /// The keys of the line.
    answer: Vec<u8>,
}

struct Aside {
    until: Instant,
    /// Something was set aside and not announced yet.
    is_news: bool,
}

impl Asking {
    /// Reads what was typed, and returns the line that ended.
    fn step(&mut self, question: &str, choices: &str) -> io::Result<Option<String>> {
        if !TerminalMode::is_in_foreground() {
            // The shell has the terminal, and has set it up for itself.
            self.before = None;
            self.is_stale = true;
            return Ok(None);
        }
        if self.before.is_none() {
            self.take_terminal(question)?;
        }
        if self.shown.at.is_none() {
            self.show(choices);
        }
        let bytes = read_keys()?;
        if bytes.is_empty() {
            return Ok(self.pause(choices));
        }
        if self.aside.is_some() {
            return self.set_aside(&bytes).map(|()| None);
        }
        for (position, byte) in bytes.iter().enumerate() {
            let key = self.decoder.key(*byte);
            self.answer.push(*byte);
            if self.answer.len() > MAX_ANSWER_BYTES {
                self.answer.extend(&bytes[position + 1..]);
                self.set_line_aside();
                return Ok(None);
            }
            if let Some(key) = key {
                self.press(key)?;
            }
        }
        Ok(None)
    }

    /// Nothing was typed since the last look.
    fn pause(&mut self, choices: &str) -> Option<String> {
        let now = Instant::now();
        if self.aside.as_ref().is_some_and(|aside| aside.until <= now)
            && self.aside.take().is_some_and(|aside| aside.is_news)
        {
            self.say_what_waits();
            self.show(choices);
        }
        self.ended.take_if(|ended| now >= *ended + PASTE_GAP)?;
        self.shown.end(&self.stderr);
        self.shown.at = None;
        Some(std::mem::take(&mut self.shown.line).text)
    }

    fn press(&mut self, key: Key) -> io::Result<()> {
        match key {
            Key::Suspend => {
                self.hand_back();
                self.is_stale = true;
                self.stop.until_continued();
                return Ok(());
            }
            Key::EndOfInput if self.shown.line.text.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        let now = Instant::now();
        self.began.get_or_insert(now);
        if self.ended.take().is_some() {
            self.shown.press(&Key::Text("\n".to_owned()), &self.stderr);
        }
        match key {
            Key::Enter => self.ended = Some(now),
            key => self.shown.press(&key, &self.stderr),
        }
        Ok(())
    }

    /// Takes the terminal, and sets aside what was typed before.
    fn take_terminal(&mut self, question: &str) -> io::Result<()> {
        let before = TerminalMode::current().ok_or(io::ErrorKind::UnexpectedEof)?;
        before.without_echo().restore();
        self.before = Some(before);
        if std::mem::take(&mut self.is_stale) {
            self.stderr.end_line();
            self.stderr.foreign_line(question);
            self.shown.at = None;
        }
        self.ahead.read_terminal()?;
        if self.ahead.take_news() {
            self.say_what_waits();
            self.aside = Some(Aside {
                until: Instant::now() + UNREAD,
                is_news: false,
            });
        }
        Ok(())
    }

    /// Of what no line waits for, it says what it was.
    fn say_what_waits(&self) {
        let what = match self.ahead.is_awaited() {
            true => " It waits in the next line.".to_owned(),
            false => match format::one_line(&self.ahead.take().text, MAX_IGNORED_CHARS) {
                nothing if nothing.is_empty() => nothing,
                ignored => format!(" It is ignored: {ignored}"),
            },
        };
        self.stderr.end_line();
        self.stderr
            .line(&format!("What you typed before the question is no answer to it.{what}"));
    }

    fn show(&mut self, choices: &str) {
        self.shown.begin(choices, &self.stderr);
        if let Some(aside) = &mut self.aside {
            aside.until = aside.until.max(Instant::now() + UNREAD);
        }
    }

    fn set_aside(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Nobody types this into a text.
        if bytes == [0x04] {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.ahead.push(bytes);
        self.aside = Some(Aside {
            until: Instant::now() + PAUSE,
            is_news: true,
        });
        Ok(())
    }

    fn set_line_aside(&mut self) {
        self.ahead.push(&std::mem::take(&mut self.answer));
        self.decoder = Decoder::default();
        self.shown.line = TypedLine::default();
        (self.began, self.ended) = (None, None);
        self.aside = Some(Aside {
            until: Instant::now() + PAUSE,
            is_news: true,
        });
    }

    fn refuse(&mut self, line: &str) -> bool {
        let appeared = self.shown.appeared;
        let is_hasty = self
            .began
            .zip(appeared)
            .is_some_and(|(began, appeared)| began < appeared + UNREAD);
        let waits = !is_hasty && line.trim().len() > LONGEST_WORD_BYTES && self.ahead.is_awaited();
        if is_hasty {
            self.set_line_aside();
        }
        if waits {
            self.ahead.push_line(&format!("{line}\n"));
        }
        waits
    }

    /// Sets the terminal up as it was.
    fn hand_back(&mut self) {
        if let Some(before) = self.before.take()
            && TerminalMode::is_in_foreground()
        {
            if self.shown.at.take().is_some() {
                self.shown.end(&self.stderr);
            }
            before.restore();
        }
    }
}

/// The line on the screen.
#[derive(Default)]
struct Shown {
    line: TypedLine,
    choices: String,
    /// When it was shown last; `None` if it has to be shown.
    at: Option<Instant>,
    /// The same, also after its end.
    appeared: Option<Instant>,
}

/// A row of the terminal, and a column in it.
type Place = (usize, usize);

impl Shown {
    fn begin(&mut self, choices: &str, stderr: &Sink) {
        choices.clone_into(&mut self.choices);
        let mark = if stderr.can_erase() { keys::MARK_PASTES } else { "" };
        stderr.write(&format!("{mark}{choices}{}", on_screen(&self.line.text)));
        self.move_cursor(stderr);
        self.at = Some(Instant::now());
        self.appeared = self.at;
    }

    /// Goes on below the line.
    fn end(&mut self, stderr: &Sink) {
        if stderr.can_erase() {
            let cursor = std::mem::replace(&mut self.line.cursor, self.line.text.len());
            let (from, to) = (self.place(cursor, stderr), self.place(self.line.cursor, stderr));
            let down = to.0 - from.0;
            let down = if down > 0 {
                format!("\x1b[{down}B")
            } else {
                String::new()
            };
            stderr.write(&format!("{down}{}\n", keys::LEAVE_PASTES));
        } else {
            stderr.write("\n");
        }
    }

    fn press(&mut self, key: &Key, stderr: &Sink) {
        let (before, was_at_end) = (self.line.clone(), self.line.cursor == self.line.text.len());
        // Nothing can be shown there but what is appended.
        if !stderr.can_erase() && !matches!(key, Key::Text(_) | Key::Backspace) {
            return;
        }
        if !self.line.edit(key) {
            return;
        }
        match key {
            // A long text isn't shown again for each letter: it may have more rows than the screen.
            Key::Text(text) if was_at_end => stderr.write(&on_screen(text)),
            Key::Backspace if was_at_end && (!stderr.can_erase() || self.is_in_row_of(&before, stderr)) => {
                let removed = &before.text[self.line.text.len()..];
                stderr.write(&"\u{8} \u{8}".repeat(width(removed)));
                return;
            }
            _ => {
                let (row, _) = place(&(self.choices.clone() + &before.text[..before.cursor]), columns(stderr));
                let up = if row > 0 { format!("\x1b[{row}A") } else { String::new() };
                stderr.write(&format!("\r{up}\x1b[J{}{}", self.choices, on_screen(&self.line.text)));
            }
        }
        self.move_cursor(stderr);
    }

    fn is_in_row_of(&self, before: &TypedLine, stderr: &Sink) -> bool {
        let end = place(&(self.choices.clone() + &before.text), columns(stderr));
        end.1 > 0 && !before.text.ends_with('\n') && end.0 == self.place(self.line.text.len(), stderr).0
    }

    /// From the end of the text.
    fn move_cursor(&self, stderr: &Sink) {
        let (end, cursor) = (
            self.place(self.line.text.len(), stderr),
            self.place(self.line.cursor, stderr),
        );
        let mut moves = String::new();
        if end.1 == 0 && !self.line.text.ends_with('\n') {
            // At the right edge, the cursor goes to the next row only with the next letter.
            moves += " \r";
        }
        if end != cursor {
            moves += "\r";
            if end.0 > cursor.0 {
                moves += &format!("\x1b[{}A", end.0 - cursor.0);
            }
            if cursor.1 > 0 {
                moves += &format!("\x1b[{}C", cursor.1);
            }
        }
        stderr.write(&moves);
    }

    fn place(&self, position: usize, stderr: &Sink) -> Place {
        place(&(self.choices.clone() + &self.line.text[..position]), columns(stderr))
    }
}

fn columns(stderr: &Sink) -> usize {
    stderr.width().unwrap_or(COLUMNS)
}

fn on_screen(text: &str) -> String {
    text.replace('\t', "    ")
}

fn width(text: &str) -> usize {
    on_screen(text).chars().map(|letter| letter.width().unwrap_or(0)).sum()
}

/// Where the cursor is after a text that begins at the left edge.
fn place(text: &str, columns: usize) -> Place {
    on_screen(text).chars().fold((0, 0), |(row, column), letter| {
        let after = column + letter.width().unwrap_or(0);
        match letter {
            '\n' => (row + 1, 0),
            _ if after > columns => (row + 1, after - column),
            _ if after == columns => (row + 1, 0),
            _ => (row, after),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_cursor_is_counted_in_columns() {
        for (text, expected) in [
            ("", (0, 0)),
            ("abc", (0, 3)),
            ("abcd", (1, 0)),
            ("abcde", (1, 1)),
            ("ab\nc", (1, 1)),
            ("字字", (1, 0)),
            ("abc字", (1, 2)),
            ("\ta", (1, 1)),
        ] {
            assert_eq!(place(text, 4), expected, "{text:?}");
        }
    }
}
