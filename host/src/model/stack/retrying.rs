//! The retry layer, the only one in the host.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{GaveUp, ModelContext, ModelError, Verdict, classify};
use super::{ModelStack, millis};
use crate::events::EventKind;
use crate::ledger::AskAgain;
use crate::resilience::{RateLimitTurn, RequestSize, Wait};

/// The shortest wait before asking the breaker again while another call probes the endpoint.
const MIN_PROBE_WAIT: Duration = Duration::from_millis(100);

/// How long to wait for money that others have reserved. The ledger notifies when this process frees some.
const MAX_BUDGET_WAIT: Duration = Duration::from_secs(30);

/// How often to ask without notice, because other processes reserve too and don't notify. With jitter, from half of it to one and
/// a half.
const BUDGET_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The longest wait that a server may ask for while another model could answer.
const MAX_WAIT_BEFORE_ANOTHER: Duration = Duration::from_secs(5);

/// A shorter wait for a rate limit is no news.
const MIN_WAIT_TO_MENTION: Duration = Duration::from_millis(300);

/// Whether another model can be asked instead of waiting for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alternative {
    /// So there is no wait for a breaker, nor for a server that wants a long one, nor a retry of an attempt that used all of its time.
    Left,
    None,
}

/// Why no attempt was made, although one may succeed later.
#[derive(Clone, Copy, Debug)]
enum Obstacle {
    /// The breaker stays open for this long.
    Open(Duration),
    /// The breaker waits for the result of a probe.
    Probe,
    /// A rate limit is reached, for about this long.
    RateLimit(Duration),
    /// Others have reserved the money.
    Reserved,
}

impl Obstacle {
    fn of(error: &ModelError) -> Option<Self> {
        match error {
            // It may be held for days.
            ModelError::BreakerOpen { is_held: true, .. } => None,
            ModelError::BreakerOpen { retry_after, .. } if retry_after.is_zero() => Some(Self::Probe),
            ModelError::BreakerOpen { retry_after, .. } => Some(Self::Open(*retry_after)),
            ModelError::RateLimitReached { retry_after, .. } => Some(Self::RateLimit(*retry_after)),
            ModelError::Budget(exceeded) if exceeded.could_fit_later() => Some(Self::Reserved),
            _ => None,
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Probe => "probe",
            Self::RateLimit(_) => "rate_limit",
            Self::Reserved => "reserved",
        }
    }
}

/// The retries of one call.
pub(super) struct Retrying<'a> {
    stack: &'a ModelStack,
    size: RequestSize,
    cx: &'a ModelContext<'a>,
    alternative: Alternative,
    attempts: u32,
    /// Whether an attempt of this call was sent.
    is_sent: bool,
    /// How often the open breaker refused this call.
    refusals: u32,
    /// When waiting for money ends.
    budget_wait_ends: Option<Instant>,
    /// The turn to ask the ledger again.
    turn: Option<AskAgain>,
    /// The turn of those that wait for a rate limit.
    rate_limit_turn: Option<RateLimitTurn>,
    /// Obstacles already reported with `ModelWaiting`.
    announced: Vec<&'static str>,
    /// Why the last attempt failed.
    last: Option<Box<ModelError>>,
}

impl<'a> Retrying<'a> {
    pub(super) fn new(
        stack: &'a ModelStack,
        size: RequestSize,
        cx: &'a ModelContext<'a>,
        alternative: Alternative,
    ) -> Self {
        Self {
            stack,
            size,
            cx,
            alternative,
            attempts: 0,
            is_sent: false,
            refusals: 0,
            budget_wait_ends: None,
            turn: None,
            rate_limit_turn: None,
            announced: Vec::new(),
            last: None,
        }
    }

    /// The number of the attempt that starts now, counted from 1.
    pub(super) fn next_attempt(&mut self) -> u32 {
        self.attempts += 1;
        self.attempts
    }

    /// Notes that an attempt was sent. The first one earns the endpoint's callers a share of a retry.
    pub(super) fn record_sent(&mut self) {
        if !std::mem::replace(&mut self.is_sent, true) {
            self.stack.retry_budget.record_sent();
        }
    }

    /// The turn to ask the ledger again, after a wait for money.
    pub(super) const fn take_turn(&mut self) -> Option<AskAgain> {
        self.turn.take()
    }

    /// The turn to be admitted by the rate limits, after a wait for it.
    pub(super) const fn rate_limit_turn(&mut self) -> &mut Option<RateLimitTurn> {
        &mut self.rate_limit_turn
    }

    /// Fails if the run is cancelled or past its deadline, before it asks the breaker or the ledger.
    pub(super) fn check_not_over(&mut self) -> Result<(), ModelError> {
        if self.cx.cancel.is_cancelled() {
            return Err(ModelError::Cancelled);
        }
        if Instant::now() >= self.cx.deadline {
            return Err(ModelError::DeadlineExceeded {
                in_attempt: false,
                last: self.last.take(),
            });
        }
        Ok(())
    }

    /// Handles a failure: waits until the next attempt is due, or returns the error that ends the call.
    pub(super) async fn wait_after(&mut self, error: ModelError, text_shown: bool) -> Result<(), ModelError> {
        let verdict = classify(&error);
        if !matches!(error, ModelError::RateLimitReached { .. }) {
            // Others needn't wait while this call waits for something else.
            self.rate_limit_turn = None;
        }
        let error = self.with_history(error);
        if let Some(obstacle) = Obstacle::of(&error) {
            return self.wait_for_obstacle(obstacle, error).await;
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
        // A second attempt of that length would leave no time for another model.
        let takes_too_long = matches!(error, ModelError::AttemptTimeout { .. })
            || matches!(verdict, Verdict::RetryAfter(delay) if delay > MAX_WAIT_BEFORE_ANOTHER);
        let asks_too_much = self.alternative == Alternative::Left && takes_too_long;
        if self.attempts >= self.stack.retry.max_attempts || asks_too_much {
            return Err(match self.attempts {
                1 => error,
                attempts => ModelError::GaveUp {
                    why: GaveUp::Attempts(attempts),
                    last: Box::new(error),
                },
            });
        }
        let delay = match verdict {
            Verdict::RetryAfter(delay) => delay + self.jitter_for(delay),
            _ => self.stack.retry.delay(self.attempts, fastrand::f64()),
        };
        if self.is_too_late_after(delay) {
            return Err(ModelError::DeadlineExceeded {
                in_attempt: false,
                last: Some(Box::new(error)),
            });
        }
        // Checked last, so that the shared retry budget pays only for retries that are made.
        if !self.stack.retry_budget.try_retry() {
            return Err(ModelError::GaveUp {
                why: GaveUp::RetryBudget,
                last: Box::new(error),
            });
        }
        self.cx.emitter.emit(EventKind::ModelRetry {
            attempt: self.attempts,
            max_attempts: self.stack.retry.max_attempts,
            delay_ms: millis(delay),
            error: self.stack.info(&error),
        });
        self.last = Some(Box::new(error));
        self.sleep(delay).await
    }

    /// Waits after the breaker, a rate limit or the ledger refused an attempt. The refused attempt doesn't count and costs nothing of
    /// the retry budget. The caller asks all of them again after the wait.
    async fn wait_for_obstacle(&mut self, obstacle: Obstacle, error: ModelError) -> Result<(), ModelError> {
        self.attempts -= 1;
        let another_is_quicker = match obstacle {
            Obstacle::Open(_) | Obstacle::Probe => true,
            Obstacle::RateLimit(forecast) => forecast > MAX_WAIT_BEFORE_ANOTHER,
            Obstacle::Reserved => false,
        };
        if self.alternative == Alternative::Left && another_is_quicker {
            return Err(error);
        }
        let now = Instant::now();
        let delay = match obstacle {
            // An open breaker would still be open after a shorter delay.
            Obstacle::Open(retry_after) => {
                self.refusals += 1;
                let delay = self.stack.retry.delay(self.attempts + self.refusals, fastrand::f64());
                if delay < retry_after || self.refusals >= self.stack.retry.max_attempts {
                    return Err(error);
                }
                delay
            }
            // Another call's attempt probes the endpoint, and the breaker shares its result.
            Obstacle::Probe => self.stack.retry.delay(1, fastrand::f64()).max(MIN_PROBE_WAIT),
            // A forecast, so it doesn't end the call. The wait itself ends with the deadline.
            Obstacle::RateLimit(_) => Duration::ZERO,
            // Others reserve several times their actual cost, and free the rest within seconds.
            Obstacle::Reserved => {
                let give_up = *self.budget_wait_ends.get_or_insert(now + MAX_BUDGET_WAIT);
                if now >= give_up {
                    return Err(error);
                }
                let poll = BUDGET_POLL_INTERVAL.mul_f64(0.5 + fastrand::f64());
                // The ledger may free something before the deadline, so the wait goes on until then.
                poll.min(give_up - now)
                    .min(self.cx.deadline.saturating_duration_since(now))
            }
        };
        let waits_for_money = matches!(obstacle, Obstacle::Reserved);
        if !waits_for_money {
            // A later wait for money is another one.
            self.budget_wait_ends = None;
        }
        if !waits_for_money && self.is_too_late_after(delay) {
            return Err(ModelError::DeadlineExceeded {
                in_attempt: false,
                last: Some(Box::new(error)),
            });
        }
        let is_short = matches!(error, ModelError::RateLimitReached { wait, retry_after, .. }
            if wait != Wait::InQueue && retry_after < MIN_WAIT_TO_MENTION);
        if !is_short && !self.announced.contains(&obstacle.kind()) {
            self.announced.push(obstacle.kind());
            let known = match obstacle {
                Obstacle::Open(_) => Some(delay),
                Obstacle::RateLimit(forecast) => Some(forecast).filter(|forecast| !forecast.is_zero()),
                Obstacle::Probe | Obstacle::Reserved => None,
            };
            let mut info = self.stack.info(&error);
            if known.is_some() {
                info.message = error.obstacle();
            }
            self.cx.emitter.emit(EventKind::ModelWaiting {
                retry_after_ms: known.map(|known| u64::try_from(known.as_millis()).unwrap_or(u64::MAX)),
                error: info,
            });
        }
        match obstacle {
            Obstacle::Open(_) | Obstacle::Probe => {
                if let ModelError::BreakerOpen { last: Some(last), .. } = error {
                    self.last = Some(last);
                }
                self.sleep(delay).await
            }
            Obstacle::RateLimit(_) => self.wait_for_rate_limit(error).await,
            Obstacle::Reserved => {
                if now + delay >= self.cx.deadline {
                    self.last = Some(Box::new(error));
                }
                self.wait_for_money(delay).await
            }
        }
    }

    /// Waits until the rate limits allow another attempt, as far as anybody can tell.
    async fn wait_for_rate_limit(&mut self, error: ModelError) -> Result<(), ModelError> {
        let Some(limits) = &self.stack.rate_limits else {
            return Ok(());
        };
        let longest = match self.alternative {
            Alternative::Left => MAX_WAIT_BEFORE_ANOTHER,
            Alternative::None => Duration::MAX,
        };
        let tenant = self.cx.emitter.tenant();
        let reached = limits.wait_for_turn(tenant, self.size, self.rate_limit_turn.take());
        self.rate_limit_turn = Some(tokio::select! {
            biased;
            () = self.cx.cancel.cancelled() => return Err(ModelError::Cancelled),
            turn = reached => turn,
            () = tokio::time::sleep_until(self.cx.deadline) => {
                return Err(ModelError::DeadlineExceeded { in_attempt: false, last: Some(Box::new(error)) });
            }
            () = tokio::time::sleep(longest) => return Err(error),
        });
        Ok(())
    }

    /// Waits until this process frees money, or for `poll`.
    async fn wait_for_money(&mut self, poll: Duration) -> Result<(), ModelError> {
        self.turn = Some(tokio::select! {
            biased;
            () = self.cx.cancel.cancelled() => return Err(ModelError::Cancelled),
            turn = self.stack.ledger.freed() => turn,
            () = tokio::time::sleep(poll) => self.stack.ledger.ask_again(),
        });
        Ok(())
    }

    fn is_too_late_after(&self, delay: Duration) -> bool {
        delay >= self.cx.deadline.saturating_duration_since(Instant::now())
    }

    /// Jitter for a delay that the server requested. Many clients get the same delay and would otherwise return all at once.
    fn jitter_for(&self, delay: Duration) -> Duration {
        match self.stack.retry.jitter {
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

    /// Attaches the previous failure to an error that only says that no attempt was made or no time was left.
    fn with_history(&mut self, mut error: ModelError) -> ModelError {
        if let ModelError::BreakerOpen { last, .. } | ModelError::DeadlineExceeded { last, .. } = &mut error
            && last.is_none()
        {
            *last = self.last.take();
        }
        error
    }
}
