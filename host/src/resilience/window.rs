//! The last calls of a dependency, and whether too many of them failed or were slow.

use std::collections::VecDeque;
use std::time::Duration;

/// When a breaker opens by rates, and not by failures in a row: a dependency that fails every other call never fails five times in a
/// row.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSettings {
    /// How many calls are looked at: the last ones. Default 20.
    pub calls: u32,
    /// With fewer calls than this, nothing is concluded. Default 10.
    pub min_calls: u32,
    /// The part of failures that opens the breaker, above 0 and up to 1. Default 0.5.
    pub failure_rate: f64,
    /// A call that takes at least this long is slow, whatever comes of it. Default: none is.
    pub slow_call: Option<Duration>,
    /// The part of slow calls that opens the breaker, above 0 and up to 1. Default 1.
    pub slow_rate: f64,
}

impl Default for WindowSettings {
    fn default() -> Self {
        Self {
            calls: 20,
            min_calls: 10,
            failure_rate: 0.5,
            slow_call: None,
            slow_rate: 1.0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Call {
    has_failed: bool,
    is_slow: bool,
}

/// What the last calls came to.
#[derive(Debug, Default)]
pub(super) struct Window {
    calls: VecDeque<Call>,
    failures: u32,
    slow: u32,
}

impl Window {
    /// Adds a call. Returns whether the breaker must open.
    pub(super) fn add(&mut self, settings: &WindowSettings, has_failed: bool, took: Duration) -> bool {
        let is_slow = settings.slow_call.is_some_and(|slow| took >= slow);
        self.calls.push_back(Call { has_failed, is_slow });
        self.failures += u32::from(has_failed);
        self.slow += u32::from(is_slow);
        while self.calls.len() > settings.calls.max(1) as usize {
            if let Some(oldest) = self.calls.pop_front() {
                self.failures -= u32::from(oldest.has_failed);
                self.slow -= u32::from(oldest.is_slow);
            }
        }
        let calls = self.len();
        // More can't be in the window.
        let enough = settings.min_calls.clamp(1, settings.calls.max(1));
        let reaches = |count: u32, rate: f64| count > 0 && f64::from(count) >= rate * f64::from(calls);
        calls >= enough && (reaches(self.failures, settings.failure_rate) || reaches(self.slow, settings.slow_rate))
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.calls.len()).unwrap_or(u32::MAX)
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) const fn slow(&self) -> u32 {
        self.slow
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `.` a success, `f` a failure, `s` a slow success, `F` a slow failure; in upper case or after a slash, what opens it.
    fn opens_at(settings: &WindowSettings, calls: &str) -> Option<usize> {
        let mut window = Window::default();
        calls.chars().position(|call| {
            let took = if "sF".contains(call) { 60 } else { 1 };
            window.add(settings, "fF".contains(call), Duration::from_secs(took))
        })
    }

    /// Written out by hand: the number of the call, from 0, that opens the breaker.
    #[test]
    fn reference_sequences() {
        let settings = WindowSettings {
            calls: 10,
            min_calls: 4,
            failure_rate: 0.5,
            slow_call: Some(Duration::from_secs(60)),
            slow_rate: 0.8,
        };
        for (calls, opens) in [
            // Three calls say nothing, four do.
            ("fff", None),
            ("ffff", Some(3)),
            ("f.f.", Some(3)),
            ("...f", None),
            // Three of six is half, three of seven is not.
            ("...f.ff", None),
            ("...fff", Some(5)),
            // Ten calls: five of them, and the eleventh pushes the first one out.
            (".....fffff", Some(9)),
            ("......ffff", None),
            ("......ffff.f", Some(11)),
            ("f.....fff..f", None),
            // Successes push failures out.
            ("f.........f.........f", None),
            // Four of five slow ones, whatever comes of them.
            ("ssss", Some(3)),
            (".ssss", Some(4)),
            ("..ssss", None),
            ("F.s.s", None),
            // Both at once.
            (".sFsF", Some(4)),
        ] {
            assert_eq!(opens_at(&settings, calls), opens, "{calls}");
        }
    }

    #[test]
    fn without_a_slow_call_none_is_slow() {
        let settings = WindowSettings::default();
        assert_eq!(opens_at(&settings, &"s".repeat(40)), None);
        assert_eq!(opens_at(&settings, &"sf".repeat(20)), Some(9));
    }

    /// Else the breaker could never open.
    #[test]
    fn no_minimum_is_above_the_window() {
        let settings = WindowSettings {
            calls: 3,
            min_calls: 100,
            ..WindowSettings::default()
        };
        assert_eq!(opens_at(&settings, "fff"), Some(2));
        let none = WindowSettings {
            calls: 0,
            min_calls: 0,
            ..WindowSettings::default()
        };
        assert_eq!(opens_at(&none, "..f"), Some(2));
    }
}
