//! The retry layer: the only one there is.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{GaveUp, ModelContext, ModelError, Verdict, classify};
use super::millis;
use crate::events::EventKind;
use crate::resilience::{RetryBudget, RetrySettings};

/// The least pause before it is asked again whether a probe has succeeded.
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// How long money is waited for that others have reserved, and how often it is asked for meanwhile: other processes reserve
/// as well, and tell nobody when they settle.
const MOST_WAITED_FOR_MONEY: Duration = Duration::from_secs(30);
const MONEY_PAUSE: Duration = Duration::from_millis(250);

/// Why no attempt was made, though there may be one later.
#[derive(Clone, Copy, Debug)]
enum Obstacle {
    /// The breaker is open for so long.
    Open(Duration),
    /// The breaker waits for how a probe goes.
    Probe,
    /// Others have reserved the money.
    Reserved,
}

impl Obstacle {
    fn of(error: &ModelError) -> Option<Self> {
        match error {
            ModelError::BreakerOpen { retry_after, .. } if retry_after.is_zero() => Some(Self::Probe),
            ModelError::BreakerOpen { retry_after, .. } => Some(Self::Open(*retry_after)),
            ModelError::Budget(exceeded) if exceeded.could_fit_later() => Some(Self::Reserved),
            _ => None,
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Probe => "probe",
            Self::Reserved => "reserved",
        }
    }
}

/// The retries of one call.
pub(super) struct Retrying<'a> {
    settings: &'a RetrySettings,
    budget: &'a RetryBudget,
    cx: &'a ModelContext<'a>,
    attempts: u32,
    /// How often the breaker was open.
    refusals: u32,
    /// When waiting for money ends.
    money_until: Option<Instant>,
    /// Obstacles already reported with `ModelWaiting`.
    announced: Vec<&'static str>,
    /// Why the last attempt failed.
    last: Option<Box<ModelError>>,
}

impl<'a> Retrying<'a> {
    pub(super) fn new(settings: &'a RetrySettings, budget: &'a RetryBudget, cx: &'a ModelContext<'a>) -> Self {
        budget.record_call();
        Self {
            settings,
            budget,
            cx,
            attempts: 0,
            refusals: 0,
            money_until: None,
            announced: Vec::new(),
            last: None,
        }
    }

    /// The number of the attempt that starts now, counted from 1.
    pub(super) fn next_attempt(&mut self) -> u32 {
        self.attempts += 1;
        self.attempts
    }

    /// Stops a run that is over before it asks anyone for leave or money.
    pub(super) fn check_still_wanted(&mut self) -> Result<(), ModelError> {
        if self.cx.cancel.is_cancelled() {
            return Err(ModelError::Cancelled);
        }
        if Instant::now() >= self.cx.deadline {
            return Err(ModelError::DeadlineExceeded { last: self.last.take() });
        }
        Ok(())
    }

    /// Decides about a failure: waits until the next attempt is due, or returns the error that the call ends with.
    pub(super) async fn wait_after(&mut self, error: ModelError, text_shown: bool) -> Result<(), ModelError> {
        let verdict = classify(&error);
        let error = self.with_history(error);
        if let Some(obstacle) = Obstacle::of(&error) {
            return self.wait_for_leave(obstacle, error).await;
        }
        if verdict == Verdict::Fatal {
            return Err(error);
        }
        if self.cx.streams_to_user && text_shown {
            return Err(ModelError::GaveUp {
                why: GaveUp::TextShown,
                last: Box::new(error),
            });
        }
        if self.attempts >= self.settings.max_attempts {
            return Err(match self.attempts {
                1 => error,
                attempts => ModelError::GaveUp {
                    why: GaveUp::Attempts(attempts),
                    last: Box::new(error),
                },
            });
        }
        let delay = match verdict {
            Verdict::RetryAfter(delay) => delay + self.scatter(delay),
            _ => self.settings.delay(self.attempts, fastrand::f64()),
        };
        if self.is_too_late_after(delay) {
            return Err(ModelError::DeadlineExceeded {
                last: Some(Box::new(error)),
            });
        }
        // Asked last, so that the budget all callers share pays only for retries that are made.
        if !self.budget.try_retry() {
            return Err(ModelError::GaveUp {
                why: GaveUp::RetryBudget,
                last: Box::new(error),
            });
        }
        self.cx.emitter.emit(EventKind::ModelRetry {
            attempt: self.attempts,
            max_attempts: self.settings.max_attempts,
            delay_ms: millis(delay),
            error: error.info(),
        });
        self.last = Some(Box::new(error));
        self.sleep(delay).await
    }

    /// Where no attempt was made, for the breaker or the budget let none through: that counts as none, and takes nothing from
    /// the budget for retries. Both are asked anew after the wait.
    async fn wait_for_leave(&mut self, obstacle: Obstacle, error: ModelError) -> Result<(), ModelError> {
        self.attempts -= 1;
        let now = Instant::now();
        let delay = match obstacle {
            // An open breaker would still be open after a shorter delay.
            Obstacle::Open(retry_after) => {
                self.refusals += 1;
                let delay = self.settings.delay(self.attempts + self.refusals, fastrand::f64());
                if delay < retry_after || self.refusals >= self.settings.max_attempts {
                    return Err(error);
                }
                delay
            }
            // Somebody else's attempt tries the endpoint out, and lets everybody know how it went.
            Obstacle::Probe => self.settings.delay(1, fastrand::f64()).max(PROBE_PAUSE),
            // Others reserve several times what they will have cost, and it is there again in seconds.
            Obstacle::Reserved => {
                let give_up = *self.money_until.get_or_insert(now + MOST_WAITED_FOR_MONEY);
                let delay = MONEY_PAUSE.mul_f64(0.5 + fastrand::f64());
                if now + delay > give_up {
                    return Err(error);
                }
                delay
            }
        };
        if self.is_too_late_after(delay) {
            return Err(error);
        }
        if !self.announced.contains(&obstacle.kind()) {
            self.announced.push(obstacle.kind());
            self.cx.emitter.emit(EventKind::ModelWaiting { error: error.info() });
        }
        if let ModelError::BreakerOpen { last: Some(last), .. } = error {
            self.last = Some(last);
        }
        self.sleep(delay).await
    }

    fn is_too_late_after(&self, delay: Duration) -> bool {
        delay >= self.cx.deadline.saturating_duration_since(Instant::now())
    }

    /// What is added to a delay that the server asked for: it asks many for the same, and all would come back at once.
    fn scatter(&self, delay: Duration) -> Duration {
        match self.settings.jitter {
            true => (delay / 10).max(Duration::from_millis(100)).mul_f64(fastrand::f64()),
            false => Duration::ZERO,
        }
    }

    async fn sleep(&self, delay: Duration) -> Result<(), ModelError> {
        tokio::select! {
            biased;
            () = self.cx.cancel.cancelled() => Err(ModelError::Cancelled),
            () = tokio::time::sleep(delay) => Ok(()),
        }
    }

    /// An attempt that was not made, or had no time left, says less than the failure before it.
    fn with_history(&mut self, mut error: ModelError) -> ModelError {
        if let ModelError::BreakerOpen { last, .. } | ModelError::DeadlineExceeded { last } = &mut error
            && last.is_none()
        {
            *last = self.last.take();
        }
        error
    }
}
