//! What is pasted, without the control sequences in it.
//!
//! The editor reads a paste by itself, but drops what it takes for a key: the letter after an escape, and the mark of the paste's end
//! if an escape stands before it. A log with colours has many, so the paste is put together here, from the keys that it was read as.

use std::fmt::Write;
use std::time::Duration;

use rustyline::{Cmd, KeyCode, KeyEvent, Modifiers, RepeatCount};
use tokio::time::Instant;

const ESCAPE: char = '\u{1b}';
const BELL: char = '\u{7}';

/// What is left of the mark of a paste's end after an escape sequence that was cut off and has swallowed the mark's first byte.
const END: &str = "\u{1b}[201~";

/// The pause that shows that a person types, and not a paste goes on.
const PAUSE: Duration = Duration::from_millis(50);

/// The paste that is being read, if there is one.
#[derive(Debug, Default)]
pub enum Paste {
    #[default]
    None,
    Reading(String),
    /// It seems to have ended, but a text can be made to look so, whose rest would then be typed: commands, with their Enter. So
    /// what comes without a pause is text. The last key came at this time.
    Ending(Instant),
}

impl Paste {
    /// Takes a key if it is part of a paste, and says what the editor does about it. `count` and `is_positive` are the number that
    /// the editor read after an escape and takes for an argument of this key.
    pub fn take(&mut self, key: KeyEvent, count: RepeatCount, is_positive: bool) -> Option<Cmd> {
        let KeyEvent(code, modifiers) = key;
        if let Self::Ending(last) = self {
            match last.elapsed() < PAUSE {
                true => *last = Instant::now(),
                false => *self = Self::None,
            }
        }
        let text = match self {
            Self::Reading(text) => text,
            Self::Ending(_) if code == KeyCode::BracketedPasteEnd => {
                *self = Self::None;
                return Some(Cmd::Noop);
            }
            Self::Ending(_) => return Some(inserted(code, modifiers)),
            Self::None if code == KeyCode::BracketedPasteStart => {
                *self = Self::Reading(String::new());
                return Some(Cmd::Noop);
            }
            Self::None => return None,
        };
        if !is_positive {
            text.push('-');
        }
        if count != 1 {
            let _ = write!(text, "{count}");
        }
        let is_control = modifiers.contains(Modifiers::CTRL);
        match code {
            KeyCode::BracketedPasteEnd => {
                let text = std::mem::take(text);
                *self = Self::None;
                return Some(whole(&text));
            }
            KeyCode::Enter => text.push('\r'),
            KeyCode::Tab => text.push('\t'),
            KeyCode::Char('J') if is_control => text.push('\n'),
            KeyCode::Char('G') if is_control => text.push(BELL),
            KeyCode::Char(letter) if !is_control => {
                if modifiers.contains(Modifiers::ALT) {
                    text.push(ESCAPE);
                }
                text.push(letter);
            }
            KeyCode::Esc | KeyCode::UnknownEscSeq => text.push(ESCAPE),
            // Other control characters, and sequences that are keys: they aren't text.
            _ => {}
        }
        if let Some(text) = text.strip_suffix(END) {
            let paste = whole(text);
            *self = Self::Ending(Instant::now());
            return Some(paste);
        }
        Some(Cmd::Noop)
    }
}

fn whole(text: &str) -> Cmd {
    Cmd::Insert(1, text_of(text))
}

/// The text of a paste, without what is for the terminal.
pub fn text_of(pasted: &str) -> String {
    let text = without_commands(pasted).replace([ESCAPE, BELL], "");
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Without what is for the terminal alone, such as the address of a link: `ESC ] … ESC \`, or with a bell at its end.
fn without_commands(text: &str) -> String {
    let (mut kept, mut rest) = (String::new(), text);
    while let Some((before, command)) = rest.split_once("\u{1b}]") {
        kept.push_str(before);
        let end = command.find([ESCAPE, BELL]).map_or("", |end| &command[end..]);
        let after = end.strip_prefix(BELL).or_else(|| end.strip_prefix("\u{1b}\\"));
        rest = after.unwrap_or_else(|| {
            kept.push(']');
            command
        });
    }
    kept + rest
}

/// A key that isn't one.
fn inserted(code: KeyCode, modifiers: Modifiers) -> Cmd {
    match code {
        KeyCode::Enter => Cmd::Insert(1, "\n".to_owned()),
        KeyCode::Tab => Cmd::Insert(1, "\t".to_owned()),
        KeyCode::Char(letter) if !modifiers.contains(Modifiers::CTRL) => Cmd::Insert(1, letter.to_string()),
        _ => Cmd::Noop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(paste: &mut Paste, keys: &[KeyCode]) -> (String, Vec<KeyCode>) {
        let (mut text, mut others) = (String::new(), Vec::new());
        for code in keys {
            match paste.take(KeyEvent(*code, Modifiers::NONE), 1, true) {
                Some(Cmd::Insert(_, inserted)) => text += &inserted,
                Some(_) => {}
                None => others.push(*code),
            }
        }
        (text, others)
    }

    fn letters(text: &str) -> Vec<KeyCode> {
        text.chars().map(KeyCode::Char).collect()
    }

    /// `ESC[K` is read as a sequence that the editor doesn't know, so what follows it looks like a paste's end.
    fn pasted() -> Vec<KeyCode> {
        let begin = [KeyCode::BracketedPasteStart, KeyCode::Char('a'), KeyCode::UnknownEscSeq];
        [begin.to_vec(), letters("[201~")].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn a_paste_that_looks_ended_goes_on_as_text() {
        let mut paste = Paste::default();
        let rest = [letters("/exit"), vec![KeyCode::Enter, KeyCode::Tab, KeyCode::Up]].concat();
        let end = vec![KeyCode::BracketedPasteEnd];
        let (text, keys) = typed(&mut paste, &[pasted(), rest, end].concat());
        assert_eq!((text.as_str(), keys.as_slice()), ("a/exit\n\t", [].as_slice()));
        let (text, keys) = typed(&mut paste, &[KeyCode::Enter]);
        assert_eq!((text.as_str(), keys.as_slice()), ("", [KeyCode::Enter].as_slice()));
    }

    #[test]
    fn a_command_for_the_terminal_is_no_text() {
        for (pasted, text) in [
            ("a \u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\ b", "a link b"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("an open one: \u{1b}]8;;x", "an open one: ]8;;x"),
            ("\u{1b}]8;;x\u{1b}[1mbold\u{7}", "]8;;x\u{1b}[1mbold\u{7}"),
        ] {
            assert_eq!(without_commands(pasted), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_person_types_after_it_are_keys() {
        let mut paste = Paste::default();
        assert_eq!(typed(&mut paste, &pasted()), ("a".to_owned(), Vec::new()));
        tokio::time::advance(PAUSE).await;
        assert_eq!(typed(&mut paste, &[KeyCode::Enter]).1, [KeyCode::Enter]);
    }
}
