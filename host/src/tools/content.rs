//! Validates a tool's result and converts it for the model.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::json_text::Json;
use crate::sandbox::{Content, LimitValue};

/// Parts per result. The host keeps each apart until it joins them.
const MAX_PARTS: usize = 1_000;

/// Images per result. However small, each costs hundreds of tokens, and a request holds at most a hundred.
const MAX_IMAGES: usize = 8;

/// A piece of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    Text { text: String },
    Image { media_type: String, base64: String },
}

/// The form of a result that is one value of the tool's output schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// The only part is JSON.
    Json,
    /// The only part is a string, without quotes.
    Text,
}

impl Structure {
    /// The form of the result of a tool with an output schema; `None` if it isn't one value of that schema.
    pub(super) fn of(result: &[Content]) -> Option<Self> {
        match result {
            [Content::Json(_)] => Some(Self::Json),
            [Content::Text(_)] => Some(Self::Text),
            _ => None,
        }
    }
}

/// Checks the result against the contract and the limit, and converts it. Texts that follow each other become one, because a
/// model pays for the frame of each part.
pub(super) fn convert(content: Vec<Content>, output_bytes: u64) -> Result<Vec<Part>, String> {
    let size: u64 = content.iter().map(|part| size(part) as u64).sum();
    if size > output_bytes {
        return Err(format!(
            "the result has {size} bytes, more than output_bytes allows ({})",
            LimitValue::Bytes(output_bytes)
        ));
    }
    if content.len() > MAX_PARTS {
        return Err(format!("the result has {} parts, more than {MAX_PARTS}", content.len()));
    }
    let images = content.iter().filter(|part| matches!(part, Content::Image(_))).count();
    if images > MAX_IMAGES {
        return Err(format!("the result has {images} images, more than {MAX_IMAGES}"));
    }
    let mut parts: Vec<Part> = Vec::new();
    for part in content {
        match (convert_part(part)?, parts.last_mut()) {
            (Part::Text { text: next }, Some(Part::Text { text })) => {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                text.push_str(&next);
            }
            (part, _) => parts.push(part),
        }
    }
    Ok(parts)
}

fn size(part: &Content) -> usize {
    match part {
        Content::Text(text) | Content::Json(text) => text.len(),
        Content::Image(image) => image.mime_type.len() + image.data.len(),
    }
}

fn convert_part(part: Content) -> Result<Part, String> {
    match part {
        Content::Text(text) => Ok(Part::Text { text }),
        // By the grammar alone: the model reads the text, so a number or a depth that a parser couldn't take is no fault.
        Content::Json(text) => match Json::parse(&text).err() {
            None => Ok(Part::Text { text }),
            Some(error) => Err(format!("the result is not JSON: {error}")),
        },
        Content::Image(image) => match media_type(&image.data) {
            Some(media_type) => Ok(Part::Image {
                media_type: media_type.to_owned(),
                base64: STANDARD.encode(image.data),
            }),
            None => Err("an image in the result is none of PNG, JPEG, GIF and WebP".to_owned()),
        },
    }
}

/// The media type that an image's first bytes show, if models can see it. The type that the tool claims doesn't count: the
/// API refuses every request that contains a broken or mislabelled image.
fn media_type(data: &[u8]) -> Option<&'static str> {
    match data {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// The text of a result, for logs and terminals.
pub(super) fn text_of(content: &[Part]) -> String {
    let texts: Vec<&str> = content
        .iter()
        .map(|part| match part {
            Part::Text { text } => text.as_str(),
            Part::Image { .. } => "[image]",
        })
        .collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Image;

    fn image(mime_type: &str, data: &[u8]) -> Content {
        Content::Image(Image {
            mime_type: mime_type.to_owned(),
            data: data.to_vec(),
        })
    }

    fn text(text: &str) -> Part {
        Part::Text { text: text.to_owned() }
    }

    #[test]
    fn the_total_size_of_all_parts_is_bounded() {
        let text = || Content::Text("12345".to_owned());
        assert!(convert(vec![text(), text()], 10).is_ok());
        assert!(convert(vec![text(), text()], 9).is_err());
    }

    #[test]
    fn parts_are_bounded_and_adjacent_texts_joined() {
        let part = |text: &str| Content::Text(text.to_owned());
        let png = || image("image/png", b"\x89PNG\r\n\x1a\nabc");
        let parts = vec![
            part("a"),
            part("b\n"),
            Content::Json("[1]".to_owned()),
            png(),
            part(""),
            part("c"),
        ];
        let converted = convert(parts, 100).unwrap_or_default();
        assert_eq!((converted.len(), &converted[0]), (3, &text("a\nb\n[1]")));
        assert_eq!(converted[2], text("c"));
        let many = |number| convert(vec![part("x"); number], 1 << 20);
        assert_eq!(many(MAX_PARTS).map(|parts| parts.len()), Ok(1));
        assert!(many(MAX_PARTS + 1).is_err_and(|reason| reason.contains("1001 parts")));
    }

    #[test]
    fn the_bytes_of_an_image_decide_its_type() {
        let media_type = |claimed: &str, data: &[u8]| match convert(vec![image(claimed, data)], 100).as_deref() {
            Ok([Part::Image { media_type, .. }]) => media_type.clone(),
            other => format!("{other:?}"),
        };
        let (png, jpeg) = (b"\x89PNG\r\n\x1a\nabc", b"\xff\xd8\xff\xe0abc");
        for claimed in [
            "image/png",
            "IMAGE/PNG",
            "image/png; charset=binary",
            " image/jpeg",
            "image/jpg",
            "",
        ] {
            assert_eq!(media_type(claimed, png), "image/png", "{claimed}");
            assert_eq!(media_type(claimed, jpeg), "image/jpeg", "{claimed}");
        }
        assert_eq!(media_type("image/png", b"GIF89aabc"), "image/gif");
        assert_eq!(media_type("image/png", b"RIFF\0\0\0\0WEBPabc"), "image/webp");
        for data in [&b"<svg/>"[..], b"", b"\x89PN", b"RIFF\0\0\0\0WAVE"] {
            assert!(media_type("image/png", data).contains("none of PNG"), "{data:?}");
        }
    }

    #[test]
    fn json_is_checked_and_passed_on_as_it_is_and_images_are_counted() {
        let json = |text: &str| convert(vec![Content::Json(text.to_owned())], 1 << 20);
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for text in [
            "[1]",
            " {\"b\": 1.0, \"a\": 1, \"a\": 2}\n",
            "1e400",
            r#""\ud800""#,
            &deep,
        ] {
            assert_eq!(json(text), Ok(vec![Part::Text { text: text.to_owned() }]));
        }
        for text in ["", "{", "NaN", "{\"a\": NaN}", "{} {}", "'a'", &deep[..100_000]] {
            assert!(json(text).is_err(), "{text}");
        }
        let png = Part::Image {
            media_type: "image/png".to_owned(),
            base64: "iVBORw0KGgphYmM=".to_owned(),
        };
        let image = image("image/png", b"\x89PNG\r\n\x1a\nabc");
        assert_eq!(convert(vec![image.clone()], 100), Ok(vec![png]));
        assert!(convert(vec![image.clone(); MAX_IMAGES], 1000).is_ok());
        assert!(convert(vec![image; MAX_IMAGES + 1], 1000).is_err());
    }
}
