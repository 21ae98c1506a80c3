//! Fuzz targets for a tool's input schema and its results.

use super::content::{Part, convert};
use super::schema::InputSchema;
use crate::json_text::Json;
use crate::sandbox::{Content, Image};
use crate::transcript::ToolInput;

/// Separates a schema from an input for it.
const SEPARATOR: &str = "\n---\n";
/// Skips checks with more steps. In production those run with a deadline.
const MAX_STEPS: u64 = 50_000_000;
const OUTPUT_BYTES: u64 = 1 << 20;

/// Compiles a schema and checks an input against it.
pub fn schema(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (schema, input) = text.split_once(SEPARATOR).unwrap_or((&text, "{}"));
    let (Ok(schema), input) = (InputSchema::parse(schema), ToolInput::read(input)) else {
        return;
    };
    // A model reads problems and violations, so they must stay short.
    assert!(input.problem().is_none_or(|problem| problem.len() < 5_000));
    if schema.max_steps(input.text().len()) > MAX_STEPS {
        return;
    }
    match schema.check(&input) {
        Err(violations) => {
            assert!(violations.len() <= 21 && violations.iter().all(|violation| violation.len() < 2_000));
        }
        Ok(Some(rewritten)) => assert_eq!(rewritten.problem(), None),
        Ok(None) => {}
    }
}

/// Converts a result of up to three parts. The first byte holds their kinds, and they share the remaining bytes equally.
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
        Content::Json(text) => Json::parse(text).is_ok(),
        _ => true,
    };
    let all_json = parts.iter().all(is_json);
    match convert(parts, OUTPUT_BYTES) {
        Ok(converted) => {
            assert!(all_json, "text that isn't JSON");
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
