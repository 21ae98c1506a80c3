//! What of a result the model is given.

use crate::tools::Part;
use crate::transcript::{Content, Image};

/// The parts of a result, their texts no longer than `most` bytes together: what one tool says at length costs as much again
/// with every later call, and leaves no room for what others said. The API refuses blank texts, and a model is helped by
/// knowing that there was nothing.
pub(super) fn for_model(parts: Vec<Part>, most: u64) -> Vec<Content> {
    let said: usize = parts.iter().map(text_bytes).sum();
    let mut left = usize::try_from(most).unwrap_or(usize::MAX);
    let mut given = 0;
    let mut content: Vec<Content> = parts
        .into_iter()
        .filter_map(|part| match part {
            Part::Text { mut text } => {
                if text.len() > left {
                    text.truncate(text.floor_char_boundary(left));
                    // What follows a gap would be read as if it followed what was said.
                    left = text.len();
                }
                left -= text.len();
                given += text.len();
                (!text.trim().is_empty()).then_some(Content::Text { text })
            }
            Part::Image { media_type, base64 } => Some(Content::Image(Image { media_type, base64 })),
        })
        .collect();
    if given < said {
        let cut = said - given;
        content.push(Content::text(format!(
            "[cut: {cut} of {said} bytes; ask for less at a time]"
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
    fn texts_are_cut_where_they_are_too_long_together() {
        let image = Part::Image {
            media_type: "image/png".to_owned(),
            base64: "abc".to_owned(),
        };
        let parts = vec![text("é1234"), image, text("ééé"), text("more")];
        let given = |most| for_model(parts.clone(), most);
        assert_eq!(given(16).len(), 4, "all of it");
        let cut = given(9);
        assert_eq!(cut[0], Content::text("é1234"));
        assert!(matches!(cut[1], Content::Image(_)));
        assert_eq!(cut[2], Content::text("é"));
        assert_eq!(cut[3], Content::text("[cut: 8 of 16 bytes; ask for less at a time]"));
        assert_eq!(cut.len(), 4);
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        for parts in [vec![], vec![text("")], vec![text(" \n")]] {
            let given = for_model(parts, 10);
            assert_eq!(given, [Content::text("(The tool succeeded and returned nothing.)")]);
        }
    }
}
