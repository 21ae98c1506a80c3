//! Masks secrets in everything that comes back, because a server may echo the header that the host attached. An echo is found
//! if it is verbatim or in a spelling of `spellings.rs`, not if it is encoded in another way or truncated by the server. `echo.rs`
//! keeps guests from requesting either.

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
use super::spellings::spellings;
use crate::secret::Secret;

/// Replaces each byte of a secret, so that lengths stay the same.
const MASK: u8 = b'*';

/// Finds and masks the secrets of a plugin. Free for a plugin without secrets.
#[derive(Clone, Debug, Default)]
pub(in crate::sandbox) struct Masker(Option<Arc<Patterns>>);

struct Patterns {
    secrets: Vec<Secret>,
    /// Of every spelling of every secret.
    automaton: AhoCorasick,
    /// Bytes of the longest spelling.
    longest: usize,
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.secrets.len())
    }
}

impl Masker {
    /// Masks all secrets that the grants attach.
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
        let spellings: Vec<String> = secrets.iter().flat_map(|secret| spellings(secret.expose())).collect();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(&spellings)?;
        let longest = spellings.iter().map(String::len).max().unwrap_or(0);
        Ok(Self(Some(Arc::new(Patterns {
            secrets,
            automaton,
            longest,
        }))))
    }

    pub(in crate::sandbox) fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    /// Masks a whole text. It stays valid UTF-8, because secrets and the mask are visible ASCII.
    pub(in crate::sandbox) fn text(&self, text: String) -> String {
        if self.0.is_none() {
            return text;
        }
        let mut bytes = text.into_bytes();
        self.bytes(&mut bytes);
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    pub(in crate::sandbox) fn bytes(&self, bytes: &mut [u8]) {
        if let Some(patterns) = &self.0 {
            patterns.mask(bytes);
        }
    }

    /// How many bytes of a secret can follow a cut. Keep that many more bytes until the text is masked: otherwise the masker
    /// doesn't recognise a secret at the cut, and its beginning leaks.
    pub(in crate::sandbox) fn overlap(&self) -> usize {
        self.0.as_ref().map_or(0, |patterns| patterns.longest.saturating_sub(1))
    }

    pub(super) fn headers(&self, headers: &mut HeaderMap) {
        let Some(patterns) = &self.0 else { return };
        // A masked name can be invalid, and a secret that is spread over several values can't be masked in one of them. Such
        // headers are removed.
        let unmaskable: Vec<HeaderName> = headers
            .keys()
            .filter(|name| patterns.is_in_name(name) || patterns.is_across_values(headers, name))
            .cloned()
            .collect();
        for name in unmaskable {
            headers.remove(name);
        }
        for value in headers.values_mut() {
            let mut bytes = value.as_bytes().to_vec();
            if !patterns.mask(&mut bytes).is_empty() {
                // The mask is valid wherever the secret was.
                *value = HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("*"));
            }
        }
    }

    /// Masks a body as it arrives.
    pub(super) fn body<B>(&self, body: B) -> MaskedBody<B> {
        MaskedBody {
            body,
            patterns: self.0.clone(),
            carry: Vec::new(),
            masked: 0,
            trailers: None,
            ended: false,
        }
    }
}

impl Patterns {
    /// Masks every secret in `bytes`, and returns where each was.
    fn mask(&self, bytes: &mut [u8]) -> Vec<Range<usize>> {
        let found = self.automaton.find_overlapping_iter(&*bytes);
        let found: Vec<_> = found.map(|found| found.range()).collect();
        for range in &found {
            bytes[range.clone()].fill(MASK);
        }
        found
    }

    /// Whether `name` contains a secret. Compares in lower case, because header names are.
    fn is_in_name(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        self.secrets
            .iter()
            .any(|secret| name.contains(&secret.expose().to_ascii_lowercase()))
    }

    /// Whether a secret spans several values of `name`: a server can split a list at its commas.
    fn is_across_values(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if values.len() < 2 {
            return false;
        }
        let separators: [&[u8]; 3] = [b"", b",", b", "];
        let alone = || {
            values
                .iter()
                .map(|value| self.automaton.find_overlapping_iter(value).count())
        };
        separators.iter().any(|separator| {
            let joined = values.join(*separator);
            self.automaton.find_overlapping_iter(&joined).count() > alone().sum::<usize>()
        })
    }

    /// How many bytes at the end of what arrived may be the beginning of a secret. The number does not depend on whether
    /// they are: a guest sees how a body is cut, and could otherwise guess its way through a secret.
    fn held(&self, arrived: usize) -> usize {
        arrived.min(self.longest.saturating_sub(1))
    }
}

/// A body whose secrets are masked, even if one arrives in several frames.
pub(super) struct MaskedBody<B> {
    body: B,
    patterns: Option<Arc<Patterns>>,
    /// Bytes held back because they could begin a secret. They are released only when the body goes on or ends properly, and
    /// dropped on an error, because the rest of a secret could have followed.
    carry: Vec<u8>,
    /// How many leading bytes of the carry belong to a secret that was already found.
    masked: usize,
    /// Sent after the carry.
    trailers: Option<HeaderMap>,
    /// Whether the inner body has ended or failed. It isn't polled again then.
    ended: bool,
}

impl<B> MaskedBody<B> {
    /// Adds `data`, and releases the bytes that can no longer belong to a secret.
    fn pass(&mut self, patterns: &Patterns, data: &[u8]) -> Bytes {
        self.carry.extend_from_slice(data);
        let held = patterns.held(self.carry.len());
        self.release(patterns, held)
    }

    /// Releases all but the last `held` bytes.
    fn release(&mut self, patterns: &Patterns, held: usize) -> Bytes {
        let free = self.carry.len() - held;
        let rest = self.carry[free..].to_vec();
        let mut out = std::mem::replace(&mut self.carry, rest);
        let found = patterns.mask(&mut out);
        out[..self.masked].fill(MASK);
        out.truncate(free);
        // A secret that begins in the rest is found again later, but one that began before it isn't.
        let straddling = found
            .into_iter()
            .filter(|range| range.start < free)
            .map(|range| range.end);
        self.masked = straddling.chain([self.masked]).max().unwrap_or(0).saturating_sub(free);
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
            if this.ended {
                if !this.carry.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(this.release(&patterns, 0)))));
                }
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => this.ended = true,
                Some(Err(error)) => {
                    this.carry.clear();
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let out = this.pass(&patterns, &data);
                        if !out.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(out))));
                        }
                    }
                    Err(frame) => {
                        this.ended = true;
                        this.trailers = frame.into_trailers().ok().map(|mut trailers| {
                            Masker(Some(patterns.clone())).headers(&mut trailers);
                            trailers
                        });
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.carry.is_empty() && self.trailers.is_none() && (self.ended || self.body.is_end_stream())
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

    /// What encoders of JSON, HTML and URLs make of a key is longer than the key, and as secret.
    #[test]
    fn every_spelling_of_a_secret_is_masked() {
        let masker = masker(&["k3y/with+signs\"&"]);
        for echo in [
            "k3y/with+signs\"&",
            r#"k3y\/with+signs\"&"#,
            r#"k3y/with+signs\"\u0026"#,
            "k3y/with+signs&quot;&amp;",
            "k3y%2Fwith%2Bsigns%22%26",
        ] {
            assert_eq!(
                masker.text(format!("<{echo}>")),
                format!("<{}>", "*".repeat(echo.len()))
            );
            for size in 1..echo.len() {
                let pieces = echo.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
                assert_eq!(in_pieces(&masker, pieces), "*".repeat(echo.len()).as_bytes(), "{echo}");
            }
        }
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

    #[test]
    fn a_secret_across_values_of_one_header_is_removed() {
        let masker = masker(&["s3cr3t,value"]);
        let masked = |values: &[&'static str]| {
            let name = || HeaderName::from_static("x-echo");
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name(), HeaderValue::from_static(value));
            }
            masker.headers(&mut headers);
            let values = headers.get_all(name()).iter();
            values
                .map(|value| value.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        for split in [&["a s3cr3t", "value b"][..], &["s3", "cr3t,", "value"]] {
            assert_eq!(masked(split), Vec::<String>::new(), "{split:?}");
        }
        assert_eq!(masked(&["s3cr3t,value", "x"]), ["************", "x"]);
        assert_eq!(masked(&["s3cr3t", "other value"]), ["s3cr3t", "other value"]);
    }

    /// What a guest receives of a body that fails: the bytes, and how many frames came after the error.
    fn broken(masker: &Masker, pieces: &[&'static str]) -> (Vec<u8>, usize) {
        let frames = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        // This body would go on if it were polled again after its error.
        let rest = [
            Err(Error::ConnectionReadTimeout),
            Ok(Frame::data(Bytes::from_static(b"t-value after"))),
        ];
        let mut body = masker.body(StreamBody::new(futures_util::stream::iter(frames.chain(rest))));
        let mut next = || futures_util::FutureExt::now_or_never(body.frame()).unwrap();
        let mut taken = Vec::new();
        while let Some(Ok(frame)) = next() {
            taken.extend_from_slice(&frame.into_data().unwrap());
        }
        (taken, usize::from(next().is_some()))
    }

    #[test]
    fn bytes_held_back_are_dropped_when_the_body_fails() {
        let masker = masker(&["s3cr3t-value"]);
        assert_eq!(broken(&masker, &["before it s3cr3"]), (b"befo".to_vec(), 0));
        assert_eq!(broken(&masker, &["before it s3cr3", "t-va"]), (b"before i".to_vec(), 0));
        // The same for other bytes. Otherwise the length would reveal the secret.
        assert_eq!(broken(&masker, &["before it abcde"]), (b"befo".to_vec(), 0));
        assert_eq!(broken(&masker, &["short"]), (Vec::new(), 0));
        let without = Masker::default();
        assert_eq!(broken(&without, &["before it s3cr3"]).0, b"before it s3cr3");
    }

    /// The sizes of the frames that a guest receives.
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
    fn frame_sizes_do_not_depend_on_secrets() {
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
        /// However the body is split, the result is the same as for the whole.
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
