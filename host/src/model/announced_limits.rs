//! The limits that a server announces with each answer, in the headers of both vendors.

use std::time::Duration;

use http::HeaderMap;
use http::header::DATE;
use jiff::{SignedDuration, Timestamp};

use crate::resilience::{AnnouncedLimit, RateLimitKind};

/// `anthropic-ratelimit-KIND-{limit,remaining,reset}`; the reset is a time as in RFC 3339. The kind `tokens` is the other two together, or the
/// one of them that is nearer, so it says nothing new. Those of the priority tier don't limit what this host sends.
const MESSAGES_API: [(RateLimitKind, &str); 3] = [
    (RateLimitKind::Requests, "requests"),
    (RateLimitKind::InputTokens, "input-tokens"),
    (RateLimitKind::OutputTokens, "output-tokens"),
];

/// `x-ratelimit-{limit,remaining,reset}-KIND`; the reset is a duration such as `6m0s`, or a number of seconds.
const CHAT_API: [(RateLimitKind, &str); 2] = [(RateLimitKind::Requests, "requests"), (RateLimitKind::Tokens, "tokens")];

/// How far clocks may differ that are taken to be the same.
const CLOCKS_AGREE: SignedDuration = SignedDuration::from_secs(2);

/// Every limit of which all three values can be read.
pub(super) fn announced_limits(headers: &HeaderMap, now: Timestamp) -> Vec<AnnouncedLimit> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    // Resets are by the server's clock. Its date has whole seconds, so it counts only where the clocks differ by more.
    let date = text(DATE.as_str()).and_then(|date| Timestamp::try_from(httpdate::parse_http_date(date).ok()?).ok());
    let now = date
        .filter(|date| date.duration_since(now).abs() > CLOCKS_AGREE)
        .unwrap_or(now);
    let number = |name: String| text(&name)?.parse::<u64>().ok();
    let of_messages_api = MESSAGES_API.into_iter().filter_map(|(kind, name)| {
        let header = |value| format!("anthropic-ratelimit-{name}-{value}");
        let reset: Timestamp = text(&header("reset"))?.parse().ok()?;
        Some(AnnouncedLimit {
            kind,
            limit: number(header("limit"))?,
            remaining: number(header("remaining"))?,
            whole_after: Duration::try_from(reset.duration_since(now)).unwrap_or_default(),
        })
    });
    let of_chat_api = CHAT_API.into_iter().filter_map(|(kind, name)| {
        let header = |value| format!("x-ratelimit-{value}-{name}");
        Some(AnnouncedLimit {
            kind,
            limit: number(header("limit"))?,
            remaining: number(header("remaining"))?,
            whole_after: duration(text(&header("reset"))?)?,
        })
    });
    of_messages_api.chain(of_chat_api).collect()
}

fn duration(text: &str) -> Option<Duration> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => Duration::try_from(text.parse::<SignedDuration>().ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Vec<AnnouncedLimit> {
        let headers = pairs.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        announced_limits(&headers.collect(), "2026-11-24T10:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_headers_of_the_messages_api() {
        let read = read(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-11-24T10:00:01.2Z"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
            ("anthropic-ratelimit-output-tokens-remaining", "0"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-11-24T09:59:00Z"),
            ("anthropic-ratelimit-input-tokens-limit", "30000"),
            ("anthropic-ratelimit-input-tokens-remaining", "many"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-24T10:00:01Z"),
        ]);
        let requests = AnnouncedLimit {
            kind: RateLimitKind::Requests,
            limit: 50,
            remaining: 49,
            whole_after: Duration::from_millis(1_200),
        };
        let output = AnnouncedLimit {
            kind: RateLimitKind::OutputTokens,
            limit: 8_000,
            remaining: 0,
            whole_after: Duration::ZERO,
        };
        assert_eq!(read, [requests, output]);
    }

    #[test]
    fn a_reset_is_by_the_clock_of_the_server_if_that_differs() {
        let reset_after = |date: &str| {
            let read = read(&[
                ("date", date),
                ("anthropic-ratelimit-requests-limit", "50"),
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-11-24T10:00:01.5Z"),
            ]);
            read[0].whole_after.as_secs_f64()
        };
        assert_eq!(reset_after("Tue, 24 Nov 2026 09:59:59 GMT"), 1.5);
        assert_eq!(reset_after("Tue, 24 Nov 2026 09:59:57 GMT"), 4.5);
    }

    #[test]
    fn the_sum_of_other_limits_is_no_limit_of_its_own() {
        let read = read(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-11-24T10:01:00Z"),
            // The sum of the others.
            ("anthropic-ratelimit-tokens-limit", "38000"),
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-24T10:01:00Z"),
        ]);
        let whole_after: Vec<_> = read
            .iter()
            .map(|limit| (limit.kind, limit.whole_after.as_secs()))
            .collect();
        assert_eq!(whole_after, [(RateLimitKind::Requests, 60)]);
    }

    #[test]
    fn the_headers_of_the_chat_api() {
        for (reset, milliseconds) in [
            ("6m0s", 360_000),
            ("1s", 1_000),
            ("20ms", 20),
            ("2m59.56s", 179_560),
            ("1h2m3s", 3_723_000),
            ("59.5", 59_500),
        ] {
            let read = read(&[
                ("x-ratelimit-limit-tokens", "150000"),
                ("x-ratelimit-remaining-tokens", "149984"),
                ("x-ratelimit-reset-tokens", reset),
            ]);
            let tokens = AnnouncedLimit {
                kind: RateLimitKind::Tokens,
                limit: 150_000,
                remaining: 149_984,
                whole_after: Duration::from_millis(milliseconds),
            };
            assert_eq!(read, [tokens], "{reset}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_limit() {
        for reset in ["", "-1", "-5s", "soon", "inf", "nan", "1e300"] {
            let read = read(&[
                ("x-ratelimit-limit-requests", "60"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", reset),
            ]);
            assert_eq!(read, [], "{reset}");
        }
        assert_eq!(read(&[("x-ratelimit-remaining-requests", "0")]), []);
    }
}
