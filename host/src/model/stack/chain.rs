//! The models that are asked in turn: the configured one, then its fallbacks.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::{
    ApiErrorKind, BoxFuture, FailedModel, GaveUp, Model, ModelContext, ModelError, ModelRequest, ModelResponse,
    ToolDefinition,
};
use super::retrying::Alternative;
use super::{Answered, Failure, ModelStack, millis};
use crate::events::EventKind;
use crate::resilience::Breaker;

/// A model that is asked when those before it can't answer.
#[derive(Clone, Debug)]
pub struct Fallback {
    pub stack: ModelStack,
    /// The longest answer, in tokens.
    pub max_tokens: u32,
    pub temperature: Option<f64>,
}

/// The model that answers, and those that do if it can't, in this order. Each has its own retries, breaker and price.
///
/// Every call begins with the first one, so that it is used again as soon as it works. Its breaker keeps that cheap while its server is
/// down. Nobody else is asked once a person has read a part of an answer, or where another model would help nothing: the request is at
/// fault, the budget is spent, the run is over.
///
/// If none of them answers, the call fails as the first one did: what a fallback can't take is no reason to shorten the conversation.
#[derive(Clone, Debug)]
pub struct ModelChain {
    first: ModelStack,
    fallbacks: Vec<Fallback>,
}

impl ModelChain {
    pub fn new(first: ModelStack, fallbacks: Vec<Fallback>) -> Self {
        Self { first, fallbacks }
    }

    /// One call of the loop.
    async fn call(&self, request: &ModelRequest<'_>, cx: &ModelContext<'_>) -> Result<ModelResponse, ModelError> {
        // Event span: outermost, because the loop's waiting time includes every model, attempt and delay.
        let started = Instant::now();
        let Answered { response, text_shown } = self.ask_in_turn(request, cx).await?;
        let text = response.text();
        if !text_shown && !text.is_empty() {
            // An answer that wasn't streamed becomes one delta, so that observers need no special case.
            cx.emitter.emit(EventKind::TextDelta { text: text.clone() });
        }
        cx.emitter.emit(EventKind::ModelResponse {
            model: response.model.clone(),
            stop_reason: response.stop_reason.as_str().to_owned(),
            usage: response.usage,
            duration_ms: millis(started.elapsed()),
            request_id: response.request_id.clone(),
            text,
        });
        Ok(response)
    }

    async fn ask_in_turn(&self, request: &ModelRequest<'_>, cx: &ModelContext<'_>) -> Result<Answered, ModelError> {
        let alternative = |left: &[Fallback]| match left.is_empty() {
            true => Alternative::None,
            false => Alternative::Left,
        };
        let may_go_on = |failure: &Failure| !(cx.streams_to_user && failure.text_shown) && Instant::now() < cx.deadline;
        let first = match self.first.answer(request, cx, alternative(&self.fallbacks)).await {
            Ok(answered) => return Ok(answered),
            Err(failure) => failure,
        };
        if self.fallbacks.is_empty() || !may_go_on(&first) || !another_may_answer(&first.error) {
            return Err(first.error);
        }
        let first = first.error;
        let mut failed: Vec<FailedModel> = Vec::new();
        for (fallback, left) in self.fallbacks.iter().zip(1..) {
            let (before, error) = match failed.iter().zip(&self.fallbacks).next_back() {
                Some((failed, before)) => (&before.stack, &failed.error),
                None => (&self.first, &first),
            };
            cx.emitter.emit(EventKind::ModelFallback {
                from: before.provider.model().to_owned(),
                to: fallback.stack.provider.model().to_owned(),
                error: before.info(error),
            });
            let request = ModelRequest {
                max_tokens: fallback.max_tokens,
                temperature: fallback.temperature,
                ..request.clone()
            };
            let left = alternative(self.fallbacks.get(left..).unwrap_or_default());
            let failure = match fallback.stack.answer(&request, cx, left).await {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            if ends_the_run(&failure.error) {
                return Err(failure.error);
            }
            let is_last = !may_go_on(&failure);
            failed.push(FailedModel {
                model: fallback.stack.provider.model().to_owned(),
                error: failure.error,
            });
            if is_last {
                break;
            }
        }
        let all = ModelError::AllFailed {
            first: Box::new(first),
            fallbacks: failed,
        };
        Err(match Instant::now() < cx.deadline {
            true => all,
            false => ModelError::DeadlineExceeded {
                in_attempt: false,
                last: Some(Box::new(all)),
            },
        })
    }
}

/// Whether no model could answer any more.
fn ends_the_run(error: &ModelError) -> bool {
    matches!(
        error,
        ModelError::Cancelled | ModelError::Session(_) | ModelError::Ledger(_)
    )
}

/// Whether the failure is one of the model, its server or its account, so that another model may answer the same request.
pub(super) fn another_may_answer(error: &ModelError) -> bool {
    match error {
        ModelError::Api(error) => !matches!(
            error.kind,
            ApiErrorKind::InvalidRequest | ApiErrorKind::RequestTooLarge
        ),
        ModelError::SpendLimit(_)
        | ModelError::Connect { .. }
        | ModelError::Misconnected(_)
        | ModelError::Connection { .. }
        | ModelError::Cut { .. }
        | ModelError::Stalled { .. }
        | ModelError::AttemptTimeout { .. }
        | ModelError::Malformed { .. }
        | ModelError::BreakerOpen { .. }
        | ModelError::RateLimitReached { .. }
        | ModelError::Provider { .. }
        // A wait would have taken longer than what is left, and another model needs none.
        | ModelError::DeadlineExceeded { .. } => true,
        ModelError::GaveUp { why, last } => *why != GaveUp::TextShown && another_may_answer(last),
        // The loop shortens the conversation.
        ModelError::ContextOverflow(_)
        | ModelError::Budget(_)
        | ModelError::UnknownPrice { .. }
        | ModelError::Ledger(_)
        | ModelError::Session(_)
        | ModelError::Cancelled
        | ModelError::AllFailed { .. } => false,
    }
}

impl Model for ModelChain {
    fn model(&self) -> &str {
        self.first.provider.model()
    }

    fn respond<'a>(
        &'a self,
        request: &'a ModelRequest<'a>,
        cx: &'a ModelContext<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        Box::pin(self.call(request, cx))
    }

    fn breakers(&self) -> Vec<Arc<Breaker>> {
        let fallbacks = self.fallbacks.iter().map(|fallback| &fallback.stack);
        std::iter::once(&self.first)
            .chain(fallbacks)
            .map(|stack| stack.breaker.clone())
            .collect()
    }

    /// What one of them needs. Some may only need those that aren't searched.
    fn kept_tools<'t>(&self, tools: &'t [ToolDefinition]) -> Option<Vec<&'t ToolDefinition>> {
        let fallbacks = self.fallbacks.iter().map(|fallback| &fallback.stack);
        let stacks = std::iter::once(&self.first).chain(fallbacks);
        let kept = stacks.filter_map(|stack| stack.provider.kept_tools(tools));
        kept.max_by_key(Vec::len)
    }
}
