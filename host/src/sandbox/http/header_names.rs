//! Names of headers as the most lenient server reads them. CGI and what descends from it turn `-` into `_`, so to some servers
//! `X_User` and `X-User` are one header.

use http::header::{HeaderMap, HeaderName};

/// The name with every `_` as `-`, for comparing.
pub(super) fn canonical(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
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
