//! The headers of a request: the key, the version, betas and the content type.

use http::{HeaderMap, header};

use super::super::error::ApiError;
use crate::messages_api::headers::{API_KEY, VERSION, VERSION_2026_10_21, VERSIONS};

/// How strict an API version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) enum Version {
    /// Before 2026-10-21.
    Older,
    /// 2026-10-21, which refuses more.
    Current,
}

/// The names in `anthropic-beta`. Unknown ones are accepted.
#[derive(Debug, Default)]
pub(super) struct Betas<'a>(Vec<&'a str>);

impl<'a> Betas<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let values = headers.get_all("anthropic-beta").into_iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        let names = texts.flat_map(|text| text.split(',')).map(str::trim);
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Whether a beta is active, whatever its date. Its name without a date ends with `-`.
    pub(super) fn has(&self, beta: &str) -> bool {
        self.0.iter().any(|name| name.starts_with(beta))
    }

    /// Whether any of some betas is active, or none is needed.
    pub(super) fn allow(&self, betas: &[&str]) -> bool {
        betas.is_empty() || betas.iter().any(|beta| self.has(beta))
    }
}

pub(in crate::simulator) fn headers(headers: &HeaderMap, has_body: bool) -> Result<Version, ApiError> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .trim()
    };
    // Either header will do, and any key. With both, the API uses `x-api-key`.
    let key = match text(API_KEY) {
        "" => bearer(text(header::AUTHORIZATION.as_str())),
        key => key,
    };
    if key.is_empty() {
        return Err(ApiError::new(401, format!("{API_KEY} header is required")));
    }
    let version = match text(VERSION) {
        "" => return Err(ApiError::invalid(format!("{VERSION}: header is required"))),
        VERSION_2026_10_21 => Version::Current,
        known if VERSIONS.contains(&known) => Version::Older,
        other => {
            return Err(ApiError::invalid(format!(
                "{VERSION}: \"{other}\" is not a valid version"
            )));
        }
    };
    let media_type = text(header::CONTENT_TYPE.as_str())
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if has_body && media_type != "application/json" {
        return Err(ApiError::invalid("content-type: header must be application/json"));
    }
    Ok(version)
}

/// The token of an `authorization` header, or nothing.
fn bearer(authorization: &str) -> &str {
    match authorization.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    fn good() -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert("x-api-key", HeaderValue::from_static("k"));
        map.insert("anthropic-version", HeaderValue::from_static("2026-10-21"));
        map.insert(
            "content-type",
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        map
    }

    #[test]
    fn every_version_and_both_kinds_of_key_are_accepted() {
        for (version, expected) in [
            ("2026-10-21", Version::Current),
            ("2023-06-01", Version::Older),
            ("2023-01-01", Version::Older),
        ] {
            let mut map = good();
            map.insert("anthropic-version", HeaderValue::from_static(version));
            map.insert("anthropic-beta", HeaderValue::from_static("tomorrow-2027-01-01"));
            assert_eq!(headers(&map, true), Ok(expected));
            for authorization in ["Bearer k", "bearer  k"] {
                map.remove("x-api-key");
                map.insert("authorization", HeaderValue::from_static(authorization));
                assert_eq!(headers(&map, true), Ok(expected), "{authorization}");
            }
        }
    }

    #[test]
    fn betas_are_found_in_every_header() {
        let mut map = good();
        map.append("anthropic-beta", HeaderValue::from_static("a-2026-01-01, b-2026-01-01"));
        map.append("anthropic-beta", HeaderValue::from_static(",c-2026-01-01"));
        let betas = Betas::of(&map);
        assert!(betas.has("b-") && betas.has("c-") && !betas.has("d-"));
        assert!(betas.allow(&[]) && betas.allow(&["d-", "a-"]) && !betas.allow(&["d-"]));
    }

    #[test]
    fn headers_are_required() {
        for (name, value, status, words) in [
            ("x-api-key", None, 401, "x-api-key header is required"),
            ("x-api-key", Some("  "), 401, "x-api-key header is required"),
            ("anthropic-version", None, 400, "anthropic-version: header is required"),
            (
                "anthropic-version",
                Some("2020-01-01"),
                400,
                "anthropic-version: \"2020-01-01\" is not a valid version",
            ),
            (
                "content-type",
                None,
                400,
                "content-type: header must be application/json",
            ),
            (
                "content-type",
                Some("text/plain"),
                400,
                "content-type: header must be application/json",
            ),
        ] {
            let mut map = good();
            match value {
                None => drop(map.remove(name)),
                Some(value) => drop(map.insert(name, HeaderValue::from_static(value))),
            }
            let problem = headers(&map, true).unwrap_err();
            assert_eq!((problem.status, problem.message.as_str()), (status, words), "{name}");
        }
        for authorization in ["Bearer", "Bearer ", "Basic k", "k"] {
            let mut map = good();
            map.remove("x-api-key");
            map.insert("authorization", HeaderValue::from_static(authorization));
            assert_eq!(headers(&map, true).unwrap_err().status, 401, "{authorization}");
        }
    }
}
