//! What the headers of an answer say.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap};

/// An id is for logs and support tickets, so anything that does not look like one is no id.
const MAX_REQUEST_ID: usize = 128;

/// The id under the header of this `name`, which each vendor calls differently.
pub(super) fn request_id(headers: &HeaderMap, name: &str) -> Option<String> {
    text(headers, name)
        .filter(|id| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(str::to_owned)
}

/// How long the server asks us to wait: `retry-after-ms` first, then `retry-after` as seconds, which may be a float, or as
/// an HTTP date, which counts from `now`.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let number = |name| text(headers, name)?.parse::<f64>().ok();
    if let Some(delay) = number("retry-after-ms").and_then(|ms| Duration::try_from_secs_f64(ms / 1_000.0).ok()) {
        return Some(delay);
    }
    if let Some(seconds) = number("retry-after") {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text(headers, "retry-after")?).ok()?;
    let date = Timestamp::try_from(date).ok()?;
    Duration::try_from(date.duration_since(now)).ok()
}

pub(super) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    text(headers, "x-should-retry")?.parse().ok()
}

/// True unless the server says that its answer is something else than a stream of events.
pub(super) fn may_be_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use reqwest::header::{HeaderName, HeaderValue};

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
            (&[("retry-after", "1e300")], None),
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
    fn should_retry_is_a_word_or_nothing() {
        assert_eq!(should_retry(&headers(&[("x-should-retry", "true")])), Some(true));
        assert_eq!(should_retry(&headers(&[("x-should-retry", "false")])), Some(false));
        assert_eq!(should_retry(&headers(&[("x-should-retry", "maybe")])), None);
        assert_eq!(should_retry(&headers(&[])), None);
    }

    #[test]
    fn an_id_looks_like_an_id() {
        assert_eq!(
            request_id(&headers(&[("request-id", "req_011C")]), "request-id").as_deref(),
            Some("req_011C")
        );
        assert_eq!(request_id(&headers(&[("request-id", "a b")]), "request-id"), None);
        assert_eq!(request_id(&headers(&[("request-id", "")]), "request-id"), None);
    }
}
