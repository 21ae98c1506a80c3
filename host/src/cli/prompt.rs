//! Reads and checks prompts, and other text from stdin.

use std::io::{self, BufRead, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FileType;

use super::{CliError, Context};
use crate::regular_file;
use crate::transcript::tagged;

/// The most bytes in one prompt, far above any model's context window. A longer prompt is refused before it is read into
/// memory as a whole.
pub const MAX_PROMPT_BYTES: u64 = 16 << 20;

/// The most bytes of a line that Linux takes from a terminal which edits lines itself. It drops the rest without a word.
const MAX_TERMINAL_LINE: usize = 4095;

/// How long stdin can say nothing before a line says what the program waits for.
const SILENCE: Duration = Duration::from_secs(1);

/// What a text is for, in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Prompt,
    /// The input of a tool.
    Input,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Input => "input",
        }
    }

    const fn hint(self) -> &'static str {
        match self {
            Self::Prompt => "describe what the agent should do",
            Self::Input => "write a JSON object; `{}` is one without any property",
        }
    }
}

/// The prompt of `run`: the words and the literal ones, then the files, then what is piped into stdin. Without words or files, or where a
/// word is `-`, it waits for stdin whatever that is.
///
/// # Errors
/// There is no prompt, or it is empty, too long or not UTF-8, or a word looks like an option.
pub async fn read(cx: &Context, words: &[String], literal: &[String], files: &[PathBuf]) -> Result<String, CliError> {
    if let Some(option) = words.iter().find(|word| looks_like_an_option(word)) {
        return Err(CliError::usage(
            format!("there is no option `{option}`"),
            "`cofferdam run --help` lists the options; if it is meant as part of the prompt, write it behind `--`, or pipe the prompt \
             into `cofferdam run -`",
        ));
    }
    let (dashes, mut words): (Vec<&str>, Vec<&str>) = words.iter().map(String::as_str).partition(|word| *word == "-");
    words.extend(literal.iter().map(String::as_str));
    let mut parts: Vec<String> = Vec::new();
    let mut is_blank = words.is_empty();
    if !words.is_empty() {
        parts.push(words.join(" "));
    }
    for file in files {
        if file.as_os_str() == "-" && !file.exists() {
            return Err(CliError::usage(
                "`-` isn't a file",
                "leave it out: what is piped into stdin is added to the prompt",
            ));
        }
        let (name, text) = (file.display().to_string(), file_text(file)?);
        if text.is_empty() {
            cx.note(&format!("{} is empty", super::format::escape(&name)));
        }
        is_blank &= text.trim().is_empty();
        // Models tell it from the prompt by its tags.
        parts.push(tagged(&name, &text));
    }
    let is_wanted = !dashes.is_empty() || parts.is_empty();
    if is_wanted || is_piped(io::stdin()) {
        if parts.is_empty() && dashes.is_empty() && io::stdin().is_terminal() {
            return Err(CliError::usage(
                "no prompt given",
                "write it as an argument, or pipe it into stdin: `cofferdam run -`",
            ));
        }
        let piped = from_stdin(cx, Purpose::Prompt).await?;
        is_blank &= piped.trim().is_empty();
        // An empty pipe adds nothing: a supervisor's, for example.
        if !piped.trim().is_empty() || parts.is_empty() {
            if !is_wanted {
                // A loop over a file's lines, for example, may not have meant it.
                let size = super::format::bytes(piped.len() as u64);
                cx.note(&format!(
                    "added {size} from stdin to the prompt; `</dev/null` keeps it out"
                ));
            }
            parts.push(piped);
        }
    }
    // Files without a text are only their names.
    let prompt = if is_blank { String::new() } else { parts.join("\n\n") };
    check(prompt, Purpose::Prompt)
}

/// The text of stdin for another purpose.
///
/// # Errors
/// It is empty, too long or not UTF-8.
pub async fn read_stdin(cx: &Context, purpose: Purpose) -> Result<String, CliError> {
    check(from_stdin(cx, purpose).await?, purpose)
}

/// Whether this is an option that doesn't exist, for example with a typing error, or with a dash that an editor has made longer. As
/// part of a prompt it would be paid for.
fn looks_like_an_option(word: &str) -> bool {
    if word.contains(char::is_whitespace) {
        return false;
    }
    let letters = ["--", "–", "—"].iter().find_map(|dash| word.strip_prefix(dash));
    let begins = |text: &str| text.starts_with(|letter: char| letter.is_ascii_alphabetic());
    match (letters, word.strip_prefix('-')) {
        (Some(letters), _) => begins(letters),
        (None, Some(letters)) => {
            let name = letters.split('=').next().unwrap_or_default();
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
            begins(letters) && name.chars().all(is_plain)
        }
        (None, None) => false,
    }
}

/// Whether something is piped or redirected into stdin. A device, such as a terminal or `/dev/null`, has nothing to add, and a
/// socket is what some supervisors leave there.
fn is_piped(stdin: impl AsFd) -> bool {
    let kind = rustix::fs::fstat(stdin).map(|status| FileType::from_raw_mode(status.st_mode));
    matches!(kind, Ok(FileType::Fifo | FileType::RegularFile))
}

/// The text of a file, which must be UTF-8.
fn file_text(path: &Path) -> Result<String, CliError> {
    let unreadable = |source| CliError::Read {
        path: path.to_owned(),
        source,
    };
    let file = regular_file::open(path).map_err(unreadable)?;
    from_reader(file, Purpose::Prompt).map_err(|error| match error {
        CliError::Stdin { source, .. } => unreadable(source),
        error => error,
    })
}

/// Reads stdin to its end, and says so if it takes long and a person can wonder.
async fn from_stdin(cx: &Context, purpose: Purpose) -> Result<String, CliError> {
    let mut reading = tokio::task::spawn_blocking(move || {
        let stdin = io::stdin().lock();
        let is_terminal = stdin.is_terminal();
        let text = from_reader(stdin, purpose)?;
        match is_terminal && text.lines().any(is_cut) {
            true => Err(cut_line(purpose)),
            false => Ok(text),
        }
    });
    let read = tokio::select! {
        read = &mut reading => read,
        () = tokio::time::sleep(SILENCE) => {
            let name = purpose.name();
            cx.note(&match io::stdin().is_terminal() {
                true => format!("reading the {name} from the terminal; Ctrl-D at the beginning of a line ends it"),
                false => format!("reading the {name} from stdin until it ends; `</dev/null` if there is nothing to read"),
            });
            reading.await
        }
    };
    read.map_err(|error| CliError::Stdin {
        what: purpose.name(),
        source: io::Error::other(error),
    })?
}

fn from_reader(reader: impl Read, purpose: Purpose) -> Result<String, CliError> {
    let mut text = String::new();
    let read = reader.take(MAX_PROMPT_BYTES + 1).read_to_string(&mut text);
    read.map_err(|source| CliError::Stdin {
        what: purpose.name(),
        source,
    })?;
    if text.len() as u64 > MAX_PROMPT_BYTES {
        return Err(too_long(purpose));
    }
    Ok(without_mark(text))
}

/// Editors of some systems begin a file with a byte order mark, which isn't part of its text.
fn without_mark(text: String) -> String {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

/// The next line of a prompt; `None` at the end of the input.
///
/// # Errors
/// As [`read`].
pub fn read_line(reader: &mut impl BufRead) -> Result<Option<String>, CliError> {
    let mut line = Vec::new();
    let read = reader
        .take(MAX_PROMPT_BYTES + 1)
        .read_until(b'\n', &mut line)
        .map_err(|source| CliError::Stdin {
            what: Purpose::Prompt.name(),
            source,
        })?;
    if read as u64 > MAX_PROMPT_BYTES {
        return Err(too_long(Purpose::Prompt));
    }
    // Invalid UTF-8 in one line must not end the conversation.
    let line = String::from_utf8_lossy(&line);
    let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
    Ok((read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// # Errors
/// As [`read`].
pub fn check(text: String, purpose: Purpose) -> Result<String, CliError> {
    if text.len() as u64 > MAX_PROMPT_BYTES {
        return Err(too_long(purpose));
    }
    if text.trim().is_empty() {
        return Err(CliError::usage(
            format!("the {} is empty", purpose.name()),
            purpose.hint(),
        ));
    }
    Ok(text)
}

/// Whether a terminal has passed on only the beginning of this line.
pub fn is_cut(line: &str) -> bool {
    line.len() >= MAX_TERMINAL_LINE
}

/// The error for such a line, of which nothing may be used.
pub fn cut_line(purpose: Purpose) -> CliError {
    CliError::usage(
        format!(
            "the terminal cut a line off after {} bytes, so nothing was sent",
            super::format::count(MAX_TERMINAL_LINE as u64)
        ),
        match purpose {
            Purpose::Prompt => {
                "write shorter lines, or put the text into a file: `cofferdam run --file FILE`; with another TERM than `dumb`, `cofferdam \
                 chat` takes lines of any length"
            }
            Purpose::Input => "write shorter lines, or pipe the input into the command",
        },
    )
}

/// The error for what was typed or pasted with other bytes in it.
pub fn not_utf8() -> CliError {
    CliError::usage(
        "what was typed or pasted isn't UTF-8, so it was left out",
        "set the terminal to UTF-8, or send the text as a file: `iconv -f latin1 -t utf-8 FILE` converts it",
    )
}

fn too_long(purpose: Purpose) -> CliError {
    CliError::usage(
        format!(
            "the {} is longer than {}",
            purpose.name(),
            super::format::bytes(MAX_PROMPT_BYTES)
        ),
        match purpose {
            Purpose::Prompt => "no model accepts that much; split it into smaller prompts",
            Purpose::Input => "split it into smaller calls",
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;

    use super::*;

    #[test]
    fn a_text_is_not_trimmed() {
        assert_eq!(
            check(" What is 25 * 17? ".into(), Purpose::Prompt).unwrap(),
            " What is 25 * 17? "
        );
        assert_eq!(
            from_reader(&b"two\nlines\n"[..], Purpose::Prompt).unwrap(),
            "two\nlines\n"
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        let text = from_reader("\u{feff}a\u{feff}".as_bytes(), Purpose::Input).unwrap();
        assert_eq!(text, "a\u{feff}");
        let empty = from_reader("\u{feff}".as_bytes(), Purpose::Input).unwrap();
        let error = check(empty, Purpose::Input).unwrap_err();
        assert_eq!(error.to_string(), "the input is empty");
    }

    #[test]
    fn invalid_prompts_are_refused() {
        let read = |bytes: &'static [u8]| from_reader(bytes, Purpose::Prompt);
        assert!(matches!(
            check("  ".into(), Purpose::Prompt),
            Err(CliError::Usage { .. })
        ));
        assert!(matches!(read(b"\xff\xfe"), Err(CliError::Stdin { .. })));
        let endless = from_reader(io::repeat(b'a'), Purpose::Prompt);
        assert!(matches!(endless, Err(CliError::Usage { .. })));
    }

    #[test]
    fn options_with_typing_errors_are_not_text() {
        for word in [
            "--modle",
            "--modle=x",
            "-x",
            "-abc",
            "--max_iterations",
            "--allow-http:https://x",
            "—model",
            "–model",
            "-a_b=x",
        ] {
            assert!(looks_like_an_option(word), "{word}");
        }
        for word in [
            "-",
            "--",
            "- list things",
            "-5 + 3",
            "-5",
            "--- a",
            "-- b",
            "-x y",
            "a-b",
            "—",
            "-=x",
        ] {
            assert!(!looks_like_an_option(word), "{word}");
        }
    }

    #[test]
    fn a_file_is_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "\u{feff}one\ntwo").unwrap();
        assert_eq!(file_text(&path).unwrap(), "one\ntwo");
        for bytes in [None, Some(b"\xff")] {
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            assert!(matches!(file_text(&path), Err(CliError::Read { .. })));
        }
    }

    #[test]
    fn only_pipes_and_files_are_read_beside_a_prompt() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_piped(File::create(folder.path().join("a")).unwrap()));
        assert!(is_piped(io::pipe().unwrap().0));
        assert!(!is_piped(File::open("/dev/null").unwrap()));
        assert!(!is_piped(std::os::unix::net::UnixStream::pair().unwrap().0));
    }

    #[test]
    fn a_conversation_is_read_line_by_line() {
        let mut input = &b"one\r\n\ntwo"[..];
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, ["one", "", "two"]);
        assert!(matches!(
            read_line(&mut io::BufReader::new(io::repeat(b'a'))),
            Err(CliError::Usage { .. })
        ));
    }
}
