//! Prepares a tool's result for the model.

use crate::tools::Part;
use crate::transcript::{Content, Image};

/// Converts a result's parts, truncating their texts to `max_bytes` in total. A long result is billed again with every later
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
                if text.len() > left {
                    text.truncate(text.floor_char_boundary(left));
                    // Nothing else is kept: the model would read later text as if it directly followed this one.
                    left = text.len();
                }
                left -= text.len();
                kept += text.len();
                (!text.trim().is_empty()).then_some(Content::Text { text })
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
    fn an_empty_result_is_replaced_by_a_note() {
        for parts in [vec![], vec![text("")], vec![text(" \n")]] {
            let content = content_for_model(parts, 10);
            assert_eq!(content, [Content::text("(The tool succeeded and returned nothing.)")]);
        }
    }
}
