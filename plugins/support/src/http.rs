//! One HTTP request through `wasi:http`, with a limit on the size of the answer.

#[cfg(target_family = "wasm")]
mod exchange;
#[cfg(target_family = "wasm")]
pub use exchange::send;

use std::time::Duration;

/// A request without a body, because the guests here only read.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method in upper case.
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// A larger body is a [`Fault::TooLarge`].
    pub max_body_bytes: usize,
    /// `None`: as long as the host allows.
    pub timeouts: Option<Timeouts>,
}

/// How long a server may keep a request waiting. Beyond that it is [`Fault::Unreachable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection, with the look-up of the name.
    pub connect: Duration,
    /// For the head of the answer, from the connection on.
    pub first_byte: Duration,
    /// Between two pieces of the body.
    pub between_bytes: Duration,
}

impl Request {
    pub fn get(url: impl Into<String>, max_body_bytes: usize) -> Self {
        Self {
            method: "GET".to_owned(),
            url: url.into(),
            headers: Vec::new(),
            max_body_bytes,
            timeouts: None,
        }
    }
}

/// A response with any status.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// From the header `retry-after`, if it is in seconds.
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not an `http://` or `https://` URL.
    BadUrl(String),
    /// The host doesn't allow this request. Contains the name of the `wasi:http` error.
    Denied(String),
    /// A transient failure of the network or the server. Contains the name of the `wasi:http` error.
    Unreachable(String),
    /// A permanent failure. Contains the name of the `wasi:http` error.
    Failed(String),
    /// The body is larger than this plugin or its host accepts.
    TooLarge,
}

/// A URL in the parts that `wasi:http` needs.
#[derive(Debug, PartialEq, Eq)]
pub struct UrlParts<'a> {
    pub https: bool,
    pub authority: &'a str,
    pub path_with_query: String,
}

/// Splits `url`. The fragment is dropped, because it is never sent.
pub fn split(url: &str) -> Result<UrlParts<'_>, Fault> {
    let bad = || Fault::BadUrl(url.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return Err(bad()),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err(bad());
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(UrlParts {
        https,
        authority,
        path_with_query: format!("{slash}{path}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_split_into_what_wasi_http_wants() {
        let parts = |https, authority, path: &str| {
            Ok(UrlParts {
                https,
                authority,
                path_with_query: path.to_owned(),
            })
        };
        assert_eq!(
            split("https://example.org/a/b?c=d#e"),
            parts(true, "example.org", "/a/b?c=d")
        );
        assert_eq!(split("HTTP://127.0.0.1:8080"), parts(false, "127.0.0.1:8080", "/"));
        assert_eq!(split("http://[::1]:80?q=/"), parts(false, "[::1]:80", "/?q=/"));
        for bad in ["", "example.org", "ftp://example.org/", "http://", "http:///path"] {
            assert_eq!(split(bad), Err(Fault::BadUrl(bad.to_owned())));
        }
    }
}
