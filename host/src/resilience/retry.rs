//! Computes the delay before the next attempt.
//!
//! # Why full jitter?
//!
//! Clients that fail together retry together: if all of them wait exactly one second after an outage, they return in the same
//! instant, and the dependency falls over again. Exponential backoff alone only spaces those waves. *Full* jitter draws the
//! delay uniformly between zero and the backoff. That spreads the retries over the whole interval and needs the fewest calls
//! in total (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
//!
//! The delay is a pure function of the attempt and a random number, so a table tests it. The caller supplies the random
//! number and sleeps.

use std::time::Duration;

/// How often to retry a call, and after what delays.
#[derive(Clone, Debug, PartialEq)]
pub struct RetrySettings {
    /// Total attempts, including the first; default 3. 1 means no retry.
    pub max_attempts: u32,
    /// The backoff after the first failure; default 1 s.
    pub initial_delay: Duration,
    /// The cap on the backoff; default 30 s.
    pub max_delay: Duration,
    /// Each further failure multiplies the backoff by this; default 2.
    pub multiplier: f64,
    /// If true, the delay is drawn between zero and the backoff (full jitter); if false, it is the backoff. Default true.
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
    /// The delay after `failed_attempts` (1 after the first failure), with `random` drawn uniformly from 0 to 1. Never more
    /// than `max_delay`, whatever the settings.
    pub fn delay(&self, failed_attempts: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failed_attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial_delay.as_secs_f64() * self.multiplier.powi(exponent);
        // A backoff that is too long for a `Duration`, infinite or NaN is capped as well.
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
    fn full_jitter_ranges_from_zero_to_the_backoff() {
        let settings = RetrySettings::default();
        assert_eq!(settings.delay(3, 0.0), Duration::ZERO);
        assert_eq!(settings.delay(3, 0.25), Duration::from_secs(1));
        assert_eq!(settings.delay(3, 1.0), Duration::from_secs(4));
    }

    proptest! {
        #[test]
        fn no_settings_make_it_panic_or_exceed_the_cap(
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
