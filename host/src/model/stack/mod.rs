//! The layers around an attempt, composed here in order, and the models that are asked in turn.

mod chain;
#[cfg(test)]
mod chain_tests;
mod charge;
mod estimated;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod money_tests;
#[cfg(test)]
mod probe_tests;
#[cfg(test)]
mod rate_limit_tests;
mod retrying;
mod spending;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use self::chain::{Fallback, ModelChain};
use self::estimated::EstimatedRequest;
use self::retrying::{Alternative, Retrying};
use super::{
    ApiErrorKind, MAX_RETRY_AFTER, Measured, ModelContext, ModelError, ModelRequest, ModelResponse, PreparedRequest,
    Prices, Progress, Provider, counts_for_breaker, fallback_hint,
};
use crate::events::{ErrorInfo, EventKind, Transition, Usage};
use crate::ledger::{BudgetSettings, Ledger};
use crate::panics;
use crate::resilience::{
    AnswerHead, Breaker, RateLimitTurn, RateLimits, RequestSize, RetryBudget, RetrySettings, TokensUsed, TooSoon,
};
use crate::untrusted::Untrusted;

/// The status of a refusal for a rate limit, or a spend limit.
const RATE_LIMITED: u16 = 429;

/// A provider with the layers that make it reliable.
#[derive(Clone, Debug)]
pub struct ModelStack {
    pub provider: Arc<dyn Provider>,
    pub retry: RetrySettings,
    /// Shared by all callers of the same endpoint.
    pub retry_budget: Arc<RetryBudget>,
    /// Shared by all callers with the same base URL, model and API key.
    pub breaker: Arc<Breaker>,
    /// Shared in the same way. `None`: what the server announces is ignored.
    pub rate_limits: Option<Arc<RateLimits>>,
    pub ledger: Ledger,
    pub budget: BudgetSettings,
    pub prices: Arc<Prices>,
    pub attempt_timeout: Duration,
    /// Whether its settings stand in `[[fallback_models]]`, for hints.
    pub is_fallback: bool,
}

/// Why a model has no answer, and whether the person has read a part of one.
#[derive(Debug)]
struct Failure {
    error: ModelError,
    text_shown: bool,
}

impl From<ModelError> for Failure {
    /// No attempt was made.
    fn from(error: ModelError) -> Self {
        Self {
            error,
            text_shown: false,
        }
    }
}

/// An answer, and whether its text has been passed on already.
#[derive(Debug)]
struct Answered {
    response: ModelResponse,
    text_shown: bool,
}

impl ModelStack {
    /// One answer of this model from as many attempts as needed and allowed. Read the layers from the outside in: those above are
    /// in [`ModelChain`].
    async fn answer(
        &self,
        request: &ModelRequest<'_>,
        cx: &ModelContext<'_>,
        alternative: Alternative,
    ) -> Result<Answered, Failure> {
        let prepared = self.contained(|provider| provider.prepare(request))?;
        let failure = match self.answer_prepared(prepared.clone(), cx, alternative).await {
            Ok(answered) => return Ok(answered),
            Err(failure) => failure,
        };
        // Outside the retries, because it is another request, of another size.
        if failure.text_shown {
            return Err(failure);
        }
        let other = self.contained(|provider| provider.prepare_otherwise(&prepared, &failure.error));
        let Some(other) = other? else {
            return Err(failure);
        };
        let answered = self.answer_prepared(other, cx, alternative).await?;
        // The answer is there, whatever becomes of this.
        let _ = self.contained(|provider| {
            provider.accepts_otherwise(&failure.error);
            Ok(())
        });
        Ok(answered)
    }

    async fn answer_prepared(
        &self,
        request: PreparedRequest<'_>,
        cx: &ModelContext<'_>,
        alternative: Alternative,
    ) -> Result<Answered, Failure> {
        // Deadline and retry: a deadline inside the retries would restart with each of them. It is enforced wherever time
        // passes: in the delay before a retry, while waiting for breaker or budget, and around the attempt.
        let estimated = EstimatedRequest::new(request);
        let mut retrying = Retrying::new(self, estimated.size(), cx, alternative);
        loop {
            retrying.check_not_over()?;
            let progress = Progress::new(|text| cx.emitter.emit(EventKind::TextDelta { text: text.to_owned() }));
            let number = retrying.next_attempt();
            let asking = retrying.take_turn();
            let result = self
                // Breaker: inside the retries, so that it admits and counts each attempt; outside the budget, so that a
                // refused attempt reserves nothing.
                .through_breaker(
                    cx,
                    &progress,
                    // Rate limits: outside the budget for the same reason.
                    self.within_rate_limits(
                        estimated.size(),
                        &progress,
                        retrying.rate_limit_turn(),
                        // Budget: one reservation per attempt, because each may be billed; outside the time-out, so that an
                        // attempt that is cut short is still settled.
                        self.within_budget(
                            &estimated,
                            cx,
                            &progress,
                            asking,
                            // The attempt's event: only for attempts that were made.
                            self.reported(
                                cx,
                                number,
                                &progress,
                                // Attempt time-out, deadline and cancellation: only around the network.
                                self.bounded(cx, &progress, self.attempt(&estimated.request, &progress)),
                            ),
                        ),
                    ),
                )
                .await;
            if was_sent(&progress, &result) {
                retrying.record_sent();
            }
            let text_shown = progress.text_shown();
            match result {
                Ok(response) => return Ok(Answered { response, text_shown }),
                Err(error) => retrying
                    .wait_after(error, text_shown)
                    .await
                    .map_err(|error| Failure { error, text_shown })?,
            }
        }
    }

    /// An attempt of the provider, which may be the program's own: its panic is the end of this attempt and of nothing else.
    async fn attempt(
        &self,
        request: &PreparedRequest<'_>,
        progress: &Progress<'_>,
    ) -> Result<ModelResponse, ModelError> {
        let attempted = panics::catch_async(|| self.provider.attempt(request, progress)).await;
        attempted.unwrap_or_else(|panic| Err(self.panicked(panic)))
    }

    /// Calls the provider. A panic is an error.
    fn contained<T>(&self, call: impl FnOnce(&dyn Provider) -> Result<T, ModelError>) -> Result<T, ModelError> {
        let called = panics::catch(|| call(&*self.provider));
        called.unwrap_or_else(|panic| Err(self.panicked(panic)))
    }

    fn panicked(&self, panic: String) -> ModelError {
        ModelError::Provider {
            model: self.provider.model().to_owned(),
            reason: format!("it panicked: {}", Untrusted::from(panic).display_sentence()),
            is_temporary: false,
        }
    }

    /// What the error is in events.
    fn info(&self, error: &ModelError) -> ErrorInfo {
        let mut info = error.info();
        if self.is_fallback {
            info.hint = info.hint.as_deref().map(fallback_hint);
        }
        info
    }

    /// Acquires a permit from the breaker and reports how the attempt ended. The head of the answer decides a probe.
    async fn through_breaker(
        &self,
        cx: &ModelContext<'_>,
        progress: &Progress<'_>,
        attempt: impl Future<Output = Result<ModelResponse, ModelError>>,
    ) -> Result<ModelResponse, ModelError> {
        let (mut permit, transition) = self.breaker.try_acquire().map_err(|rejected| ModelError::BreakerOpen {
            breaker: rejected.name,
            is_held: rejected.is_held,
            retry_after: rejected.retry_after,
            last_failure: rejected.last_failure,
            last: None,
        })?;
        report(cx, transition);
        let mut attempt = pin!(attempt);
        let result = tokio::select! {
            biased;
            result = &mut attempt => result,
            status = progress.head_arrived() => {
                permit.because(&format!("HTTP {status}"));
                report(cx, permit.answered(is_healthy(status)));
                attempt.await
            }
        };
        if let Err(error) = &result {
            permit.because(&format!("{}: {error}", error.kind()));
        }
        // The answer may have ended with its head, and a provider needn't report heads at all.
        if let Some(status) = status(&result) {
            report(cx, permit.answered(is_healthy(status)));
        }
        let transition = match &result {
            Ok(_) => permit.success(),
            Err(error) if counts_for_breaker(error) => permit.failure(),
            Err(_) => {
                permit.neutral();
                None
            }
        };
        report(cx, transition);
        result
    }

    /// Admits the attempt if the rate limits allow it, and learns from the answer what they are. `turn` is the call's, if it has waited
    /// for it.
    async fn within_rate_limits(
        &self,
        size: RequestSize,
        progress: &Progress<'_>,
        turn: &mut Option<RateLimitTurn>,
        attempt: impl Future<Output = Result<ModelResponse, ModelError>>,
    ) -> Result<ModelResponse, ModelError> {
        let Some(limits) = &self.rate_limits else {
            return attempt.await;
        };
        let mut admitted =
            limits
                .try_begin(size, turn)
                .map_err(|TooSoon { wait, retry_after }| ModelError::RateLimitReached {
                    endpoint: self.provider.endpoint(),
                    wait,
                    retry_after,
                })?;
        let mut attempt = pin!(attempt);
        let begun = tokio::select! {
            biased;
            result = &mut attempt => Err(result),
            status = progress.head_arrived() => Ok(status),
        };
        let result = match begun {
            // A refusal has no more than a head and a few words, and ends with the time to wait. So it is looked at as a whole.
            Ok(status) if status == RATE_LIMITED => attempt.await,
            Ok(status) => {
                admitted.answered(answer_head(status), &progress.limits_announced());
                attempt.await
            }
            Err(result) => result,
        };
        let head = match &result {
            Err(ModelError::Api(error)) if error.kind == ApiErrorKind::RateLimited => {
                AnswerHead::Refused(error.retry_after.filter(|delay| *delay <= MAX_RETRY_AFTER))
            }
            result => status(result).map_or(AnswerHead::Failed, answer_head),
        };
        match &result {
            _ if !was_sent(progress, &result) => admitted.not_sent(),
            _ if !admitted.is_answered() => admitted.answered(head, &progress.limits_announced()),
            _ => {}
        }
        if let Ok(response) = &result {
            admitted.used(tokens_used(&response.usage));
        }
        result
    }

    /// Emits the attempt's event when it ends, or when it is dropped.
    async fn reported(
        &self,
        cx: &ModelContext<'_>,
        number: u32,
        progress: &Progress<'_>,
        attempt: impl Future<Output = Result<ModelResponse, ModelError>>,
    ) -> Result<ModelResponse, ModelError> {
        let report = AttemptReport {
            cx,
            stack: self,
            number,
            progress,
            started: Instant::now(),
            is_emitted: false,
        };
        let result = attempt.await;
        report.end(&result);
        result
    }

    /// Ends the attempt at the earliest of completion, time-out, the run's deadline and cancellation.
    async fn bounded(
        &self,
        cx: &ModelContext<'_>,
        progress: &Progress<'_>,
        attempt: impl Future<Output = Result<ModelResponse, ModelError>>,
    ) -> Result<ModelResponse, ModelError> {
        let limit = self.attempt_timeout;
        let begun = async {
            progress.begin();
            attempt.await
        };
        tokio::select! {
            // In this order, so that a cancelled or overdue attempt never starts.
            biased;
            () = cx.cancel.cancelled() => Err(ModelError::Cancelled),
            () = tokio::time::sleep_until(cx.deadline) => Err(ModelError::DeadlineExceeded { in_attempt: true, last: None }),
            () = tokio::time::sleep(limit) => {
                Err(ModelError::AttemptTimeout { limit, request_id: progress.request_id() })
            }
            result = begun => result,
        }
    }
}

/// Emits an attempt's event exactly once.
struct AttemptReport<'a> {
    cx: &'a ModelContext<'a>,
    stack: &'a ModelStack,
    number: u32,
    progress: &'a Progress<'a>,
    started: Instant,
    is_emitted: bool,
}

impl AttemptReport<'_> {
    fn end(mut self, result: &Result<ModelResponse, ModelError>) {
        self.emit(result);
    }

    fn emit(&mut self, result: &Result<ModelResponse, ModelError>) {
        self.is_emitted = true;
        self.cx.emitter.emit(EventKind::ModelAttempt {
            attempt: self.number,
            model: self.stack.provider.model().to_owned(),
            duration_ms: millis(self.started.elapsed()),
            time_to_first_token_ms: self.progress.time_to_first_token().map(millis),
            request_id: self.progress.request_id().or_else(|| match result {
                Ok(response) => response.request_id.clone(),
                Err(error) => error.request_id().map(str::to_owned),
            }),
            error: result.as_ref().err().map(|error| self.stack.info(error)),
        });
    }
}

impl Drop for AttemptReport<'_> {
    /// The run was dropped during the attempt, which cancels it.
    fn drop(&mut self) {
        if !self.is_emitted {
            self.emit(&Err(ModelError::Cancelled));
        }
    }
}

/// Whether an answer with this status shows that the endpoint works. A 4xx blames the request, and a 429 comes from an endpoint
/// that works well enough to count.
const fn is_healthy(status: u16) -> bool {
    status < 500
}

/// What a status other than a refusal for a rate limit says about the limits.
const fn answer_head(status: u16) -> AnswerHead {
    match status {
        200..300 => AnswerHead::Admitted,
        _ => AnswerHead::Failed,
    }
}

/// The status that an attempt's result gives away.
fn status(result: &Result<ModelResponse, ModelError>) -> Option<u16> {
    match result {
        Ok(_) => Some(200),
        Err(ModelError::Api(error) | ModelError::SpendLimit(error) | ModelError::ContextOverflow(error)) => {
            error.status
        }
        Err(_) => None,
    }
}

const fn tokens_used(usage: &Usage) -> TokensUsed {
    let uncached = usage.input_tokens.saturating_add(usage.cache_creation_input_tokens());
    TokensUsed {
        prompt: usage.prompt_tokens(),
        uncached,
        output: usage.output_tokens,
    }
}

/// Whether the attempt's request left for the endpoint.
fn was_sent(progress: &Progress<'_>, result: &Result<ModelResponse, ModelError>) -> bool {
    progress.measured() != Measured::NotStarted && !matches!(result, Err(ModelError::Connect { .. }))
}

fn report(cx: &ModelContext<'_>, transition: Option<Transition>) {
    if let Some(transition) = transition {
        cx.emitter.emit(transition.into());
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
