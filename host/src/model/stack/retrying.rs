//! The retry layer: the only one there is.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{GaveUp, ModelContext, ModelError, Verdict, classify};
use super::millis;
use crate::resilience::{RetryBudget, RetrySettings};
use crate::telemetry::EventKind;

/// The retries of one call.
pub(super) struct Retrying<'a> {
    settings: &'a RetrySettings,
    budget: &'a RetryBudget,
    cx: &'a ModelContext<'a>,
    attempts: u32,
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
        if verdict == Verdict::Fatal {
            return Err(error);
        }
        if self.cx.text_reaches_a_person && text_shown {
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
            Verdict::RetryAfter(delay) => delay,
            _ => self.settings.delay(self.attempts, fastrand::f64()),
        };
        if matches!(&error, ModelError::BreakerOpen { retry_after, .. } if delay < *retry_after) {
            // It would still be open then.
            return Err(error);
        }
        if delay >= self.cx.deadline.saturating_duration_since(Instant::now()) {
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
