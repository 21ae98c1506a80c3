//! Prepares a tool's result for the model.

use crate::tools::Part;
use crate::transcript::{Content, Image, is_blank};

/// Converts a result's parts, truncating their texts to `max_bytes` in total, as they weigh in a request. A long result is billed again with every later
/// call, and crowds out other results. Blank texts are removed because the API refuses them; an empty result is replaced by a
/// note, so that the model knows that there was no output.
pub(super) fn content_for_model(parts: Vec<Part>, max_bytes: u64) -> Vec<Content> {
    let total: usize = parts.iter().map(text_bytes).sum();
    let mut left = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let mut kept = 0;
    let mut content: Vec<Content> = parts
        .into_iter()
        .filter_map(|part| match part {
            Part::Text { mut text } => {
                let fits = fitting_bytes(&text, &mut left);
                if fits < text.len() {
                    text.truncate(fits);
                    // Nothing else is kept: the model would read later text as if it directly followed this one.
                    left = 0;
                }
                kept += text.len();
                (!is_blank(&text)).then_some(Content::Text { text })
            }
            Part::Image { media_type, base64 } => Some(Content::Image(Image { media_type, base64 })),
        })
        .collect();
    if kept < total {
        let cut = total - kept;
        content.push(Content::text(format!(
            "[cut: {cut} of {total} bytes; ask for less at a time]"
        )));
    }
    if content.is_empty() {
        content.push(Content::text("(The tool succeeded and returned nothing.)"));
    }
    content
}

/// The length of the longest start of the text that takes at most `left` bytes of a JSON string, from which they are subtracted.
/// An escaped character takes up to six bytes, and as many tokens.
fn fitting_bytes(text: &str, left: &mut usize) -> usize {
    for (at, character) in text.char_indices() {
        let bytes = match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            _ => character.len_utf8(),
        };
        match left.checked_sub(bytes) {
            Some(rest) => *left = rest,
            None => return at,
        }
    }
    text.len()
}

fn text_bytes(part: &Part) -> usize {
    match part {
        Part::Text { text } => text.len(),
        Part::Image { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Part {
        Part::Text { text: text.to_owned() }
    }

    #[test]
    fn texts_are_truncated_to_their_total_limit() {
        let image = Part::Image {
            media_type: "image/png".to_owned(),
            base64: "abc".to_owned(),
        };
        let parts = vec![text("é1234"), image, text("ééé"), text("more")];
        let content = |max_bytes| content_for_model(parts.clone(), max_bytes);
        assert_eq!(content(16).len(), 4, "nothing is truncated");
        let cut = content(9);
        assert_eq!(cut[0], Content::text("é1234"));
        assert!(matches!(cut[1], Content::Image(_)));
        assert_eq!(cut[2], Content::text("é"));
        assert_eq!(cut[3], Content::text("[cut: 8 of 16 bytes; ask for less at a time]"));
        assert_eq!(cut.len(), 4);
    }

    #[test]
    fn escaped_characters_count_as_a_request_writes_them() {
        let all = "a\"\\\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}é";
        let written = serde_json::to_string(all).map_or(0, |json| json.len() - 2);
        let mut left = written;
        assert_eq!((fitting_bytes(all, &mut left), left), (all.len(), 0));
        assert_eq!(fitting_bytes(all, &mut (written - 1)), all.len() - 2);
        let content = content_for_model(vec![text(&"\"".repeat(100))], 20);
        assert_eq!(content[0], Content::text("\"".repeat(10)));
        assert_eq!(
            content[1],
            Content::text("[cut: 90 of 100 bytes; ask for less at a time]")
        );
    }

    #[test]
    fn an_empty_result_is_replaced_by_a_note() {
        for parts in [vec![], vec![text("")], vec![text(" \n")], vec![text("\u{feff}\0")]] {
            let content = content_for_model(parts, 10);
            assert_eq!(content, [Content::text("(The tool succeeded and returned nothing.)")]);
        }
    }
}
