//! Keeps an echo of a secret in one piece. Masking finds a secret only if all its bytes arrive contiguously and unencoded.
//! A plugin that has a secret therefore can't request a range of a resource or another encoding, and the host refuses partial
//! and encoded responses.
//!
//! This applies to every request of such a plugin, even if no header is attached to it: a server can store what it received
//! in one request and return it in another.
//!
//! These pass:
//!
//! - `If-Match`, `If-None-Match`, `If-Modified-Since`: the response is the whole resource, or has no body.
//! - `HEAD` and `Content-Length`: the mask has the secret's length, so lengths reveal nothing more.
//! - `Content-Range` in a request: it says which part of an upload follows, and selects no part of a response.
//! - `Want-Repr-Digest` and the like: a digest contains no part of its input.
//! - `Accept-Ranges` in a response: it offers what the guest can't request.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use wasmtime_wasi_http::Error;

use super::header_names::remove;

/// Headers that ask for an encoding, a delta or another character set. A server may always ignore them, so they are
/// removed. So is the announcement of trailers, and trailers with it: they leave after the head, where nothing looks at them,
/// and some servers read them as headers.
const REMOVED_HEADERS: [&str; 5] = ["a-im", "accept-charset", "accept-encoding", "te", "trailer"];

/// Character sets in which ASCII text is written as ASCII bytes begin with one of these. In any other, a secret could stand
/// unseen.
const READABLE_CHARSETS: [&str; 14] = [
    "utf-8",
    "utf8",
    "us-ascii",
    "ascii",
    "iso-8859-",
    "iso8859-",
    "latin1",
    "windows-125",
    "euc-",
    "gb",
    "big5",
    "shift_jis",
    "sjis",
    "koi8-",
];

/// Why a request isn't sent, or its response isn't passed on.
#[derive(Debug)]
pub(super) struct Refused {
    /// For the guest.
    pub(super) error: Error,
    /// For the operator.
    pub(super) reason: String,
}

/// Removes headers that could make the response partial or encoded.
///
/// # Errors
///
/// If a header selects a range and the method is neither GET nor HEAD. A server is free to ignore the range of these two. Any
/// other request could mean something else without its range, such as to overwrite a whole file.
pub(super) fn request_whole<B>(request: &mut Request<B>) -> Result<(), Refused> {
    let range_is_optional = matches!(*request.method(), Method::GET | Method::HEAD);
    let headers = request.headers_mut();
    if let Some(name) = remove(headers, selects_a_range)
        && !range_is_optional
    {
        return Err(Refused {
            error: Error::HttpRequestDenied,
            reason: format!("the header {name} selects a range, so an echoed secret couldn't be found"),
        });
    }
    remove(headers, |name| REMOVED_HEADERS.contains(&name));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(())
}

/// `Range` and `If-Range`, and what takes their place with one server or the other: `Request-Range`, `X-MS-Range`,
/// `X-Amz-Copy-Source-Range`.
fn selects_a_range(name: &str) -> bool {
    !name.ends_with("content-range") && name.split('-').any(|word| matches!(word, "range" | "ranges"))
}

/// Refuses a response that is partial or encoded, although the request allowed neither.
pub(super) fn check_response<B>(response: &Response<B>) -> Result<(), Refused> {
    let refused = |what: &str, error| {
        let reason = format!("a response {what}, so a secret that it echoes couldn't be found");
        Err(Refused { error, reason })
    };
    let headers = response.headers();
    let is_partial = response.status() == StatusCode::PARTIAL_CONTENT
        || headers.contains_key(header::CONTENT_RANGE)
        || content_types(headers).any(|text| text.trim_start().starts_with("multipart/byteranges"));
    if is_partial {
        return refused("holds only a part", Error::HttpProtocolError);
    }
    if response.status() == StatusCode::IM_USED || headers.contains_key("im") {
        return refused("holds only the difference to another", Error::HttpProtocolError);
    }
    if let Some(coding) = other_than(headers, &header::CONTENT_ENCODING, b"identity") {
        return refused("is encoded", Error::HttpResponseContentCoding(Some(coding)));
    }
    if let Some(coding) = other_than(headers, &header::TRANSFER_ENCODING, b"chunked") {
        return refused("is encoded", Error::HttpResponseTransferCoding(Some(coding)));
    }
    if let Some(charset) = content_types(headers).find_map(|text| unreadable_charset(&text)) {
        return refused(
            "is not in a character set that holds ASCII",
            Error::HttpResponseContentCoding(Some(charset)),
        );
    }
    Ok(())
}

fn content_types(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all(header::CONTENT_TYPE).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
}

/// The character set of a lower-case content type, if the masker couldn't find a secret in it.
fn unreadable_charset(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim_matches(|sign: char| sign.is_whitespace() || matches!(sign, '"' | '\''));
        let is_unreadable = !READABLE_CHARSETS.iter().any(|charset| value.starts_with(charset));
        (name.trim() == "charset" && is_unreadable).then(|| value.to_owned())
    })
}

/// The first value of a header that is not `plain`.
fn other_than(headers: &HeaderMap, name: &HeaderName, plain: &[u8]) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let other = values.find(|value| !value.as_bytes().eq_ignore_ascii_case(plain))?;
    Some(String::from_utf8_lossy(other.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The names of the headers that remain in a request, besides `accept-encoding`.
    fn left(method: Method, names: &[&str]) -> Result<Vec<String>, Refused> {
        let builder = Request::builder().method(method);
        let builder = names
            .iter()
            .fold(builder, |builder, name| builder.header(*name, "bytes=0-9"));
        let mut request = builder.body(()).unwrap();
        request_whole(&mut request)?;
        let headers = request.headers();
        assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
        let names = headers.keys().filter(|name| *name != header::ACCEPT_ENCODING);
        Ok(names.map(|name| name.as_str().to_owned()).collect())
    }

    #[test]
    fn a_request_selects_no_range_and_no_encoding() {
        for name in [
            "Range",
            "If-Range",
            "Request-Range",
            "X-MS-Range",
            "x_range",
            "Accept-Ranges",
            "Accept-Encoding",
            "Accept_Encoding",
            "Accept-Charset",
            "A-IM",
            "TE",
        ] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(left(method, &[name, "x"]).unwrap(), ["x"], "{name}");
            }
        }
        for name in [
            "content-range",
            "x-upload-content-range",
            "if-none-match",
            "x-arrange",
            "orange",
            "accept",
        ] {
            assert_eq!(left(Method::GET, &[name]).unwrap(), [name]);
            assert_eq!(left(Method::PUT, &[name]).unwrap(), [name]);
        }
    }

    #[test]
    fn a_range_that_a_server_must_not_ignore_is_refused() {
        for name in [
            "Range",
            "X-MS-Source-Range",
            "x_amz_copy_source_range",
            "X-Update-Range",
        ] {
            let refused = left(Method::PUT, &["x", name]).unwrap_err();
            assert!(matches!(refused.error, Error::HttpRequestDenied), "{refused:?}");
            assert!(refused.reason.contains(&name.to_ascii_lowercase()), "{refused:?}");
        }
    }

    fn checked(status: u16, name: &str, value: &str) -> Result<(), Refused> {
        let response = Response::builder().status(status).header(name, value);
        check_response(&response.body(()).unwrap())
    }

    #[test]
    fn a_partial_response_is_refused() {
        for (status, name, value) in [
            (206, "x", "y"),
            (206, "content-range", "bytes 0-9/100"),
            (200, "content-range", "bytes 0-9/100"),
            (416, "content-range", "bytes */100"),
            (200, "content-type", " Multipart/Byteranges; boundary=x"),
            (226, "x", "y"),
            (200, "im", "vcdiff"),
        ] {
            let refused = checked(status, name, value).unwrap_err();
            assert!(matches!(refused.error, Error::HttpProtocolError), "{name}: {refused:?}");
        }
    }

    #[test]
    fn an_encoded_response_is_refused() {
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("content-encoding", "identity, br"),
            ("content-type", "text/plain; charset=UTF-16"),
            ("content-type", "text/plain;format=flowed; Charset = \"utf-32le\""),
            ("content-type", "text/html;charset=utf-7"),
            ("content-type", "text/plain; charset=unicode"),
            ("content-type", "text/plain; charset=utf16"),
            ("content-type", "text/plain; charset=ibm037"),
        ] {
            let refused = checked(200, name, value).unwrap_err();
            assert!(
                matches!(refused.error, Error::HttpResponseContentCoding(Some(_))),
                "{refused:?}"
            );
        }
        let refused = checked(200, "transfer-encoding", "gzip").unwrap_err();
        assert!(
            matches!(refused.error, Error::HttpResponseTransferCoding(Some(_))),
            "{refused:?}"
        );
    }

    #[test]
    fn an_ordinary_response_passes() {
        for (status, name, value) in [
            (200, "accept-ranges", "bytes"),
            (200, "content-encoding", "identity"),
            (200, "transfer-encoding", "Chunked"),
            (200, "content-type", "text/plain; charset=utf-8"),
            (200, "content-type", "text/plain; charset=\"iso-8859-1\""),
            (304, "etag", "\"x\""),
            (416, "x", "y"),
        ] {
            assert!(checked(status, name, value).is_ok(), "{status} {name}: {value}");
        }
    }
}
