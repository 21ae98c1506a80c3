//! Names of headers as the most lenient server reads them, and headers that no guest sends.
//!
//! CGI and what descends from it turn every sign of a name that is neither a letter nor a digit into `_`, so to some servers
//! `X_User`, `X.User` and `X-User` are one header.

use http::header::{HeaderMap, HeaderName};
use wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS;

/// Headers that make some servers, proxies or frameworks read another method, URL, host or client than the request has. The grants
/// decide about those, so a guest can't send these headers. `host/docs/http.md` says who reads which.
const OVERRIDE_HEADERS: [&str; 41] = [
    // The method.
    "x-http-method",
    "x-http-method-override",
    "x-method",
    "x-method-override",
    // The URL or a part of it.
    "x-accel-mapping",
    "x-accel-redirect",
    "x-envoy-original-path",
    "x-http-destinationurl",
    "x-http-path-override",
    "x-middleware-rewrite",
    "x-middleware-subrequest",
    "x-ms-original-url",
    "x-original-path",
    "x-original-uri",
    "x-original-url",
    "x-override-uri",
    "x-override-url",
    "x-proxy-url",
    "x-rewrite-path",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-sendfile-type",
    "x-url-scheme",
    "x-waws-unencoded-url",
    // The host.
    "x-backend-host",
    "x-envoy-original-dst-host",
    "x-envoy-original-host",
    "x-host",
    "x-host-override",
    "x-http-host-override",
    "x-original-host",
    "x-proxy-host",
    "x-scheme",
    "front-end-https",
    // The client.
    "cf-connecting-ip",
    "client-ip",
    "fastly-client-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
];

/// First words of names that a proxy adds to say what the request was: `Forwarded`, `X-Forwarded-Host` and so on.
const FORWARDED: [&str; 2] = ["forwarded", "x-forwarded"];

/// Whether no guest sends this header: the transport sets it, or it makes servers read another request.
pub(super) fn is_forbidden(name: &HeaderName) -> bool {
    let name = canonical(name);
    let mut defaults = DEFAULT_FORBIDDEN_HEADERS.into_iter();
    defaults.any(|forbidden| forbidden.as_str() == name)
        || OVERRIDE_HEADERS.contains(&name.as_str())
        || FORWARDED.iter().any(|first| {
            let rest = name.strip_prefix(first);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
}

/// The name with every sign that is neither a letter nor a digit as `-`, for comparing.
pub(super) fn canonical(name: &HeaderName) -> String {
    let sign = |sign: char| if sign.is_ascii_alphanumeric() { sign } else { '-' };
    name.as_str().chars().map(sign).collect()
}

/// Removes the headers whose canonical name `is_of_kind`, and returns one of them.
pub(super) fn remove(headers: &mut HeaderMap, is_of_kind: impl Fn(&str) -> bool) -> Option<HeaderName> {
    let of_kind = |name: &&HeaderName| is_of_kind(&canonical(name));
    let names: Vec<HeaderName> = headers.keys().filter(of_kind).cloned().collect();
    for name in &names {
        headers.remove(name);
    }
    names.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_header_that_overrides_the_request_is_forbidden() {
        for name in [
            "x-http-method-override",
            "x_http_method_override",
            "x.http.method.override",
            "x-override-url",
            "x_original-url",
            "forwarded",
            "x-forwarded",
            "x-forwarded-anything",
            "x_forwarded_host",
            "transfer_encoding",
        ] {
            assert!(is_forbidden(&HeaderName::from_static(name)), "{name}");
        }
        for name in [
            "accept",
            "x-forwardedness",
            "x-methods",
            "content-type",
            "x-request-id",
            "idempotency-key",
        ] {
            assert!(!is_forbidden(&HeaderName::from_static(name)), "{name}");
        }
    }

    /// The document's tables have every header of the list, and no other.
    #[test]
    fn the_document_names_every_header() {
        let document = include_str!("../../../docs/http.md");
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        let names = rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split(','));
        let mut documented: Vec<String> = names
            .map(|name| name.trim().trim_matches('`').to_ascii_lowercase())
            .collect();
        let mut listed = OVERRIDE_HEADERS.map(str::to_owned).to_vec();
        listed.extend(["forwarded", "x-forwarded-*"].map(str::to_owned));
        documented.sort();
        listed.sort();
        assert_eq!(documented, listed);
    }
}
