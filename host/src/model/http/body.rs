//! A response's body: decompressed where it arrives compressed, with limits on its length, the length of one event and the
//! time between two chunks.

use std::collections::VecDeque;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_util::Stream;
use futures_util::stream;
use reqwest::Response;
use thiserror::Error;
use tokio::time::Instant;

use super::error::chain;

/// The longest answer, streamed or not, after decompression.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// The longest single event of a stream.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// How much of an error's body is read. The rest is ignored.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// After a time-out, how long what has arrived may take to get here. If the process was stopped for that long, the time is over before it
/// looks at the connection.
pub(super) const LAST_LOOK: Duration = Duration::from_millis(100);

/// How long to wait for an error's body.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How much is decompressed at once. It can become a thousand times as long, so that the limits are checked in between.
const GZIP_STEP_BYTES: usize = 4 * 1024;

/// The longest piece of what is decompressed.
const MAX_PIECE_BYTES: usize = 64 * 1024;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("no data for {0:?}")]
    Stalled(Duration),
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    #[error("one event is longer than {MAX_EVENT_BYTES} bytes")]
    EventTooLong,
    #[error("the answer is compressed (`content-encoding: {0}`), although the request didn't ask for it")]
    Compressed(String),
    #[error(
        "the answer is compressed with gzip, although the request didn't ask for it, and can't be decompressed: {0}"
    )]
    BadGzip(String),
    #[error("{0}")]
    Broken(String),
}

/// What a body is, by its first bytes: a wrong content type doesn't change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Empty,
    Json,
    Events,
    /// An HTML page, or other text.
    Text,
}

pub(super) struct Body {
    response: Response,
    idle: Duration,
    /// As the header `content-encoding` names it.
    encoding: Option<String>,
    decoder: Decoder,
    /// Decoded, but not yet read.
    decoded: VecDeque<Bytes>,
    read: usize,
}

impl Body {
    pub(super) fn new(response: Response, encoding: Option<String>, idle: Duration) -> Self {
        Self {
            response,
            idle,
            encoding,
            decoder: Decoder::default(),
            decoded: VecDeque::new(),
            read: 0,
        }
    }

    /// The next chunk as sent. Every byte resets the idle time-out, because pings and comments also prove that the server is
    /// alive.
    async fn sent(&mut self) -> Result<Option<Bytes>, BodyError> {
        let mut chunk = pin!(self.response.chunk());
        let arrived = match tokio::time::timeout(self.idle, &mut chunk).await {
            Ok(arrived) => Ok(arrived),
            Err(_) => tokio::time::timeout(LAST_LOOK, chunk).await,
        };
        arrived
            .map_err(|_| BodyError::Stalled(self.idle))?
            .map_err(|error| BodyError::Broken(chain(&error.without_url())))
    }

    /// The next chunk, decompressed.
    async fn next(&mut self, limit: usize) -> Result<Option<Bytes>, BodyError> {
        while self.decoded.is_empty() {
            let piece = self.sent().await?;
            let is_end = piece.is_none();
            match piece {
                Some(piece) => self.decoder.push(piece, &mut self.decoded, limit)?,
                None => self.decoder.finish(&mut self.decoded)?,
            }
            if is_end && self.decoded.is_empty() {
                return Ok(None);
            }
        }
        let piece = self.decoded.pop_front();
        self.read = self.read.saturating_add(piece.as_ref().map_or(0, Bytes::len));
        if self.read > limit {
            return Err(BodyError::TooLong(limit));
        }
        Ok(piece)
    }

    /// What the body is. Waits for its first bytes. Blanks at the beginning, with which some gateways keep the connection
    /// alive, mean nothing in any kind of body and are dropped.
    pub(super) async fn content(&mut self, is_event_stream: bool) -> Result<Content, BodyError> {
        let mut beginning: Vec<u8> = Vec::new();
        let content = loop {
            let Some(piece) = self.next(MAX_ANSWER_BYTES).await? else {
                if beginning.is_empty() {
                    return Ok(Content::Empty);
                }
                break kind(&beginning, is_event_stream).unwrap_or(Content::Text);
            };
            beginning.extend_from_slice(&piece);
            let text = beginning.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&beginning);
            beginning.drain(..beginning.len() - text.trim_ascii_start().len());
            // Of a compressed body, the content type says nothing about the bytes.
            let is_event_stream = is_event_stream && self.compression().is_none();
            if let Some(content) = kind(&beginning, is_event_stream) {
                break content;
            }
        };
        if content == Content::Text
            && let Some(encoding) = self.compression()
        {
            return Err(BodyError::Compressed(encoding.to_owned()));
        }
        self.read -= beginning.len().min(self.read);
        self.decoded.push_front(beginning.into());
        Ok(content)
    }

    /// The compression that the header names and that wasn't undone.
    fn compression(&self) -> Option<&str> {
        let is_gzip = matches!(self.decoder, Decoder::Gzip(_));
        self.encoding.as_deref().filter(|_| !is_gzip)
    }

    /// The whole body.
    pub(super) async fn whole(self) -> Result<Vec<u8>, BodyError> {
        self.whole_within(MAX_ANSWER_BYTES).await
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(super) async fn whole_within(mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next(limit).await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// As much of the body as arrives within [`ERROR_BODY_TIMEOUT`]. A truncated message is better than none, and an endless
    /// body must not hide the status.
    pub(super) async fn beginning(mut self) -> Vec<u8> {
        let until = Instant::now() + ERROR_BODY_TIMEOUT;
        let mut beginning = Vec::new();
        while beginning.len() <= MAX_ERROR_BYTES {
            match tokio::time::timeout_at(until, self.next(MAX_ANSWER_BYTES)).await {
                Ok(Ok(Some(piece))) => beginning.extend_from_slice(&piece),
                _ => break,
            }
        }
        beginning.truncate(MAX_ERROR_BYTES);
        if beginning.iter().any(|byte| *byte < b'\t')
            && let Some(encoding) = self.encoding
        {
            return format!("(the error's text is compressed: {encoding})").into_bytes();
        }
        beginning
    }

    /// The chunks as a stream. It fails once more than [`MAX_EVENT_BYTES`] arrived since the reader last called
    /// [`EventBytes::reset`].
    ///
    /// The stream ends with a blank line, whatever the server sent: at a clean end, the last line counts even if its end is
    /// missing.
    pub(super) fn pieces(self) -> (impl Stream<Item = Result<Bytes, BodyError>>, EventBytes) {
        let event_bytes = EventBytes::default();
        let pieces = stream::try_unfold((self, event_bytes.clone()), async |(mut body, event_bytes)| {
            if event_bytes.has_ended() {
                return Ok(None);
            }
            let Some(piece) = body.next(MAX_ANSWER_BYTES).await? else {
                event_bytes.ended.store(true, Ordering::Relaxed);
                return Ok(Some((Bytes::from_static(b"\n\n"), (body, event_bytes))));
            };
            let since = event_bytes
                .since
                .fetch_add(piece.len(), Ordering::Relaxed)
                .saturating_add(piece.len());
            if since > MAX_EVENT_BYTES {
                Err(BodyError::EventTooLong)
            } else {
                Ok(Some((piece, (body, event_bytes))))
            }
        });
        (pieces, event_bytes)
    }
}

/// What a body is that begins with `beginning`, or `None` if that isn't enough to tell.
fn kind(beginning: &[u8], is_event_stream: bool) -> Option<Content> {
    const FIELDS: [&[u8]; 5] = [b":", b"data", b"event", b"id", b"retry"];
    let first = beginning.first()?;
    if BYTE_ORDER_MARK.starts_with(beginning) {
        return None;
    }
    if matches!(first, b'{' | b'[') {
        return Some(Content::Json);
    }
    if *first == b'<' {
        return Some(Content::Text);
    }
    // A field ends with a colon or its line; a word that only begins like one is text.
    let is_field = |field: &&&[u8]| {
        let rest = beginning.strip_prefix(**field);
        rest.is_some_and(|rest| **field == b":" || matches!(rest.first(), Some(b':' | b'\r' | b'\n')))
    };
    if is_event_stream || FIELDS.iter().find(is_field).is_some() {
        return Some(Content::Events);
    }
    let may_become_field = FIELDS.iter().any(|field| field.starts_with(beginning));
    (!may_become_field).then_some(Content::Text)
}

/// Decompresses a body that begins like gzip.
#[derive(Default)]
enum Decoder {
    /// The bytes so far can't tell.
    Undecided(Option<u8>),
    #[default]
    New,
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
}

impl Decoder {
    fn push(&mut self, piece: Bytes, decoded: &mut VecDeque<Bytes>, limit: usize) -> Result<(), BodyError> {
        if piece.is_empty() {
            return Ok(());
        }
        let piece = match self {
            Self::Plain | Self::Gzip(_) => piece,
            Self::New | Self::Undecided(_) => {
                let first = match self {
                    Self::Undecided(first) => first.take(),
                    _ => None,
                };
                let beginning: Vec<u8> = first.into_iter().chain(piece.iter().copied().take(2)).take(2).collect();
                match beginning[..] {
                    [first] if first == GZIP_MAGIC[0] => {
                        *self = Self::Undecided(Some(first));
                        return Ok(());
                    }
                    _ if beginning == GZIP_MAGIC => {
                        *self = Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())));
                    }
                    _ => *self = Self::Plain,
                }
                match first {
                    Some(first) => [&[first], &piece[..]].concat().into(),
                    None => piece,
                }
            }
        };
        let Self::Gzip(gzip) = self else {
            decoded.push_back(piece);
            return Ok(());
        };
        let mut length = 0_usize;
        for step in piece.chunks(GZIP_STEP_BYTES) {
            gzip.write_all(step).map_err(bad_gzip)?;
            gzip.flush().map_err(bad_gzip)?;
            let mut bytes = Bytes::from(std::mem::take(gzip.get_mut()));
            length = length.saturating_add(bytes.len());
            if length > limit {
                return Err(BodyError::TooLong(limit));
            }
            // In small pieces, as from a socket, because the limit of an event is checked between pieces.
            while !bytes.is_empty() {
                decoded.push_back(bytes.split_to(bytes.len().min(MAX_PIECE_BYTES)));
            }
        }
        Ok(())
    }

    /// The rest, at the end of the body.
    fn finish(&mut self, decoded: &mut VecDeque<Bytes>) -> Result<(), BodyError> {
        match std::mem::replace(self, Self::Plain) {
            Self::Undecided(Some(first)) => decoded.push_back(Bytes::copy_from_slice(&[first])),
            // A body that breaks off in the middle of gzip broke off.
            Self::Gzip(gzip) => {
                let rest = gzip.finish().map_err(|error| BodyError::Broken(error.to_string()))?;
                if !rest.is_empty() {
                    decoded.push_back(rest.into());
                }
            }
            Self::New | Self::Undecided(None) | Self::Plain => {}
        }
        Ok(())
    }
}

fn bad_gzip(error: std::io::Error) -> BodyError {
    BodyError::BadGzip(error.to_string())
}

/// Bytes received since the last complete event, and whether the body has ended. The parser keeps an incomplete event in
/// memory without a limit.
#[derive(Clone, Default)]
pub(super) struct EventBytes {
    since: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl EventBytes {
    pub(super) fn reset(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(pieces: &[&[u8]], limit: usize) -> Result<Vec<u8>, BodyError> {
        let (mut decoder, mut decoded) = (Decoder::default(), VecDeque::new());
        for piece in pieces {
            decoder.push(Bytes::copy_from_slice(piece), &mut decoded, limit)?;
        }
        decoder.finish(&mut decoded)?;
        Ok(decoded.into_iter().flatten().collect())
    }

    #[test]
    fn gzip_is_decompressed_wherever_it_is_split() {
        let text = b"data: {\"type\":\"ping\"}\n\n".repeat(1_000);
        let compressed = gzip(&text);
        for at in 0..compressed.len() {
            let (a, b) = compressed.split_at(at);
            assert_eq!(decode(&[a, b], usize::MAX).unwrap(), text, "{at}");
        }
        for plain in [&b""[..], b"\x1f", b"\x1fx", b"{}"] {
            assert_eq!(decode(&[plain], 10).unwrap(), plain);
        }
    }

    #[test]
    fn a_compressed_body_is_limited_after_decompression() {
        let bomb = gzip(&vec![b' '; 8 << 20]);
        assert!(bomb.len() < 16 << 10);
        assert!(matches!(decode(&[&bomb], 1 << 20), Err(BodyError::TooLong(_))));
        assert!(matches!(
            decode(&[b"\x1f\x8bnonsense that is long enough"], 99),
            Err(BodyError::BadGzip(_))
        ));
        assert!(matches!(
            decode(&[&bomb[..bomb.len() / 2]], usize::MAX),
            Err(BodyError::Broken(_))
        ));
    }

    #[test]
    fn the_first_bytes_tell_what_a_body_is() {
        for (beginning, content) in [
            ("", None),
            ("{", Some(Content::Json)),
            ("[", Some(Content::Json)),
            ("<!DOCTYPE", Some(Content::Text)),
            ("d", None),
            ("data", None),
            ("data:", Some(Content::Events)),
            ("data center offline", Some(Content::Text)),
            ("identity provider unavailable", Some(Content::Text)),
            ("event: x", Some(Content::Events)),
            (": comment", Some(Content::Events)),
            ("dat.", Some(Content::Text)),
            ("upstream error", Some(Content::Text)),
        ] {
            assert_eq!(kind(beginning.as_bytes(), false), content, "{beginning}");
        }
        assert_eq!(kind(b"x-field: 1", true), Some(Content::Events));
        assert_eq!(kind(b"\xef\xbb", true), None);
    }
}
