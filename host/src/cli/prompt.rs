//! Where a prompt comes from, and what is not one.

use std::io::{self, BufRead, IsTerminal, Read};

use super::CliError;

/// Bytes of one prompt, far above any model's context window. What is longer is refused before it is held in memory.
pub const MAX_PROMPT_BYTES: u64 = 16 << 20;

/// The prompt of `run`: the argument, or stdin where the argument is `-` or missing.
///
/// # Errors
/// There is no prompt, or it is empty, too long or not UTF-8.
pub fn read(argument: Option<String>) -> Result<String, CliError> {
    match argument {
        Some(text) if text != "-" => check(text),
        None if io::stdin().is_terminal() => Err(CliError::usage(
            "no prompt given",
            "write it as an argument, or pipe it into stdin: `cofferdam run -`",
        )),
        _ => from_reader(io::stdin().lock()),
    }
}

fn from_reader(reader: impl Read) -> Result<String, CliError> {
    let mut text = String::new();
    reader
        .take(MAX_PROMPT_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(CliError::Stdin)?;
    check(text)
}

/// The next line of `chat`; `None` at the end of the input.
///
/// # Errors
/// As [`read`].
pub fn read_line(reader: &mut impl BufRead) -> Result<Option<String>, CliError> {
    let mut line = Vec::new();
    let read = reader
        .take(MAX_PROMPT_BYTES + 1)
        .read_until(b'\n', &mut line)
        .map_err(CliError::Stdin)?;
    if read as u64 > MAX_PROMPT_BYTES {
        return Err(too_long());
    }
    // A stray byte is no reason to end a conversation.
    let line = String::from_utf8_lossy(&line);
    Ok((read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
}

fn check(text: String) -> Result<String, CliError> {
    if text.len() as u64 > MAX_PROMPT_BYTES {
        return Err(too_long());
    }
    if text.trim().is_empty() {
        return Err(CliError::usage("the prompt is empty", "say what the agent should do"));
    }
    Ok(text)
}

fn too_long() -> CliError {
    CliError::usage(
        format!("the prompt is longer than {}", super::format::bytes(MAX_PROMPT_BYTES)),
        "no model reads that much at once; give the agent a part of it",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_prompt_is_taken_as_it_is() {
        assert_eq!(read(Some(" What is 25 * 17? ".into())).unwrap(), " What is 25 * 17? ");
        assert_eq!(from_reader(&b"two\nlines\n"[..]).unwrap(), "two\nlines\n");
    }

    #[test]
    fn what_is_no_prompt_is_refused() {
        assert!(matches!(read(Some("  ".into())), Err(CliError::Usage { .. })));
        assert!(matches!(from_reader(&b""[..]), Err(CliError::Usage { .. })));
        assert!(matches!(from_reader(&b"\xff\xfe"[..]), Err(CliError::Stdin(_))));
        assert!(matches!(from_reader(io::repeat(b'a')), Err(CliError::Usage { .. })));
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
