//! Validates a tool's result and converts it for the model.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::sandbox::Content;

/// The image types that models can see.
const IMAGE_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Images per result. However small, each costs hundreds of tokens, and a request holds at most a hundred.
const MAX_IMAGES: usize = 8;

/// A piece of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    Text { text: String },
    Image { media_type: String, base64: String },
}

/// Checks the result against the contract and the limit, and converts it.
pub(super) fn convert(content: Vec<Content>, output_bytes: u64) -> Result<Vec<Part>, String> {
    let size: u64 = content.iter().map(|part| size(part) as u64).sum();
    if size > output_bytes {
        return Err(format!(
            "the result has {size} bytes, more than output_bytes allows ({output_bytes})"
        ));
    }
    let images = content.iter().filter(|part| matches!(part, Content::Image(_))).count();
    if images > MAX_IMAGES {
        return Err(format!("the result has {images} images, more than {MAX_IMAGES}"));
    }
    content.into_iter().map(convert_part).collect()
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
        Content::Json(text) => match serde_json::from_str::<ValidJson>(&text) {
            Ok(ValidJson) => Ok(Part::Text { text }),
            Err(error) => Err(format!("the result is not JSON: {error}")),
        },
        Content::Image(image) if IMAGE_TYPES.contains(&image.mime_type.as_str()) => {
            if !has_magic_bytes(&image.data, &image.mime_type) {
                return Err(format!("the image isn't a valid {}", image.mime_type));
            }
            Ok(Part::Image {
                media_type: image.mime_type,
                base64: STANDARD.encode(image.data),
            })
        }
        Content::Image(_) => Err(format!("the image type isn't one of {}", IMAGE_TYPES.join(", "))),
    }
}

/// Validates JSON without building it: the `Value` of a megabyte of text can take a hundred. `serde_json` bounds the depth.
struct ValidJson;

impl<'de> Deserialize<'de> for ValidJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for ValidJson {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<IgnoredAny, Self>()?.is_some() {}
        Ok(self)
    }
}

/// Checks the magic bytes, because the API refuses every request that contains a broken image.
fn has_magic_bytes(data: &[u8], media_type: &str) -> bool {
    match media_type {
        "image/png" => data.starts_with(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg" => data.starts_with(b"\xff\xd8\xff"),
        "image/gif" => data.starts_with(b"GIF87a") || data.starts_with(b"GIF89a"),
        "image/webp" => data.starts_with(b"RIFF") && data.get(8..12) == Some(b"WEBP"),
        _ => false,
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

    fn image(mime_type: &str) -> Content {
        Content::Image(Image {
            mime_type: mime_type.to_owned(),
            data: b"\x89PNG\r\n\x1a\nabc".to_vec(),
        })
    }

    #[test]
    fn the_total_size_of_all_parts_is_bounded() {
        let text = || Content::Text("12345".to_owned());
        assert!(convert(vec![text(), text()], 10).is_ok());
        assert!(convert(vec![text(), text()], 9).is_err());
    }

    #[test]
    fn json_is_parsed_and_image_types_are_checked() {
        let json = |text: &str| convert(vec![Content::Json(text.to_owned())], 1 << 20);
        assert_eq!(json("[1]"), Ok(vec![Part::Text { text: "[1]".to_owned() }]));
        assert!(json("{").is_err());
        assert!(json(&"[".repeat(100_000)).is_err());
        let png = Part::Image {
            media_type: "image/png".to_owned(),
            base64: "iVBORw0KGgphYmM=".to_owned(),
        };
        assert_eq!(convert(vec![image("image/png")], 100), Ok(vec![png]));
        assert!(convert(vec![image("image/svg+xml")], 100).is_err());
        assert!(convert(vec![image("image/jpeg")], 100).is_err());
        assert!(convert(vec![image("image/png"); MAX_IMAGES], 1000).is_ok());
        assert!(convert(vec![image("image/png"); MAX_IMAGES + 1], 1000).is_err());
    }
}
