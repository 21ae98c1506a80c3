//! Reads and checks prompts.

use std::io::{self, BufRead, IsTerminal, Read};

use super::CliError;

/// The most bytes in one prompt, far above any model's context window. A longer prompt is refused before it is read into
/// memory as a whole.
pub const MAX_PROMPT_BYTES: u64 = 16 << 20;

/// The prompt of `run`: the argument, or stdin if the argument is `-` or missing.
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

/// The next line of a prompt; `None` at the end of the input.
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
    // Invalid UTF-8 in one line must not end the conversation.
    let line = String::from_utf8_lossy(&line);
    Ok((read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// # Errors
/// As [`read`].
pub fn check(text: String) -> Result<String, CliError> {
    if text.len() as u64 > MAX_PROMPT_BYTES {
        return Err(too_long());
    }
    if text.trim().is_empty() {
        return Err(CliError::usage(
            "the prompt is empty",
            "describe what the agent should do",
        ));
    }
    Ok(text)
}

fn too_long() -> CliError {
    CliError::usage(
        format!("the prompt is longer than {}", super::format::bytes(MAX_PROMPT_BYTES)),
        "no model accepts that much; split it into smaller prompts",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_prompt_is_not_trimmed() {
        assert_eq!(read(Some(" What is 25 * 17? ".into())).unwrap(), " What is 25 * 17? ");
        assert_eq!(from_reader(&b"two\nlines\n"[..]).unwrap(), "two\nlines\n");
    }

    #[test]
    fn invalid_prompts_are_refused() {
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
