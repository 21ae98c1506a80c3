//! A line that answers a question.
//!
//! It isn't read by the line editor, because a question can be over while its answer is typed, and the editor's read can't be ended. The
//! terminal hands over each key, so that no answer is too long for it, and Ctrl-C is still a signal.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::terminal::TerminalMode;
use super::typed::{Decoder, Key, LOOK_EVERY, TypedAhead, TypedLine, read_keys};
use super::window::{Position, Window};
use super::{PASTE_GAP, keys};
use crate::cli::format;
use crate::cli::interrupt::Stop;
use crate::cli::output::{HeldBack, Sink};

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

/// The terminal while a question is asked. What was typed before, or so soon that nobody can have read the question, is set aside for
/// the next line.
pub struct Asked(Arc<Mutex<Option<Asking>>>);

impl Asked {
    pub fn begin(stderr: Sink, ahead: TypedAhead) -> Self {
        ahead.set_asked(true);
        Self(Arc::new(Mutex::new(Some(Asking {
            stderr: stderr.past_hold(),
            held: None,
            ahead,
            stop: Stop::here(),
            before: None,
            is_stale: false,
            decoder: Decoder::default(),
            shown: Shown::default(),
            aside: None,
            appeared: None,
            began: None,
            ended: None,
            answer: Vec::new(),
        }))))
    }

    /// The next line, after `choices`. Several are one if they come together. One that was begun before anybody can have read the
    /// question is set aside with what follows it. If another program had the terminal meanwhile, `question` is shown once more.
    ///
    /// # Errors
    /// Ctrl-D, or the terminal is gone.
    pub async fn line(&self, question: &str, choices: &str) -> io::Result<String> {
        let (asking, question, choices) = (Arc::clone(&self.0), question.to_owned(), choices.to_owned());
        let line = tokio::task::spawn_blocking(move || read_line(&asking, &question, &choices)).await;
        line.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// The last line was no answer. A text waits in the next line. Returns whether it does.
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
    /// Has what else is written wait while the question stands in its line.
    held: Option<HeldBack>,
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
    /// When the question appeared before the line was begun.
    appeared: Option<Instant>,
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
        if self.is_hasty() {
            self.set_line_aside();
            return None;
        }
        self.shown.end(&self.stderr);
        self.shown.at = None;
        self.held = None;
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
        self.held.get_or_insert_with(|| self.stderr.hold_back());
        self.shown.begin(choices, &self.stderr);
        if self.began.is_none() {
            self.appeared = self.shown.at;
        }
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

    /// Whether the line was begun before anybody can have read the question.
    fn is_hasty(&self) -> bool {
        let times = self.began.zip(self.appeared);
        times.is_some_and(|(began, appeared)| began < appeared + UNREAD)
    }

    fn refuse(&mut self, line: &str) -> bool {
        let waits = line.trim().len() > LONGEST_WORD_BYTES && self.ahead.is_awaited();
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
            self.held = None;
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
    /// How far the cursor is below the first row that is shown.
    row: usize,
    /// Whether a part of it was printed without the rest.
    is_cut: bool,
}

impl Shown {
    fn begin(&mut self, choices: &str, stderr: &Sink) {
        choices.clone_into(&mut self.choices);
        self.is_cut = false;
        if stderr.can_erase() {
            stderr.write(keys::MARK_PASTES);
            self.print(stderr);
        } else {
            stderr.write(&self.whole());
        }
        self.at = Some(Instant::now());
    }

    /// Goes on below the line. All of a tall one is shown once more.
    fn end(&mut self, stderr: &Sink) {
        if !stderr.can_erase() {
            stderr.write("\n");
            return;
        }
        let (window, whole) = (Window::now_or_any(), self.whole());
        let (cursor, end) = (window.end(&whole[..self.position()]).row, window.end(&whole).row);
        let rest = if std::mem::take(&mut self.is_cut) {
            self.erase() + &whole
        } else if cursor < end {
            format!("\x1b[{}B", end - cursor)
        } else {
            String::new()
        };
        self.line.cursor = self.line.text.len();
        stderr.write(&format!("{rest}{}\n", keys::LEAVE_PASTES));
    }

    fn press(&mut self, key: &Key, stderr: &Sink) {
        if !stderr.can_erase() {
            self.append(key, stderr);
            return;
        }
        let appended = match key {
            Key::Text(text) if self.line.cursor == self.line.text.len() => Some((text, self.whole())),
            _ => None,
        };
        if !self.line.edit(key) {
            return;
        }
        if let Some((text, before)) = appended {
            let window = Window::now_or_any();
            let (from, to) = (window.end(&before), window.end(&self.whole()));
            // After a full row the next one has been begun: a line break would begin another, and an accent would stand alone.
            if to_next_row(from, &before).is_empty() && to.row >= from.row {
                // What this moves out of the window has been seen.
                stderr.write(&format!("{}{}", on_screen(text), to_next_row(to, text)));
                self.row = (self.row + to.row - from.row).min(window.rows() - 1);
                return;
            }
        }
        self.reprint(stderr);
    }

    /// On a terminal where nothing can be shown but what is appended.
    fn append(&mut self, key: &Key, stderr: &Sink) {
        let before = self.line.text.len();
        match key {
            Key::Text(text) => stderr.write(&on_screen(text)),
            Key::Backspace => {}
            _ => return,
        }
        let text = self.line.text.clone();
        self.line.edit(key);
        if self.line.text.len() < before {
            let removed = on_screen(&text[self.line.text.len()..]);
            let removed = Window::now_or_any().end(&removed).column;
            stderr.write(&"\u{8} \u{8}".repeat(removed.into()));
        }
    }

    fn reprint(&mut self, stderr: &Sink) {
        stderr.write(&self.erase());
        self.print(stderr);
    }

    /// Moves to the first row that is shown, and erases all of them.
    fn erase(&self) -> String {
        let up = match self.row {
            0 => String::new(),
            rows => format!("\x1b[{rows}A"),
        };
        format!("\r{up}\x1b[J")
    }

    /// Prints as much as the window has room for, from the cursor's place, and moves the cursor to its place in it.
    fn print(&mut self, stderr: &Sink) {
        let window = Window::now_or_any();
        let whole = self.whole();
        let position = self.position();
        let part = window.part(0, &whole, position);
        self.is_cut |= part.is_some();
        let part = part.unwrap_or(0..whole.len());
        let shown = &whole[part.clone()];
        let mut end = window.end(shown);
        let cursor = whole.get(part.start..position).map(|before| window.end(before));
        let cursor = cursor.unwrap_or_default();
        let mut moves = String::new();
        if part.end == whole.len() {
            moves += to_next_row(end, shown);
        } else if end.column == 0 && end.row > 0 && !shown.ends_with('\n') {
            // The row after it is outside the window.
            end.row -= 1;
        }
        moves += "\r";
        if end.row > cursor.row {
            moves += &format!("\x1b[{}A", end.row - cursor.row);
        }
        if cursor.column > 0 {
            moves += &format!("\x1b[{}C", cursor.column);
        }
        stderr.write(&format!("{shown}{moves}"));
        self.row = cursor.row;
    }

    /// The cursor's in the whole.
    fn position(&self) -> usize {
        self.choices.len() + on_screen(&self.line.text[..self.line.cursor]).len()
    }

    fn whole(&self) -> String {
        format!("{}{}", self.choices, on_screen(&self.line.text))
    }
}

/// A tab as blanks, which take the same room wherever they stand.
fn on_screen(text: &str) -> String {
    text.replace('\t', "    ")
}

/// At the right edge, the cursor goes to the next row only with the next letter.
fn to_next_row(end: Position, text: &str) -> &'static str {
    if end.column == 0 && end.row > 0 && !text.ends_with('\n') {
        " \r"
    } else {
        ""
    }
}
