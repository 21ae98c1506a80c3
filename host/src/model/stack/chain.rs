//! The models that are asked in turn: the configured one, then its fallbacks.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::{
    ApiErrorKind, BoxFuture, FailedModel, GaveUp, Model, ModelContext, ModelError, ModelRequest, ModelResponse,
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
/// Every call begins with the first one, so that it is used again as soon as it works. Its breaker keeps that cheap during an
/// outage. Nobody else is asked once a person has read a part of an answer, or where another model would help nothing: the request is at
/// fault, the budget is spent, the run is over.
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
        let mut fallbacks = self.fallbacks.iter().peekable();
        let mut failed = Vec::new();
        let mut asked = &self.first;
        let mut request = request.clone();
        loop {
            let alternative = match fallbacks.peek() {
                Some(_) => Alternative::Left,
                None => Alternative::None,
            };
            let Failure { error, text_shown } = match asked.answer(&request, cx, alternative).await {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            let may_go_on = !(cx.streams_to_user && text_shown) && Instant::now() < cx.deadline;
            let Some(next) = fallbacks.next_if(|_| may_go_on && another_may_answer(&error)) else {
                return Err(error.after(failed));
            };
            cx.emitter.emit(EventKind::ModelFallback {
                from: asked.provider.model().to_owned(),
                to: next.stack.provider.model().to_owned(),
                error: error.info(),
            });
            failed.push(FailedModel {
                model: asked.provider.model().to_owned(),
                error,
            });
            asked = &next.stack;
            request = ModelRequest {
                max_tokens: next.max_tokens,
                temperature: next.temperature,
                ..request
            };
        }
    }
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
        // A wait would have taken longer than what is left, and another model needs none.
        | ModelError::DeadlineExceeded { .. } => true,
        ModelError::GaveUp { why, .. } => *why != GaveUp::TextShown,
        // The loop shortens the conversation.
        ModelError::ContextOverflow(_)
        | ModelError::Budget(_)
        | ModelError::UnknownPrice { .. }
        | ModelError::Ledger(_)
        | ModelError::Session(_)
        | ModelError::Cancelled
        | ModelError::AfterOthers { .. } => false,
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
}
