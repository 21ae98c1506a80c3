//! Takes secrets out of what comes back: a server may echo the header that the host attached. What is masked is the secret
//! itself, byte for byte; an encoded or cut echo is beyond this.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aho_corasick::{AhoCorasick, MatchKind};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use wasmtime_wasi_http::Error;

use super::grant::HttpGrant;
use crate::secret::Secret;

/// Stands for each byte of a secret, so that lengths stay true.
const MASK: u8 = b'*';

/// Finds the secrets of a plugin. Without any it costs nothing.
#[derive(Clone, Debug, Default)]
pub(in crate::sandbox) struct Masker(Option<Arc<Patterns>>);

struct Patterns {
    secrets: Vec<Secret>,
    automaton: AhoCorasick,
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.secrets.len())
    }
}

impl Masker {
    /// For all secrets that the grants attach.
    pub(in crate::sandbox) fn new(grants: &[HttpGrant]) -> Result<Self, aho_corasick::BuildError> {
        let mut secrets: Vec<Secret> = Vec::new();
        for secret in grants
            .iter()
            .flat_map(|grant| &grant.headers)
            .flat_map(|header| header.secrets())
        {
            if !secrets.contains(secret) {
                secrets.push(secret.clone());
            }
        }
        if secrets.is_empty() {
            return Ok(Self(None));
        }
        // Secrets may overlap, and every byte of each is masked.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(secrets.iter().map(Secret::expose))?;
        Ok(Self(Some(Arc::new(Patterns { secrets, automaton }))))
    }

    pub(in crate::sandbox) fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    /// Masks a whole text. What was UTF-8 stays so: a secret is visible ASCII, and so is the mask.
    pub(in crate::sandbox) fn text(&self, text: String) -> String {
        let Some(patterns) = &self.0 else { return text };
        let mut bytes = text.into_bytes();
        patterns.mask(&mut bytes);
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    pub(super) fn headers(&self, headers: &mut HeaderMap) {
        let Some(patterns) = &self.0 else { return };
        // A name can't be masked and stay a name; it is in lower case, whatever the secret was in.
        let told: Vec<HeaderName> = headers
            .keys()
            .filter(|name| patterns.is_in_name(name))
            .cloned()
            .collect();
        for name in told {
            headers.remove(name);
        }
        for value in headers.values_mut() {
            let mut bytes = value.as_bytes().to_vec();
            if !patterns.mask(&mut bytes).is_empty() {
                // The mask is legal wherever the secret was.
                *value = HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("*"));
            }
        }
    }

    /// Masks a body as it comes in.
    pub(super) fn body<B>(&self, body: B) -> MaskedBody<B> {
        MaskedBody {
            body,
            patterns: self.0.clone(),
            carry: Vec::new(),
            masked: 0,
            after: None,
            ended: false,
        }
    }
}

impl Patterns {
    /// Masks every secret in `bytes`; returns where each was.
    fn mask(&self, bytes: &mut [u8]) -> Vec<Range<usize>> {
        let found = self.automaton.find_overlapping_iter(&*bytes);
        let found: Vec<_> = found.map(|found| found.range()).collect();
        for range in &found {
            bytes[range.clone()].fill(MASK);
        }
        found
    }

    fn is_in_name(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        self.secrets
            .iter()
            .any(|secret| name.contains(&secret.expose().to_ascii_lowercase()))
    }

    /// How many bytes at the end of what came in may be the beginning of a secret. The same whether they are or not: a
    /// guest sees how a body is cut, and could guess its way through a secret if the cut depended on it.
    fn held(&self, arrived: usize) -> usize {
        let longest = self.secrets.iter().map(|secret| secret.expose().len()).max();
        arrived.min(longest.unwrap_or(0).saturating_sub(1))
    }
}

/// A body whose secrets are masked, also where one comes in pieces.
pub(super) struct MaskedBody<B> {
    body: B,
    patterns: Option<Arc<Patterns>>,
    /// Held back, for it may be the beginning of a secret.
    carry: Vec<u8>,
    /// How many of them, from the first, belong to a secret that is complete.
    masked: usize,
    /// What comes after the carry: trailers, or an error.
    after: Option<Result<Frame<Bytes>, Error>>,
    ended: bool,
}

impl<B> MaskedBody<B> {
    /// Takes in what arrived and gives out what can't belong to a secret any more.
    fn pass(&mut self, patterns: &Patterns, data: &[u8]) -> Bytes {
        self.carry.extend_from_slice(data);
        let held = patterns.held(self.carry.len());
        self.release(patterns, held)
    }

    /// Gives out all but the last `held` bytes.
    fn release(&mut self, patterns: &Patterns, held: usize) -> Bytes {
        let free = self.carry.len() - held;
        let rest = self.carry[free..].to_vec();
        let mut out = std::mem::replace(&mut self.carry, rest);
        let found = patterns.mask(&mut out);
        out[..self.masked].fill(MASK);
        out.truncate(free);
        // What begins in the rest will be found again; what began before it will not.
        let begun = found
            .into_iter()
            .filter(|range| range.start < free)
            .map(|range| range.end);
        self.masked = begun.chain([self.masked]).max().unwrap_or(0).saturating_sub(free);
        out.into()
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for MaskedBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Some(patterns) = this.patterns.clone() else {
            return Pin::new(&mut this.body).poll_frame(cx);
        };
        loop {
            if this.ended || this.after.is_some() {
                if !this.carry.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(this.release(&patterns, 0)))));
                }
                return Poll::Ready(this.after.take());
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => this.ended = true,
                Some(Err(error)) => this.after = Some(Err(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let out = this.pass(&patterns, &data);
                        if !out.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(out))));
                        }
                    }
                    Err(frame) => {
                        if let Ok(mut trailers) = frame.into_trailers() {
                            Masker(Some(patterns.clone())).headers(&mut trailers);
                            this.after = Some(Ok(Frame::trailers(trailers)));
                        }
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.carry.is_empty() && self.after.is_none() && (self.ended || self.body.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::{BodyExt, StreamBody};
    use proptest::prelude::*;

    use super::*;
    use crate::sandbox::http::AttachedHeader;

    fn masker(secrets: &[&str]) -> Masker {
        let mut grant = HttpGrant::parse("https://x/", &["GET"]).unwrap();
        for secret in secrets {
            let named = [("S".to_owned(), Ok(Secret::new(*secret)))].into();
            grant
                .headers
                .push(AttachedHeader::new("x", "${secret:S}", &named).unwrap());
        }
        Masker::new(&[grant]).unwrap()
    }

    fn in_pieces(masker: &Masker, pieces: Vec<Vec<u8>>) -> Vec<u8> {
        let frames = pieces.into_iter().map(|piece| Ok(Frame::data(Bytes::from(piece))));
        let body = masker.body(StreamBody::new(futures_util::stream::iter(frames)));
        let collected = futures_util::FutureExt::now_or_never(body.collect()).unwrap();
        collected.unwrap().to_bytes().to_vec()
    }

    #[test]
    fn every_byte_of_every_secret_is_masked() {
        let masker = masker(&["abcdabcd", "cdabcdxyz"]);
        assert_eq!(masker.text("-abcdabcdxyz-abcdabc".to_owned()), "-***********-abcdabc");
        assert_eq!(Masker::default().text("abcdabcd".to_owned()), "abcdabcd");
    }

    #[test]
    fn a_secret_in_pieces_is_found() {
        let masker = masker(&["s3cr3t-value"]);
        let text = b"before s3cr3t-value after s3cr3t-valu";
        for size in 1..text.len() {
            let pieces = text.chunks(size).map(<[u8]>::to_vec).collect();
            assert_eq!(
                in_pieces(&masker, pieces),
                b"before ************ after s3cr3t-valu",
                "{size}"
            );
        }
    }

    #[test]
    fn headers_and_trailers_are_masked() {
        let masker = masker(&["s3cr3t-value"]);
        let headers = || HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"s3cr3t-value\""))]);
        let mut masked = headers();
        masker.headers(&mut masked);
        assert_eq!(masked[http::header::ETAG], "\"************\"");
        let mut named = HeaderMap::from_iter([(
            HeaderName::from_static("x-s3cr3t-value-x"),
            HeaderValue::from_static("1"),
        )]);
        masker.headers(&mut named);
        assert!(named.is_empty());
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"s3cr3t"))),
            Ok(Frame::trailers(headers())),
        ];
        let body = masker.body(StreamBody::new(futures_util::stream::iter(frames)));
        let collected = futures_util::FutureExt::now_or_never(body.collect()).unwrap().unwrap();
        assert_eq!(collected.trailers().unwrap()[http::header::ETAG], "\"************\"");
        assert_eq!(collected.to_bytes(), "s3cr3t");
    }

    /// The sizes of the pieces that a guest gets.
    fn sizes(masker: &Masker, pieces: &[&str]) -> Vec<usize> {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from(piece.to_string()))))
            .collect();
        let mut body = masker.body(StreamBody::new(futures_util::stream::iter(frames)));
        let mut sizes = Vec::new();
        while let Some(frame) = futures_util::FutureExt::now_or_never(body.frame()).unwrap() {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        sizes
    }

    #[test]
    fn the_way_a_body_is_cut_says_nothing_of_a_secret() {
        let masker = masker(&["s3cr3t-value"]);
        for (secret, other) in [
            (&["no such thing: s3cr3"][..], &["no such thing: abcde"][..]),
            (&["s3cr3t-", "value and more text"], &["abcdefg", "hijkl and more text"]),
            (&["s"], &["a"]),
        ] {
            assert_eq!(sizes(&masker, secret), sizes(&masker, other), "{secret:?}");
        }
    }

    proptest! {
        /// However the body is cut, the result is that of the whole.
        #[test]
        fn pieces_are_masked_like_the_whole(text in "[ab]{0,80}", cuts in prop::collection::vec(0_usize..80, 0..8)) {
            let masker = masker(&["abaabaab", "aabaabaabb", "bbbbbbbb"]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| text.as_bytes()[cut[0]..cut[1]].to_vec()).collect();
            let whole = masker.text(text.clone());
            prop_assert_eq!(String::from_utf8(in_pieces(&masker, pieces)).unwrap(), whole);
        }
    }
}
