//! A circuit breaker: after enough failures, in a row or among the last calls, it stops calls to a dependency for a while.
//!
//! # Why a breaker and not only retries?
//!
//! Retries help against a fault that is gone a second later. When a dependency is down they make things worse: every caller
//! waits for its own timeout, and the dependency gets the most traffic while it tries to recover. A breaker remembers. While
//! open, it refuses calls immediately, at no cost to either side. After [`BreakerSettings::open_for`] it lets **one** probe
//! at a time through to find out whether the dependency has recovered.
//!
//! ```text
//!            failure_threshold failures in a row, or the rates of a window
//!   closed ────────────────────────────────────────▶ open ◀─────────┐
//!     ▲                                               │             │ the probe fails
//!     │                                               │ open_for    │
//!     └──────────── success_threshold probes ─── half_open ─────────┘
//!                   in a row succeed
//! ```
//!
//! # Probes and the head of an answer
//!
//! A streamed answer can take minutes, but its head shows within a second whether the dependency is back. So a caller can report
//! the head with [`Permit::answered`], which **decides a probe**: the next one may go, or the breaker closes or opens. What the
//! probe's answer comes to afterwards changes nothing: a half-open breaker asks only whether the dependency answers at all, and a
//! fault that comes later in its answers is found by the closed breaker, which counts.
//!
//! **While closed, the head decides nothing**, and the end of the call counts: an answer that begins well and then breaks off is a
//! failure. Otherwise a dependency that accepts every call and completes none would never be found out.
//!
//! # Generations
//!
//! Calls overlap: a call admitted while the breaker was closed can end after it opened, or after it closed again. Each
//! change of state starts a new generation, and an outcome counts only in the generation that admitted the call. So a late
//! failure can't reopen a breaker that has just recovered, and a late success can't count as a probe.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::lock;
use super::window::{Window, WindowSettings};
use crate::events::{BreakerState, Transition};

/// What is remembered of a failure, in characters.
const MAX_CAUSE_CHARS: usize = 300;

/// When a breaker opens and closes. A threshold of 0 acts as 1.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerSettings {
    /// Consecutive failures that open it; default 5. Not looked at if there is a window.
    pub failure_threshold: u32,
    /// Opens it by the rates of the last calls; default none.
    pub window: Option<WindowSettings>,
    /// Consecutive successful probes that close it; default 2.
    pub success_threshold: u32,
    /// How long it stays open before it admits a probe; default 60 s.
    pub open_for: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            window: None,
            success_threshold: 2,
            open_for: Duration::from_secs(60),
        }
    }
}

/// A snapshot of a breaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerStats {
    pub name: String,
    /// An open breaker stays `open` after `open_for` until a call arrives to be its probe.
    pub state: BreakerState,
    /// Consecutive failures while closed; with a window, failures in it. Failed probes add to it; closing sets it to 0.
    pub failure_count: u32,
    /// Consecutive successful probes while half-open, else 0.
    pub success_count: u32,
    /// Not looked at if there is a window.
    pub failure_threshold: u32,
    /// What the last calls came to, if it opens by their rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowStats>,
    pub success_threshold: u32,
    pub open_for_seconds: f64,
    /// Wall-clock time at which it last opened; `None` while closed.
    pub opened_at: Option<jiff::Timestamp>,
    /// How often it has opened since the host started or the breaker was reset.
    pub opened_count: u64,
    /// Time until it admits a probe; `None` unless it is open, and `None` while an operator holds it open.
    pub time_until_retry_seconds: Option<f64>,
    /// Calls refused since the host started or the breaker was reset.
    pub rejected_count: u64,
    /// What the last failure was that counted, as far as its caller said, also of the process before; `None` once it is closed again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Arc<str>>,
}

/// What the last calls of a closed breaker came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WindowStats {
    pub calls: u32,
    pub failures: u32,
    pub slow: u32,
}

/// An operator's manual override of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// Hold it open, without probes, until it is closed or reset.
    Open,
    /// Close it with a failure count of 0.
    Closed,
    /// Close it and set every counter to 0.
    Reset,
}

impl Override {
    pub(crate) const ALL: [Self; 3] = [Self::Open, Self::Closed, Self::Reset];

    /// The command that orders it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "close",
            Self::Reset => "reset",
        }
    }
}

/// The breaker refused the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("breaker `{name}` is {state}, next try in {retry_after:?}")]
pub struct Rejected {
    pub name: String,
    pub state: BreakerState,
    /// Whether an operator holds it open, so that nothing will be tried until they close it.
    pub is_held: bool,
    /// How long to wait before trying again. Zero while a probe is in flight, because its outcome decides. While an operator
    /// holds the breaker open the end is unknown, so this is `open_for`.
    pub retry_after: Duration,
    /// As in [`BreakerStats::last_failure`].
    pub last_failure: Option<Arc<str>>,
}

/// One dependency's breaker. Shared as `Arc<Breaker>`; every method takes a short lock and never waits.
#[derive(Debug)]
pub struct Breaker {
    name: String,
    settings: BreakerSettings,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    /// Incremented by each change of state; see the module's documentation.
    generation: u64,
    failures: u32,
    window: Window,
    last_failure: Option<Arc<str>>,
    opened_at: Option<jiff::Timestamp>,
    opened_count: u64,
    rejected_count: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    /// `until` is `None` while an operator holds the breaker open.
    Open {
        until: Option<Instant>,
    },
    HalfOpen {
        successes: u32,
        probe_in_flight: bool,
    },
}

impl Phase {
    const fn state(self) -> BreakerState {
        match self {
            Self::Closed => BreakerState::Closed,
            Self::Open { .. } => BreakerState::Open,
            Self::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Breaker {
    /// A closed breaker. Reports and events use its name, such as `tool:calculate`.
    pub fn new(name: impl Into<String>, settings: BreakerSettings) -> Self {
        Self {
            name: name.into(),
            settings,
            inner: Mutex::new(Inner {
                phase: Phase::Closed,
                generation: 0,
                failures: 0,
                window: Window::default(),
                last_failure: None,
                opened_at: None,
                opened_count: 0,
                rejected_count: 0,
            }),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn settings(&self) -> &BreakerSettings {
        &self.settings
    }

    pub fn state(&self) -> BreakerState {
        lock(&self.inner).phase.state()
    }

    /// Requests a permit for one call. Report the outcome on the permit. Dropping it, as a cancelled call does, counts
    /// neither way and lets the next probe through.
    ///
    /// # Errors
    ///
    /// [`Rejected`] while the breaker is open, and while it is half-open with a probe in flight.
    pub fn try_acquire(self: &Arc<Self>) -> Result<(Permit, Option<Transition>), Rejected> {
        let mut inner = lock(&self.inner);
        let mut transition = None;
        match inner.phase {
            Phase::Closed => {}
            Phase::Open { until } => {
                let now = Instant::now();
                if until.is_none_or(|until| now < until) {
                    let retry_after = until.map_or(self.settings.open_for, |until| until - now);
                    return Err(self.reject(&mut inner, retry_after));
                }
                transition = self.change(
                    &mut inner,
                    Phase::HalfOpen {
                        successes: 0,
                        probe_in_flight: true,
                    },
                );
            }
            Phase::HalfOpen {
                probe_in_flight: true, ..
            } => return Err(self.reject(&mut inner, Duration::ZERO)),
            Phase::HalfOpen {
                successes,
                probe_in_flight: false,
            } => {
                inner.phase = Phase::HalfOpen {
                    successes,
                    probe_in_flight: true,
                };
            }
        }
        let generation = inner.generation;
        drop(inner);
        Ok((
            Permit {
                breaker: Arc::clone(self),
                generation,
                started: Instant::now(),
                is_settled: false,
                cause: None,
            },
            transition,
        ))
    }

    /// Whether [`Self::try_acquire`] would refuse a call now. Takes no permit, so that a call can ask before it queues.
    ///
    /// # Errors
    ///
    /// As [`Self::try_acquire`].
    pub fn check(&self) -> Result<(), Rejected> {
        let mut inner = lock(&self.inner);
        let now = Instant::now();
        let retry_after = match inner.phase {
            Phase::Open { until: None } => self.settings.open_for,
            Phase::Open { until: Some(until) } if now < until => until - now,
            Phase::HalfOpen {
                probe_in_flight: true, ..
            } => Duration::ZERO,
            Phase::Closed | Phase::Open { .. } | Phase::HalfOpen { .. } => return Ok(()),
        };
        Err(self.reject(&mut inner, retry_after))
    }

    pub fn stats(&self) -> BreakerStats {
        let inner = lock(&self.inner);
        BreakerStats {
            name: self.name.clone(),
            state: inner.phase.state(),
            failure_count: inner.failures,
            success_count: match inner.phase {
                Phase::HalfOpen { successes, .. } => successes,
                Phase::Closed | Phase::Open { .. } => 0,
            },
            failure_threshold: self.settings.failure_threshold,
            window: self.settings.window.as_ref().map(|_| WindowStats {
                calls: inner.window.len(),
                failures: inner.window.failures(),
                slow: inner.window.slow(),
            }),
            success_threshold: self.settings.success_threshold,
            open_for_seconds: self.settings.open_for.as_secs_f64(),
            opened_at: inner.opened_at,
            opened_count: inner.opened_count,
            time_until_retry_seconds: match inner.phase {
                Phase::Open { until: Some(until) } => {
                    Some(until.saturating_duration_since(Instant::now()).as_secs_f64())
                }
                Phase::Open { until: None } | Phase::Closed | Phase::HalfOpen { .. } => None,
            },
            rejected_count: inner.rejected_count,
            last_failure: inner.last_failure.clone(),
        }
    }

    /// Opens it as another process left it: until then, or, if that has passed, until its next call, which is a probe. `None`: an
    /// operator holds it open. Ignored unless it is closed. `last_failure` is that of [`BreakerStats`].
    pub fn restore(&self, open_for: Option<Duration>, last_failure: Option<&str>) {
        let mut inner = lock(&self.inner);
        if matches!(inner.phase, Phase::Closed) {
            inner.last_failure = last_failure.map(Arc::from);
            let until = open_for.and_then(|left| Instant::now().checked_add(left.min(self.settings.open_for)));
            self.change(&mut inner, Phase::Open { until });
        }
    }

    pub fn apply_override(&self, to: Override) -> Option<Transition> {
        match to {
            Override::Open => self.force_open(),
            Override::Closed => self.force_closed(),
            Override::Reset => self.reset(),
        }
    }

    /// Holds the breaker open, without probes, until [`Self::force_closed`] or [`Self::reset`]. An operator who takes a
    /// dependency out of service doesn't want it back a minute later.
    fn force_open(&self) -> Option<Transition> {
        self.change(&mut lock(&self.inner), Phase::Open { until: None })
    }

    /// Closes the breaker now with a failure count of 0. New failures open it again.
    fn force_closed(&self) -> Option<Transition> {
        self.change(&mut lock(&self.inner), Phase::Closed)
    }

    /// Closes the breaker and sets every counter to 0.
    fn reset(&self) -> Option<Transition> {
        let mut inner = lock(&self.inner);
        let transition = self.change(&mut inner, Phase::Closed);
        inner.opened_count = 0;
        inner.rejected_count = 0;
        transition
    }

    fn reject(&self, inner: &mut Inner, retry_after: Duration) -> Rejected {
        inner.rejected_count = inner.rejected_count.saturating_add(1);
        Rejected {
            name: self.name.clone(),
            state: inner.phase.state(),
            is_held: matches!(inner.phase, Phase::Open { until: None }),
            retry_after,
            last_failure: inner.last_failure.clone(),
        }
    }

    /// The only place that changes the state. If the state stays the same (a breaker forced open twice), it starts a new
    /// generation but returns no transition.
    fn change(&self, inner: &mut Inner, to: Phase) -> Option<Transition> {
        let from = inner.phase.state();
        inner.phase = to;
        inner.generation = inner.generation.wrapping_add(1);
        match to {
            Phase::Closed => {
                inner.failures = 0;
                inner.window.clear();
                inner.last_failure = None;
                inner.opened_at = None;
            }
            Phase::Open { .. } if from != BreakerState::Open => {
                inner.opened_at = Some(jiff::Timestamp::now());
                inner.opened_count = inner.opened_count.saturating_add(1);
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => {}
        }
        let retry_after = matches!(to, Phase::Open { until: Some(_) }).then_some(self.settings.open_for);
        (from != to.state()).then(|| Transition {
            name: self.name.clone(),
            from,
            to: to.state(),
            retry_after,
            // An operator's order has no such cause.
            last_failure: retry_after.and(inner.last_failure.clone()),
        })
    }

    fn open(&self, inner: &mut Inner) -> Option<Transition> {
        // An `open_for` too long for an `Instant` means forever, so `None` (held open) fits.
        let until = Instant::now().checked_add(self.settings.open_for);
        self.change(inner, Phase::Open { until })
    }

    /// Counts a call of the closed breaker. Returns whether the breaker must open.
    fn count(&self, inner: &mut Inner, has_failed: bool, took: Duration) -> bool {
        match &self.settings.window {
            Some(window) => {
                let must_open = inner.window.add(window, has_failed, took);
                inner.failures = inner.window.failures();
                must_open
            }
            None => {
                inner.failures = if has_failed {
                    inner.failures.saturating_add(1)
                } else {
                    inner.last_failure = None;
                    0
                };
                has_failed && inner.failures >= self.settings.failure_threshold
            }
        }
    }

    /// Whether it is half-open, and the permits of this generation are its probes.
    fn is_half_open(&self, generation: u64) -> bool {
        let inner = lock(&self.inner);
        inner.generation == generation && matches!(inner.phase, Phase::HalfOpen { .. })
    }

    fn settle(&self, generation: u64, verdict: Verdict, took: Duration, cause: Option<Arc<str>>) -> Option<Transition> {
        let mut inner = lock(&self.inner);
        if inner.generation != generation {
            return None;
        }
        if matches!(verdict, Verdict::Failure) {
            inner.last_failure = cause;
        }
        match (inner.phase, verdict) {
            // While open, a breaker issues no permits, so none of this generation exists.
            (Phase::Open { .. }, _) | (Phase::Closed, Verdict::Neutral) => None,
            (Phase::Closed, _) => {
                let must_open = self.count(&mut inner, matches!(verdict, Verdict::Failure), took);
                must_open.then(|| self.open(&mut inner)).flatten()
            }
            (Phase::HalfOpen { successes, .. }, Verdict::Neutral) => {
                inner.phase = Phase::HalfOpen {
                    successes,
                    probe_in_flight: false,
                };
                None
            }
            (Phase::HalfOpen { successes, .. }, Verdict::Success) => {
                let successes = successes.saturating_add(1);
                if successes < self.settings.success_threshold {
                    inner.phase = Phase::HalfOpen {
                        successes,
                        probe_in_flight: false,
                    };
                    None
                } else {
                    self.change(&mut inner, Phase::Closed)
                }
            }
            (Phase::HalfOpen { .. }, Verdict::Failure) => {
                inner.failures = inner.failures.saturating_add(1);
                self.open(&mut inner)
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    Success,
    Failure,
    Neutral,
}

/// Permission to make one call. Dropping it is the same as [`Permit::neutral`].
#[derive(Debug)]
#[must_use = "a dropped permit counts as neither a success nor a failure"]
pub struct Permit {
    breaker: Arc<Breaker>,
    generation: u64,
    started: Instant,
    is_settled: bool,
    cause: Option<Arc<str>>,
}

impl Permit {
    /// Why the call fails, for a person: said before it is reported as failed. The breaker remembers the first 300 characters.
    pub fn because(&mut self, cause: &str) {
        self.cause = Some(cause.chars().take(MAX_CAUSE_CHARS).collect::<String>().into());
    }

    /// The head of the answer has arrived. Decides a probe; the outcome reported later then doesn't count. Does nothing if the
    /// breaker is closed.
    pub fn answered(&mut self, healthy: bool) -> Option<Transition> {
        if self.is_settled || !self.breaker.is_half_open(self.generation) {
            return None;
        }
        self.is_settled = true;
        let verdict = if healthy { Verdict::Success } else { Verdict::Failure };
        let cause = self.cause.clone();
        self.breaker
            .settle(self.generation, verdict, self.started.elapsed(), cause)
    }

    /// The dependency works.
    pub fn success(self) -> Option<Transition> {
        self.settle(Verdict::Success)
    }

    /// The dependency failed.
    pub fn failure(self) -> Option<Transition> {
        self.settle(Verdict::Failure)
    }

    /// The call says nothing about the dependency: the caller made a mistake, or cancelled.
    pub fn neutral(self) {}

    fn settle(mut self, verdict: Verdict) -> Option<Transition> {
        match std::mem::replace(&mut self.is_settled, true) {
            true => None,
            false => {
                let cause = self.cause.take();
                self.breaker
                    .settle(self.generation, verdict, self.started.elapsed(), cause)
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_settled {
            // A neutral verdict changes no state, so there is no transition to report.
            let _ = self
                .breaker
                .settle(self.generation, Verdict::Neutral, Duration::ZERO, None);
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
