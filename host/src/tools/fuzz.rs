//! What a tool says of itself, and what it answers.

use serde_json::Value;

use super::content::{Part, convert};
use super::schema::InputSchema;
use crate::sandbox::{Content, Image};

/// Between a schema and an input for it.
const BETWEEN: &str = "\n---\n";
/// Steps of a check that are waited for; longer ones have a deadline.
const MOST_WORK: u64 = 50_000_000;
const OUTPUT_BYTES: u64 = 1 << 20;

/// A schema, and an input that is checked against it.
pub fn schema(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (schema, input) = text.split_once(BETWEEN).unwrap_or((&text, "{}"));
    let (Ok(schema), Ok(input)) = (InputSchema::parse(schema), serde_json::from_str::<Value>(input)) else {
        return;
    };
    if schema.work(input.to_string().len()) <= MOST_WORK {
        let violations = schema.violations(&input);
        // What is listed is read by a model.
        assert!(violations.len() <= 21 && violations.iter().all(|violation| violation.len() < 2_000));
    }
}

/// A result of up to three parts. The first byte says what each of them is; they have equal shares of the rest.
pub fn result(data: &[u8]) {
    let Some((kinds, data)) = data.split_first() else {
        return;
    };
    let pieces = data.chunks(data.len().div_ceil(3).max(1));
    let parts: Vec<Content> = pieces
        .enumerate()
        .map(|(index, piece)| part(kinds >> (2 * index), piece))
        .collect();
    let is_json = |part: &Content| match part {
        Content::Json(text) => serde_json::from_str::<Value>(text).is_ok(),
        _ => true,
    };
    let all_json = parts.iter().all(is_json);
    match convert(parts, OUTPUT_BYTES) {
        Ok(converted) => {
            assert!(all_json, "text that is no JSON");
            let is_known = |part: &Part| match part {
                Part::Text { .. } => true,
                Part::Image { media_type, .. } => media_type.starts_with("image/"),
            };
            assert!(converted.iter().all(is_known));
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
}

fn part(kind: u8, bytes: &[u8]) -> Content {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    match kind & 3 {
        0 => Content::Text(text()),
        1 | 2 => Content::Json(text()),
        _ => Content::Image(Image {
            mime_type: "image/png".to_owned(),
            data: bytes.to_vec(),
        }),
    }
}
