//! Misbehaving answers, and plain answers of each kind for comparison.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::component::exports::cofferdam::tool::tools::{Content, Error, Image, Unavailable};
use crate::{Outcome, size, string, text};

/// Colours, a bell, a new window title, a carriage return, a link, a bidirectional override.
const ESCAPES: &str = "\u{1b}[31mred\u{1b}[0m \u{7}\u{1b}]0;owned\u{7} first\rsecond \u{1b}]8;;http://evil.test\u{7}link\u{1b}]8;;\u{7} \
                       \u{9b}2J \u{202e}desrever\u{202c} \u{0}";

pub fn echo(input: &Value) -> Outcome {
    crate::json(input)
}

pub fn fail(input: &Value) -> Outcome {
    Err(Error::Failed(
        string(input, "message", "a deliberate failure").to_owned(),
    ))
}

pub fn reject_input(input: &Value) -> Outcome {
    Err(Error::InvalidInput(
        string(input, "message", "no input would do").to_owned(),
    ))
}

pub fn unavailable(input: &Value) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if input["until_unix_ms"]
        .as_u64()
        .is_some_and(|until| now.as_millis() >= u128::from(until))
    {
        return text("available");
    }
    Err(Error::Unavailable(Unavailable {
        message: string(input, "message", "deliberately unavailable").to_owned(),
        retry_after_ms: input["retry_after_ms"].as_u64(),
    }))
}

pub fn big_output(input: &Value) -> Outcome {
    text("x".repeat(size(input, "bytes", 0)))
}

pub fn bad_json(_: &Value) -> Outcome {
    Ok(vec![Content::Json("{ \"answer\": 42".to_owned())])
}

pub fn deep_json(input: &Value) -> Outcome {
    let depth = size(input, "depth", 1);
    Ok(vec![Content::Json(format!(
        "{}{}",
        "[".repeat(depth),
        "]".repeat(depth)
    ))])
}

pub fn empty_output(_: &Value) -> Outcome {
    Ok(Vec::new())
}

pub fn image(_: &Value) -> Outcome {
    let data = include_bytes!("pixel.png").to_vec();
    Ok(vec![Content::Image(Image {
        mime_type: "image/png".to_owned(),
        data,
    })])
}

pub fn bad_image(_: &Value) -> Outcome {
    Ok(vec![Content::Image(Image {
        mime_type: "text/html; \u{1b}[31m".to_owned(),
        data: b"<script>".to_vec(),
    })])
}

pub fn escape_sequences(_: &Value) -> Outcome {
    use std::io::Write;
    // Ignored: if the log refuses the text, the answer still contains it.
    let _ = writeln!(std::io::stdout(), "{ESCAPES}");
    text(ESCAPES)
}
