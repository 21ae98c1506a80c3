//! How long to wait before the next attempt.
//!
//! # Why full jitter?
//!
//! Clients that fail together retry together: after an outage of a second, everybody who waits exactly one second comes
//! back in the same instant, and the dependency falls over again. Exponential backoff alone only spaces those waves. With
//! *full* jitter the delay is drawn evenly between nothing and the backoff, which spreads the retries over the whole
//! interval and needs the fewest calls in total (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
//!
//! The delay is a pure function of the attempt and a random number, so it is tested as a table; who calls it owns the
//! dice and the waiting.

use std::time::Duration;

/// How often and how patiently a call is retried.
#[derive(Clone, Debug, PartialEq)]
pub struct RetrySettings {
    /// Attempts in all, the first included; default 3. 1 means no retry.
    pub max_attempts: u32,
    /// The backoff after the first failure; default 1 s.
    pub initial_delay: Duration,
    /// No backoff is longer than this; default 30 s.
    pub max_delay: Duration,
    /// What each further failure multiplies the backoff by; default 2.
    pub multiplier: f64,
    /// Whether the delay is drawn from zero up to the backoff (full jitter) or is the backoff itself; default true.
    pub jitter: bool,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            multiplier: 2.0,
            jitter: true,
        }
    }
}

impl RetrySettings {
    /// The delay after so many failed attempts (1 after the first), with `random` drawn evenly from 0 to 1. Never more
    /// than `max_delay`, whatever the settings.
    pub fn delay(&self, failed_attempts: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failed_attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial_delay.as_secs_f64() * self.multiplier.powi(exponent);
        // A backoff too long for a `Duration` (or one that overflowed to infinity, or is no number) is beyond any cap.
        let backoff = Duration::try_from_secs_f64(seconds)
            .unwrap_or(self.max_delay)
            .min(self.max_delay);
        if self.jitter {
            Duration::try_from_secs_f64(backoff.as_secs_f64() * random.clamp(0.0, 1.0))
                .unwrap_or(backoff)
                .min(backoff)
        } else {
            backoff
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn backoff_doubles_up_to_the_cap() {
        let settings = RetrySettings {
            jitter: false,
            ..RetrySettings::default()
        };
        for (failed_attempts, seconds) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (4, 8),
            (5, 16),
            (6, 30),
            (64, 30),
            (u32::MAX, 30),
        ] {
            assert_eq!(
                settings.delay(failed_attempts, 0.5),
                Duration::from_secs(seconds),
                "{failed_attempts}"
            );
        }
    }

    #[test]
    fn full_jitter_spans_from_nothing_to_the_backoff() {
        let settings = RetrySettings::default();
        assert_eq!(settings.delay(3, 0.0), Duration::ZERO);
        assert_eq!(settings.delay(3, 0.25), Duration::from_secs(1));
        assert_eq!(settings.delay(3, 1.0), Duration::from_secs(4));
    }

    proptest! {
        #[test]
        fn no_setting_makes_it_panic_or_exceed_the_cap(
            failed_attempts in any::<u32>(), random in any::<f64>(), multiplier in any::<f64>(),
            initial in any::<u64>(), max in any::<u64>(), jitter in any::<bool>(),
        ) {
            let settings = RetrySettings {
                max_attempts: 3,
                initial_delay: Duration::from_nanos(initial),
                max_delay: Duration::from_nanos(max),
                multiplier,
                jitter,
            };
            prop_assert!(settings.delay(failed_attempts, random) <= settings.max_delay);
        }
    }
}
