//! Text from the bytes of keys, for where the line editor doesn't read: between two lines, and at a question.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::paste;
use super::terminal::TerminalMode;

const ESCAPE: u8 = 0x1b;
const PASTE_BEGIN: &[u8] = b"200";
const PASTE_END: &[u8] = b"\x1b[201~";

const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// How often it is looked whether something was typed.
pub const LOOK_EVERY: Duration = Duration::from_millis(30);
/// The most that is read at once.
const MAX_READ_BYTES: usize = 4096;

/// What was typed before anything asked for it. It is for the next line, whatever reads it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct TypedAhead {
    bytes: Arc<Mutex<Vec<u8>>>,
    is_awaited: Arc<AtomicBool>,
    /// Whether something came from the terminal that no question has announced.
    is_news: Arc<AtomicBool>,
    /// Whether a question reads the terminal.
    is_asked: Arc<AtomicBool>,
}

/// What was typed before a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// Enter is a line break.
    pub text: String,
    /// Ctrl-D, and no text.
    pub ends: bool,
    /// Ctrl-Z.
    pub stops: bool,
}

impl TypedAhead {
    /// There are lines to come.
    pub fn await_lines(&self) {
        self.is_awaited.store(true, Ordering::Relaxed);
    }

    pub fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }

    pub fn push(&self, bytes: &[u8]) {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
    }

    /// A text that doesn't go on with what was typed before it.
    pub fn push_line(&self, text: &str) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if !text.is_empty() && bytes.last().is_some_and(|last| !matches!(last, b'\n' | b'\r')) {
            bytes.push(b'\n');
        }
        bytes.extend(text.as_bytes());
    }

    /// Takes what was typed on the terminal until now, and returns that.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn read_terminal(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let bytes = read_keys()?;
            if bytes.is_empty() {
                return Ok(all);
            }
            self.is_news.store(true, Ordering::Relaxed);
            self.push(&bytes);
            all.extend(bytes);
        }
    }

    /// Takes what is typed on the terminal, as it is typed: what a terminal holds is gone with it. While a question is asked, or other
    /// programs have the terminal, it is theirs. Never returns.
    pub async fn collect(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let is_ours = !self.is_asked.load(Ordering::Relaxed) && TerminalMode::is_in_foreground();
            if is_ours && self.read_terminal().is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// While a question is asked, it reads the terminal.
    pub fn set_asked(&self, is_asked: bool) {
        self.is_asked.store(is_asked, Ordering::Relaxed);
    }

    /// Whether something was typed that no question has announced. Once.
    pub fn take_news(&self) -> bool {
        self.is_news.swap(false, Ordering::Relaxed)
    }

    /// All of it, once.
    pub fn take(&self) -> Typed {
        let bytes = std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner));
        self.is_news.store(false, Ordering::Relaxed);
        let (mut decoder, mut line) = (Decoder::default(), TypedLine::default());
        let mut typed = Typed::default();
        for byte in bytes {
            match decoder.key(byte) {
                Some(Key::Enter) => line.insert("\n"),
                Some(Key::EndOfInput) => typed.ends = true,
                Some(Key::Suspend) => typed.stops = true,
                Some(key) => drop(line.edit(&key)),
                None => {}
            }
        }
        line.insert(&decoder.unfinished_paste());
        Typed {
            ends: typed.ends && line.text.is_empty(),
            text: line.text,
            ..typed
        }
    }
}

/// What was typed; empty if nothing was.
///
/// # Errors
/// The terminal is gone.
pub fn read_keys() -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    if poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&NO_TIME))? == 0 {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; MAX_READ_BYTES];
    let count = rustix::io::read(&stdin, &mut bytes)?;
    bytes.truncate(count);
    match count {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(bytes),
    }
}

/// A key, as far as it matters for a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A letter, or what is pasted.
    Text(String),
    Enter,
    Backspace,
    Delete,
    Left,
    Right,
    Home,
    End,
    /// Ctrl-W.
    Word,
    /// Ctrl-U.
    ToBeginning,
    /// Ctrl-K.
    ToEnd,
    /// Ctrl-Y.
    Yank,
    /// Ctrl-D.
    EndOfInput,
    /// Ctrl-Z.
    Suspend,
    /// Another one, which is no text.
    Other,
}

/// Makes keys of bytes, which may come in any pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a key.
    begun: Vec<u8>,
    paste: Option<Vec<u8>>,
}

impl Decoder {
    /// The key that ends with this byte.
    pub fn key(&mut self, byte: u8) -> Option<Key> {
        if let Some(paste) = &mut self.paste {
            paste.push(byte);
            let end = paste.ends_with(PASTE_END).then(|| paste.len() - PASTE_END.len())?;
            paste.truncate(end);
            return Some(Key::Text(self.unfinished_paste()));
        }
        self.begun.push(byte);
        let key = match self.begun.as_slice() {
            [ESCAPE] | [ESCAPE, b'[' | b'O'] => return None,
            [ESCAPE, b'[', .., last] if !(0x40..=0x7e).contains(last) => return None,
            [ESCAPE, b'[', parameters @ .., b'~'] if parameters == PASTE_BEGIN => {
                self.begun.clear();
                self.paste = Some(Vec::new());
                return None;
            }
            [ESCAPE, b'[' | b'O', parameters @ .., last] => sequence(parameters, *last),
            [ESCAPE, b'\r' | b'\n'] => Key::Text("\n".to_owned()),
            [ESCAPE, _] => Key::Other,
            [b'\r' | b'\n'] => Key::Enter,
            [0x7f | 0x08] => Key::Backspace,
            [0x01] => Key::Home,
            [0x04] => Key::EndOfInput,
            [0x05] => Key::End,
            [0x0b] => Key::ToEnd,
            [0x15] => Key::ToBeginning,
            [0x17] => Key::Word,
            [0x19] => Key::Yank,
            [0x1a] => Key::Suspend,
            [b'\t'] => Key::Text("\t".to_owned()),
            [..=0x1f] => Key::Other,
            bytes => match std::str::from_utf8(bytes) {
                Ok(letter) => Key::Text(letter.to_owned()),
                Err(error) if error.error_len().is_none() => return None,
                Err(_) => Key::Other,
            },
        };
        self.begun.clear();
        Some(key)
    }

    /// What was pasted so far.
    fn unfinished_paste(&mut self) -> String {
        let paste = self.paste.take().unwrap_or_default();
        let text = paste::text_of(&String::from_utf8_lossy(&paste));
        text.replace(|letter: char| letter.is_control() && !matches!(letter, '\n' | '\t'), "")
    }
}

/// The key of a control sequence.
fn sequence(parameters: &[u8], last: u8) -> Key {
    match (parameters, last) {
        (_, b'C') => Key::Right,
        (_, b'D') => Key::Left,
        (_, b'H') | ([b'1' | b'7'], b'~') => Key::Home,
        (_, b'F') | ([b'4' | b'8'], b'~') => Key::End,
        ([b'3'], b'~') => Key::Delete,
        _ => Key::Other,
    }
}

/// A line with a cursor.
#[derive(Clone, Debug, Default)]
pub struct TypedLine {
    pub text: String,
    /// In bytes.
    pub cursor: usize,
    /// What Ctrl-U, Ctrl-K and Ctrl-W, one after the other, removed last.
    killed: String,
    /// The last key was one of them.
    is_killing: bool,
}

impl TypedLine {
    pub fn insert(&mut self, text: &str) {
        self.text.insert_str(self.cursor, text);
        self.cursor += text.len();
    }

    /// Whether the key has changed the line or moved the cursor.
    pub fn edit(&mut self, key: &Key) -> bool {
        let before = (self.text.len(), self.cursor);
        let was_killing = std::mem::take(&mut self.is_killing);
        match key {
            Key::Text(text) => self.insert(text),
            Key::Backspace => drop(self.remove(self.left()..self.cursor)),
            Key::Word => {
                let kept = self.text[..self.cursor].trim_end();
                let begins = kept.rfind(char::is_whitespace);
                // A blank may have several bytes.
                let begins = begins.and_then(|blank| Some(blank + kept[blank..].chars().next()?.len_utf8()));
                self.kill(begins.unwrap_or(0)..self.cursor, was_killing);
            }
            Key::ToBeginning => self.kill(0..self.cursor, was_killing),
            Key::Delete => drop(self.remove(self.cursor..self.right())),
            Key::ToEnd => self.kill(self.cursor..self.text.len(), was_killing),
            Key::Yank => self.insert(&self.killed.clone()),
            Key::Left => self.cursor = self.left(),
            Key::Right => self.cursor = self.right(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::Enter | Key::EndOfInput | Key::Suspend | Key::Other => {}
        }
        before != (self.text.len(), self.cursor)
    }

    /// Removes what Ctrl-Y brings back, together with what was removed before it if it goes on with that. Nothing replaces nothing.
    fn kill(&mut self, range: Range<usize>, goes_on: bool) {
        self.is_killing = goes_on || !range.is_empty();
        if !self.is_killing {
            return;
        }
        if !goes_on {
            self.killed.clear();
        }
        let joint = if range.start < self.cursor {
            0
        } else {
            self.killed.len()
        };
        let removed = self.remove(range);
        self.killed.insert_str(joint, &removed);
    }

    /// Removes what lies on one side of the cursor.
    fn remove(&mut self, range: Range<usize>) -> String {
        self.cursor = self.cursor.min(range.start);
        self.text.drain(range).collect()
    }

    fn left(&self) -> usize {
        let before = self.text[..self.cursor].char_indices().next_back();
        before.map_or(0, |(position, _)| position)
    }

    fn right(&self) -> usize {
        let letter = self.text[self.cursor..].chars().next();
        self.cursor + letter.map_or(0, char::len_utf8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_were_typed_ahead_are_text() {
        for (typed, text) in [
            ("one\rtwo\n", "one\ntwo\n"),
            ("tow\u{7f}\u{7f}wo", "two"),
            ("mnay\u{1b}[D\u{1b}[D\u{1b}[D\u{7f}m\u{1b}[C\u{1b}[3~\u{1b}[Fn", "mnyn"),
            ("a b\u{17}c\u{1}>\u{5}<", ">a c<"),
            ("a\u{15}b\u{1b}[D\u{b}c", "c"),
            (
                "one two\u{17}\u{19}, \u{1}\u{b}<\u{19}\u{19}\u{15}\u{19}>",
                "<one two, one two, >",
            ),
            // Nothing that is removed leaves what was removed before; what goes on with it is one.
            ("text\u{15}\u{15}\u{19}, \u{b}\u{19}", "text, text"),
            ("one two three\u{17}\u{17}\u{19}", "one two three"),
            ("one two\u{1b}[D\u{1b}[D\u{1b}[D\u{b}\u{15}\u{19}!", "one two!"),
            ("a b\u{17}\u{1b}[D\u{17}\u{19}", "a "),
            ("é字\u{7f}\u{1b}[A\u{1b}OP\u{1b}[1;5C\u{1b}x\u{7}!", "é!"),
            ("\u{1b}[200~one\r\ntwo\u{7}\u{1b}[201~, typed", "one\ntwo, typed"),
            ("\u{1b}[200~not ended", "not ended"),
            ("cut \u{1b}[", "cut "),
        ] {
            let ahead = TypedAhead::default();
            // In pieces of a byte each.
            typed.bytes().for_each(|byte| ahead.push(&[byte]));
            assert_eq!(ahead.take().text, text, "{typed:?}");
            assert_eq!(ahead.take(), Typed::default());
        }
        let ahead = TypedAhead::default();
        for line in ["", "one", "", "two\n", "three"] {
            ahead.push_line(line);
        }
        assert_eq!(ahead.take().text, "one\ntwo\nthree");
        ahead.push(b"caf\xe9 au \xc3\xa9");
        assert_eq!(ahead.take().text, "cafau \u{e9}");
    }

    #[test]
    fn keys_for_the_program_can_be_typed_ahead() {
        for (typed, ends, stops) in [
            ("\u{4}", true, false),
            ("gone\u{15}\u{4}", true, false),
            ("text\u{4}", false, false),
            ("\u{4}text", false, false),
            ("text\u{1a}", false, true),
        ] {
            let ahead = TypedAhead::default();
            ahead.push(typed.as_bytes());
            let taken = ahead.take();
            assert_eq!((taken.ends, taken.stops), (ends, stops), "{typed:?}");
        }
    }
}
