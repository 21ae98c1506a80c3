//! The rate limits of the simulated API: a bucket each, which is full at first and refills evenly.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::dialect::Dialect;

/// What a script allows. `None`: as much as anybody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitOptions {
    /// The time in which so much is allowed, a millisecond to an hour. Default a minute.
    pub per: Duration,
    /// Requests that get an answer of the script.
    pub requests: Option<u32>,
    /// Tokens of prompts, without those read from the cache. One request may take more than what is left; the next one waits until that
    /// has come back.
    pub input_tokens: Option<u32>,
}

impl Default for RateLimitOptions {
    fn default() -> Self {
        Self {
            per: Duration::from_secs(60),
            requests: None,
            input_tokens: None,
        }
    }
}

/// What is left of the limits.
#[derive(Debug)]
pub(super) struct RateLimits {
    requests: Option<Bucket>,
    input_tokens: Option<Bucket>,
}

/// A header of an answer.
pub(super) type Header = (String, String);

#[derive(Debug)]
struct Bucket {
    limit: f64,
    per_second: f64,
    /// Below zero after a request that took more than what was left.
    level: f64,
    at: Instant,
}

impl RateLimits {
    pub(super) fn new(options: RateLimitOptions, now: Instant) -> Self {
        let bucket = |limit: u32| Bucket {
            limit: f64::from(limit),
            per_second: f64::from(limit) / options.per.as_secs_f64(),
            level: f64::from(limit),
            at: now,
        };
        Self {
            requests: options.requests.map(bucket),
            input_tokens: options.input_tokens.map(bucket),
        }
    }

    /// Takes a request.
    ///
    /// # Errors
    ///
    /// How long until the next one is allowed.
    pub(super) fn begin(&mut self, now: Instant) -> Result<(), Duration> {
        let requests = self
            .requests
            .as_mut()
            .map_or(Duration::ZERO, |bucket| bucket.until(1.0, now));
        // A token or more.
        let tokens = self
            .input_tokens
            .as_mut()
            .map_or(Duration::ZERO, |bucket| bucket.until(1.0, now));
        match requests.max(tokens) {
            Duration::ZERO => {
                self.requests.iter_mut().for_each(|bucket| bucket.level -= 1.0);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Takes the tokens of a request's prompt.
    pub(super) fn take_input(&mut self, tokens: u64) {
        let taken = tokens as f64;
        self.input_tokens.iter_mut().for_each(|bucket| bucket.level -= taken);
    }

    /// The headers that tell a client what is left.
    pub(super) fn headers(&mut self, dialect: Dialect, now: Instant, clock: Timestamp) -> Vec<Header> {
        let tokens = match dialect {
            Dialect::Messages => "input-tokens",
            Dialect::ChatCompletions => "tokens",
        };
        let buckets = [("requests", &mut self.requests), (tokens, &mut self.input_tokens)];
        let announced = buckets
            .into_iter()
            .filter_map(|(name, bucket)| Some((name, bucket.as_mut()?)));
        announced
            .flat_map(|(name, bucket)| {
                let whole_after = bucket.until(bucket.limit, now);
                let values = [
                    ("limit", bucket.limit.to_string()),
                    ("remaining", bucket.level.max(0.0).floor().to_string()),
                    (
                        "reset",
                        match dialect {
                            Dialect::Messages => (clock + whole_after).to_string(),
                            Dialect::ChatCompletions => format!("{:.3}s", whole_after.as_secs_f64()),
                        },
                    ),
                ];
                values.map(|(value, text)| match dialect {
                    Dialect::Messages => (format!("anthropic-ratelimit-{name}-{value}"), text),
                    Dialect::ChatCompletions => (format!("x-ratelimit-{value}-{name}"), text),
                })
            })
            .collect()
    }
}

impl Bucket {
    /// How long until `level` is reached.
    fn until(&mut self, level: f64, now: Instant) -> Duration {
        let refilled = (now - self.at).as_secs_f64() * self.per_second;
        self.level = (self.level + refilled).min(self.limit);
        self.at = now;
        Duration::from_secs_f64((level - self.level).max(0.0) / self.per_second)
    }
}

/// As the API writes it: whole seconds, so that a client that comes back then is not too early.
pub(super) fn retry_after(wait: Duration) -> Header {
    ("retry-after".to_owned(), wait.as_secs_f64().ceil().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_comes_back_within_a_minute() {
        let start = Instant::now();
        let options = RateLimitOptions {
            requests: Some(60),
            input_tokens: Some(600),
            ..RateLimitOptions::default()
        };
        let mut limits = RateLimits::new(options, start);
        for _ in 0..60 {
            limits.begin(start).unwrap();
        }
        assert_eq!(limits.begin(start).unwrap_err(), Duration::from_secs(1));
        let later = start + Duration::from_secs(30);
        limits.begin(later).unwrap();
        limits.take_input(700);
        let clock: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
        let headers = limits.headers(Dialect::Messages, later, clock);
        let expected = [
            ("anthropic-ratelimit-requests-limit", "60"),
            ("anthropic-ratelimit-requests-remaining", "29"),
            ("anthropic-ratelimit-requests-reset", "2026-11-24T10:00:31Z"),
            ("anthropic-ratelimit-input-tokens-limit", "600"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-24T10:01:10Z"),
        ];
        assert_eq!(
            headers,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        // 100 tokens too many, and one more.
        assert_eq!(limits.begin(later).unwrap_err(), Duration::from_millis(10_100));
        let headers = limits.headers(Dialect::ChatCompletions, later, clock);
        assert!(
            headers.contains(&("x-ratelimit-reset-requests".to_owned(), "31.000s".to_owned())),
            "{headers:?}"
        );
    }
}
