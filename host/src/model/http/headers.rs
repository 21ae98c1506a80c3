//! Parses the response headers.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use jiff::Timestamp;
use url::Url;

use super::error::display_url;

/// The longest request id. Ids appear in logs and support tickets, so anything that doesn't look like an id is dropped.
const MAX_REQUEST_ID: usize = 128;

/// The id in the header `name`, which differs by vendor.
pub(super) fn request_id(headers: &HeaderMap, name: &str) -> Option<String> {
    text(headers, name)
        .filter(|id| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(str::to_owned)
}

/// The delay that the server requests: `retry-after-ms`, else `retry-after` in seconds, possibly fractional, or as an HTTP
/// date relative to `now`. A number beyond every clock is the longest delay, not none.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let seconds = |name, unit: f64| {
        let number = text(headers, name)?.parse::<f64>().ok()? * unit;
        let is_delay = number >= 0.0;
        is_delay.then(|| Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX))
    };
    if let Some(delay) = seconds("retry-after-ms", 0.001).or_else(|| seconds("retry-after", 1.0)) {
        return Some(delay);
    }
    let date = httpdate::parse_http_date(text(headers, "retry-after")?).ok()?;
    let date = Timestamp::try_from(date).ok()?;
    Duration::try_from(date.duration_since(now)).ok()
}

pub(super) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    text(headers, "x-should-retry")?.parse().ok()
}

/// The URL that the header `location` of an answer from `url` leads to, for messages.
pub(super) fn location(headers: &HeaderMap, url: &str) -> Option<String> {
    let location = text(headers, LOCATION.as_str())?;
    let location = Url::parse(url).ok()?.join(location).ok()?;
    Some(display_url(&location))
}

/// Whether the server says that the answer is an event stream.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    has_type(headers, "text/event-stream")
}

/// Whether the server says that the answer is a page for a browser.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    has_type(headers, "text/html") || has_type(headers, "application/xhtml+xml")
}

fn has_type(headers: &HeaderMap, name: &str) -> bool {
    text(headers, CONTENT_TYPE.as_str()).is_some_and(|value| value.to_ascii_lowercase().starts_with(name))
}

/// The compression that the server names, if any.
pub(super) fn encoding(headers: &HeaderMap) -> Option<String> {
    let names = text(headers, CONTENT_ENCODING.as_str())?.to_ascii_lowercase();
    (!names.is_empty() && names != "identity").then_some(names)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn retry_after_in_all_its_forms() {
        let now: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
        let ms = Duration::from_millis;
        for (pairs, delay) in [
            (&[][..], None),
            (&[("retry-after", "2")], Some(ms(2_000))),
            (&[("retry-after", "0.25")], Some(ms(250))),
            (&[("retry-after", "0")], Some(ms(0))),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "nan")], None),
            (&[("retry-after", "1e300")], Some(Duration::MAX)),
            (&[("retry-after", "14400")], Some(ms(14_400_000))),
            (&[("retry-after", "soon")], None),
            (&[("retry-after-ms", "1500"), ("retry-after", "9")], Some(ms(1_500))),
            (&[("retry-after-ms", "soon"), ("retry-after", "9")], Some(ms(9_000))),
            (&[("retry-after", "Tue, 24 Nov 2026 10:00:30 GMT")], Some(ms(30_000))),
            (&[("retry-after", "Tue, 24 Nov 2026 09:59:30 GMT")], None),
        ] {
            assert_eq!(retry_after(&headers(pairs), now), delay, "{pairs:?}");
        }
    }

    #[test]
    fn should_retry_is_true_false_or_absent() {
        assert_eq!(should_retry(&headers(&[("x-should-retry", "true")])), Some(true));
        assert_eq!(should_retry(&headers(&[("x-should-retry", "false")])), Some(false));
        assert_eq!(should_retry(&headers(&[("x-should-retry", "maybe")])), None);
        assert_eq!(should_retry(&headers(&[])), None);
    }

    #[test]
    fn request_ids_with_other_characters_are_dropped() {
        assert_eq!(
            request_id(&headers(&[("request-id", "req_011C")]), "request-id").as_deref(),
            Some("req_011C")
        );
        assert_eq!(request_id(&headers(&[("request-id", "a b")]), "request-id"), None);
        assert_eq!(request_id(&headers(&[("request-id", "")]), "request-id"), None);
    }
}
