//! Fuzzes the check of a guest's URL against its grant.

use http::{Request, Uri, header};
use url::Url;

use super::destination::{canonical_url, prepare};
use super::grant::HttpGrant;

/// Separates the grant from the URL in the input.
const SEPARATOR: &str = "\n---\n";

/// Reads a grant and a URL that a guest requests. The request must stay within the grant, even for a server that decodes
/// repeatedly, treats backslashes as slashes, and ends a segment at its parameters.
pub fn destination(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((grant, requested)) = text.split_once(SEPARATOR) else {
        return;
    };
    let (Ok(grant), Ok(requested)) = (HttpGrant::parse(grant, &["GET"]), requested.parse::<Uri>()) else {
        return;
    };
    let again = HttpGrant::parse(&grant.url(), &["GET"]);
    assert_eq!(again.as_ref(), Ok(&grant), "a grant is read as it is shown");
    let Ok(url) = canonical_url(&requested) else { return };
    if !grant.covers("GET", &url) {
        return;
    }
    let mut request = Request::new(());
    if prepare(&mut request, &url).is_err() {
        return;
    }
    let sent = request.uri();
    assert!(sent.authority().is_none(), "{sent} names a host");
    let host = request.headers()[header::HOST].to_str().unwrap_or_default();
    let host = Url::parse(&format!("{}://{host}/", grant.scheme.as_str()));
    assert!(host.is_ok_and(|host| grant.covers_origin(&host)), "the Host header");
    let (prefix, path) = (resolved(&grant.path_prefix), resolved(sent.path()));
    assert!(path.starts_with(&prefix), "{path:?} is not below {prefix:?}");
}

/// The segments of a path as the most lenient server resolves them.
fn resolved(path: &str) -> Vec<Vec<u8>> {
    let mut bytes = path.as_bytes().to_vec();
    loop {
        let decoded = decoded(&bytes);
        if decoded == bytes {
            break;
        }
        bytes = decoded;
    }
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for segment in bytes.split(|byte| b"/\\".contains(byte)) {
        let name = segment.split(|byte| b";\0?#".contains(byte)).next().unwrap_or_default();
        match name.trim_ascii() {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment.to_vec()),
        }
    }
    segments
}

/// Decodes once.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let value = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| all_digits)
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, others)) = rest.split_first() {
        let code = match rest {
            [b'%', b'u' | b'U', a, b, c, d, after @ ..] => value(&[*a, *b, *c, *d]).map(|code| (code, after)),
            [b'%', a, b, after @ ..] => value(&[*a, *b]).map(|code| (code, after)),
            // An overlong UTF-8 encoding, such as of a slash or a dot.
            [0xc0, low @ 0x80..0xc0, after @ ..] => Some((u32::from(low & 0x3f), after)),
            _ => None,
        };
        match code.and_then(|(code, after)| Some((u8::try_from(code).ok()?, after))) {
            Some((byte, after)) => {
                out.push(byte);
                rest = after;
            }
            None => {
                out.push(*first);
                rest = others;
            }
        }
    }
    out
}
