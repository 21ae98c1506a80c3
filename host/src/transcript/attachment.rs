//! A file that a person adds to a prompt.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Image, is_blank};

/// The most bytes of all files of one prompt together.
pub const MAX_ATTACHMENT_BYTES: u64 = 8 * 1024 * 1024;

/// The most pages of a PDF that an API reads.
const MAX_PAGES: usize = 600;

/// Of a PDF that doesn't show its pages, one is assumed for so many bytes, which is little for a page.
const LEAST_PAGE_BYTES: usize = 4 * 1024;

/// The most files of one prompt.
pub const MAX_ATTACHMENTS: usize = 50;

/// What people can attach, in messages.
pub const ATTACHMENT_TYPES: &str = "PNG, JPEG, GIF and WebP images, PDFs and text in UTF-8";

/// A file, as the model gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Without its folder.
    pub name: String,
    /// The size of the file.
    pub bytes: u64,
    pub content: AttachmentContent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachmentContent {
    Image(Image),
    Pdf {
        base64: String,
        /// Hardly more than so many, for the estimate of its tokens.
        pages: u32,
    },
    /// Between tags with the file's name, by which models tell it from the prompt.
    Text(String),
}

impl Attachment {
    /// Finds out what a file is by its content, whatever its name says. `None` if it is nothing that a model can read.
    pub fn of(name: &str, file: &[u8]) -> Option<Self> {
        let image = |media_type: &str| {
            AttachmentContent::Image(Image {
                media_type: media_type.to_owned(),
                base64: STANDARD.encode(file),
            })
        };
        let content = match file {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => image("image/png"),
            [0xff, 0xd8, 0xff, ..] => image("image/jpeg"),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => image("image/gif"),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => image("image/webp"),
            [b'%', b'P', b'D', b'F', b'-', ..] => AttachmentContent::Pdf {
                base64: STANDARD.encode(file),
                pages: pages(file),
            },
            _ => AttachmentContent::Text(tagged(name, text(file)?)),
        };
        Some(Self {
            name: name.to_owned(),
            bytes: file.len() as u64,
            content,
        })
    }

    pub fn media_type(&self) -> &str {
        match &self.content {
            AttachmentContent::Image(image) => &image.media_type,
            AttachmentContent::Pdf { .. } => "application/pdf",
            AttachmentContent::Text(_) => "text/plain",
        }
    }

    /// The text, or the file in base64.
    pub fn data(&self) -> &str {
        match &self.content {
            AttachmentContent::Image(Image { base64, .. }) | AttachmentContent::Pdf { base64, .. } => base64,
            AttachmentContent::Text(text) => text,
        }
    }
}

/// Whether an image has no end, as one whose download broke off.
pub fn is_torn(file: &[u8]) -> bool {
    match file {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', chunks @ ..] => !has_end_chunk(chunks),
        [0xff, 0xd8, 0xff, ..] => !has_end_marker(&file[2..]),
        [b'R', b'I', b'F', b'F', a, b, c, d, rest @ ..] => {
            let length = u32::from_le_bytes([*a, *b, *c, *d]);
            (rest.len() as u64) < u64::from(length)
        }
        _ => false,
    }
}

/// Whether the chunks of a PNG are whole, up to its last.
fn has_end_chunk(mut chunks: &[u8]) -> bool {
    while let Some(([a, b, c, d, kind @ ..], rest)) = chunks.split_first_chunk::<8>() {
        // After its data, a chunk has four bytes of checksum.
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        match rest.get(length.saturating_add(4)..) {
            Some(_) if kind == b"IEND" => return true,
            Some(next) => chunks = next,
            None => return false,
        }
    }
    false
}

/// Whether the segments of a JPEG are whole up to its pixels, and those have an end. What lies in a segment may be a smaller image, and
/// what follows the end is no part of the image: phones append a film.
fn has_end_marker(mut segments: &[u8]) -> bool {
    // It can't be part of compressed pixels.
    let has_end = |pixels: &[u8]| pixels.windows(2).any(|bytes| bytes == [0xff, 0xd9]);
    loop {
        segments = match segments {
            // A marker can be filled up.
            [0xff, 0xff, ..] => &segments[1..],
            [0xff, 0xda, pixels @ ..] => return has_end(pixels),
            // Segments without a length.
            [0xff, 0x01 | 0xd0..=0xd8, next @ ..] => next,
            // Its end, without any pixels.
            [0xff, 0xd9, ..] => return false,
            [0xff, 0x02..=0xfe, a, b, ..] if u16::from_be_bytes([*a, *b]) >= 2 => {
                match segments.get(2 + usize::from(u16::from_be_bytes([*a, *b]))..) {
                    Some(next) => next,
                    None => return false,
                }
            }
            // It ends in the middle of a segment's head, or isn't understood.
            other => return has_end(other),
        }
    }
}

/// The encoding that a text may have which isn't UTF-8, as `iconv` calls it.
pub fn other_encoding(file: &[u8]) -> Option<&'static str> {
    let is_binary = |byte: &u8| (*byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c)) || *byte == 0x7f;
    match file {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        _ if str::from_utf8(file).is_err() && !file.iter().any(is_binary) => Some("WINDOWS-1252"),
        _ => None,
    }
}

fn text(file: &[u8]) -> Option<&str> {
    let text = str::from_utf8(file).ok()?;
    let is_binary = |character: char| character.is_control() && !matches!(character, '\t' | '\n' | '\r' | '\x0c');
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    (!is_blank(text) && !text.contains(is_binary)).then_some(text)
}

/// A file's text between tags with its name.
pub fn tagged(name: &str, text: &str) -> String {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    // A name can't end its tag.
    let name = name.replace(['"', '<', '>', '\n', '\r'], "_");
    format!("<file name=\"{name}\">\n{text}{end}</file>")
}

/// A high estimate of a PDF's pages: as many as it shows or says, or, where it compresses its structure and may hide most of them, by its
/// size if that is more.
fn pages(file: &[u8]) -> u32 {
    let is_name = |rest: &&[u8]| !rest.first().is_some_and(u8::is_ascii_alphanumeric);
    let shown = find(file, b"/Page").filter(is_name).count();
    let said = find(file, b"/Count").filter_map(number).max().unwrap_or(0);
    let may_hide = find(file, b"/ObjStm").next().is_some();
    let pages = match shown.max(said) {
        pages if pages == 0 || may_hide => pages.max(file.len().div_ceil(LEAST_PAGE_BYTES)),
        pages => pages,
    };
    u32::try_from(pages.clamp(1, MAX_PAGES)).unwrap_or(1)
}

/// What follows each occurrence of `word`.
fn find<'a>(file: &'a [u8], word: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let windows = file.windows(word.len()).enumerate();
    windows
        .filter(move |(_, window)| *window == word)
        .map(move |(at, _)| &file[at + word.len()..])
}

fn number(text: &[u8]) -> Option<usize> {
    let digits = text.iter().skip_while(|byte| byte.is_ascii_whitespace());
    let digits: Vec<u8> = digits
        .take_while(|byte| byte.is_ascii_digit())
        .take(9)
        .copied()
        .collect();
    str::from_utf8(&digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_type_is_found_by_the_content() {
        for (file, media_type) in [
            (&b"\x89PNG\r\n\x1a\n1234"[..], "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF87a", "image/gif"),
            (b"GIF89a...", "image/gif"),
            (b"RIFF\x01\0\0\0WEBPVP8 ", "image/webp"),
            (b"%PDF-1.7\n\xe2", "application/pdf"),
            (b"\xef\xbb\xbfplain \t\r\n\x0c", "text/plain"),
            ("<svg>é</svg>".as_bytes(), "text/plain"),
        ] {
            // The name counts for nothing.
            let attached = Attachment::of("x.exe", file).unwrap();
            assert_eq!(attached.media_type(), media_type);
            assert_eq!(attached.bytes, file.len() as u64);
        }
        for nothing in [
            &b""[..],
            b" \n",
            b"\x7fELF\x02",
            b"PK\x03\x04",
            b"a\0b",
            b"\xff\xfea\0",
            b"RIFF\x01\0\0\0AVI ",
            b"\x89PNG",
            b"esc \x1b[2J",
        ] {
            assert_eq!(Attachment::of("x.png", nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn an_image_without_its_end_is_torn() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x02IDAT\x01\x02sum.\0\0\0\0IENDsum.";
        // A smaller image lies before the pixels, and a marker is filled up.
        let jpeg = b"\xff\xd8\xff\xe1\0\x08\xff\xd8\xff\xda\xff\xd9\xff\xff\xda\0\x02\x07\xff\0\x07\xff\xd9";
        let webp = b"RIFF\x09\0\0\0WEBPVP8 \x07";
        for (file, recognised) in [(&png[..], 8), (jpeg, 3), (webp, 14)] {
            // A film that is appended may hold what ends an image and what begins one.
            for more in [&b""[..], b"more", b"\xff\xd9mp4\xff\xda", b"\xff\xda\xff\xd8\xff"] {
                assert!(!is_torn(&[file, more].concat()), "{more:?} after {file:?}");
            }
            for length in recognised..file.len() {
                assert!(is_torn(&file[..length]), "{length} of {file:?}");
            }
        }
        // What has no length that makes sense.
        let strange = b"\xff\xd8\xff\xe1\0\0\xff\xda\0\x02\x07\xff\xd9\xff\xda";
        assert!(!is_torn(strange) && is_torn(&strange[..11]));
        for other in [&b"text"[..], b"%PDF-1.4", b"GIF89a"] {
            assert!(!is_torn(other));
        }
    }

    #[test]
    fn text_in_another_encoding_is_recognised() {
        for (file, encoding) in [
            (&b"caf\xe9\n"[..], Some("WINDOWS-1252")),
            (b"\xff\xfea\0", Some("UTF-16")),
            ("café".as_bytes(), None),
            (b"\x7fELF\x02\xff", None),
            (b"PK\x03\x04\xff", None),
        ] {
            assert_eq!(other_encoding(file), encoding, "{file:?}");
        }
    }

    #[test]
    fn a_text_is_tagged_with_its_name() {
        let text = |bytes: &[u8]| Attachment::of("a.txt", bytes).unwrap().data().to_owned();
        assert_eq!(text(b"one\ntwo"), "<file name=\"a.txt\">\none\ntwo\n</file>");
        assert_eq!(text("\u{feff}one\n".as_bytes()), "<file name=\"a.txt\">\none\n</file>");
    }

    #[test]
    fn the_pages_of_a_pdf_are_estimated_highly() {
        let pages = |body: &str| pages(format!("%PDF-1.4\n{body}").as_bytes());
        assert_eq!(pages("/Type /Page\n/Type/Page>>\n/Type /Pages /Count 2"), 2);
        assert_eq!(pages("/Type /Pages /Count 40 /Type /Page"), 40);
        assert_eq!(pages("/Count -3"), 1);
        assert_eq!(pages("/PageMode /PageLabels /Type /Page"), 1);
        // One page that was added to many that are compressed.
        let hidden = format!("/ObjStm {} /Type /Page", "x".repeat(10 * LEAST_PAGE_BYTES));
        assert_eq!(pages(&hidden), 11);
        assert_eq!(pages(&"x".repeat(10 * LEAST_PAGE_BYTES)), 11);
        assert_eq!(pages("/Count 99999999999999"), 600);
    }
}
