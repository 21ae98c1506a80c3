#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! A test harness: a stack on a scripted provider that records every event.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::super::{ApiError, ApiErrorKind, BoxFuture, Model, PromptTokens, StopReason, ToolDefinitions, Unlogged};
use super::*;
use crate::events::{Event, Usage};
use crate::ledger::{BudgetStatus, Reservation, ReserveRequest};
use crate::money::NanoUsd;
use crate::resilience::{AnnouncedLimit, BreakerSettings, RateLimitKind};
use crate::store::Store;
use crate::telemetry::{AlertSettings, Emitter, EventBus, SessionMetrics};
use crate::transcript::{Block, Message};

pub(super) const MODEL: &str = "claude-sonnet-5-5";

/// The serialised form of every request.
const BODY: &[u8] = br#"{"max_tokens":1000,"messages":[{"role":"user","content":"hi"}]}"#;

/// One attempt of the script: the head it reports and when, the text it shows, the usage it reports, its duration and its error.
#[derive(Default)]
pub(super) struct Step {
    pub(super) head: Option<(Duration, u16)>,
    pub(super) announces: Vec<AnnouncedLimit>,
    pub(super) text: &'static str,
    pub(super) measured: Option<Usage>,
    pub(super) takes: Duration,
    pub(super) fails: Option<ModelError>,
}

impl Step {
    pub(super) fn ok() -> Self {
        Self::default()
    }

    pub(super) fn fails(error: impl Into<ModelError>) -> Self {
        Self {
            fails: Some(error.into()),
            ..Self::default()
        }
    }

    pub(super) fn status(status: u16) -> Self {
        Self::fails(api(status))
    }

    pub(super) fn after(self, seconds: u64) -> Self {
        Self {
            takes: Duration::from_secs(seconds),
            ..self
        }
    }

    pub(super) fn showing(self, text: &'static str) -> Self {
        Self { text, ..self }
    }

    /// Reports this usage with the beginning of the answer.
    pub(super) fn reporting(self, usage: Usage) -> Self {
        Self {
            measured: Some(usage),
            ..self
        }
    }

    /// Announces with the head of the answer that so many requests are left of so many in a minute.
    pub(super) fn leaving(self, remaining: u64, limit: u64) -> Self {
        let announced = AnnouncedLimit {
            kind: RateLimitKind::Requests,
            limit,
            remaining,
            whole_after: Duration::from_secs(60),
        };
        Self {
            announces: vec![announced],
            head: Some((Duration::ZERO, 200)),
            ..self
        }
    }

    /// Reports the head of the answer after so many seconds.
    pub(super) fn head(self, seconds: u64, status: u16) -> Self {
        Self {
            head: Some((Duration::from_secs(seconds), status)),
            ..self
        }
    }
}

pub(super) fn api(status: u16) -> ApiError {
    ApiError {
        kind: ApiErrorKind::from_status(status),
        status: Some(status),
        url: None,
        location: None,
        is_page: false,
        error_type: String::new(),
        message: String::new(),
        error_code: None,
        request_id: Some(format!("req_{status}")),
        retry_after: None,
        should_retry: None,
    }
}

pub(super) fn cut() -> ModelError {
    ModelError::Cut {
        reason: "the end".to_owned(),
        request_id: None,
    }
}

pub(super) const USAGE: Usage = Usage {
    input_tokens: 1_000,
    output_tokens: 100,
    cache_creation_5m_input_tokens: 0,
    cache_creation_1h_input_tokens: 0,
    cache_read_input_tokens: 0,
};

/// 1,000 tokens at $2 and 100 at $10 per million.
pub(super) const COST: NanoUsd = NanoUsd::from_nanos(3_000_000);

#[derive(Debug)]
struct Scripted {
    model: String,
    steps: Mutex<VecDeque<Step>>,
    /// Number of requests serialised.
    serialized: Arc<AtomicU32>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Step")
    }
}

impl Provider for Scripted {
    fn model(&self) -> &str {
        &self.model
    }

    fn endpoint(&self) -> String {
        "http://scripted".to_owned()
    }

    fn prepare<'a>(&self, request: &'a ModelRequest<'a>) -> Result<PreparedRequest<'a>, ModelError> {
        self.serialized.fetch_add(1, Ordering::Relaxed);
        Ok(PreparedRequest::new(request, Bytes::from_static(BODY)))
    }

    fn attempt<'a>(
        &'a self,
        _request: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        Box::pin(async move {
            let step = self
                .steps
                .lock()
                .unwrap()
                .pop_front()
                .expect("more attempts than the script has");
            let until_head = match step.head {
                Some((after, status)) => {
                    tokio::time::sleep(after).await;
                    progress.announced_limits(step.announces);
                    progress.head(status);
                    after
                }
                None => Duration::ZERO,
            };
            progress.text(step.text);
            if let Some(usage) = step.measured {
                progress.usage_so_far(usage);
            }
            tokio::time::sleep(step.takes.saturating_sub(until_head)).await;
            match step.fails {
                Some(error) => Err(error),
                None => {
                    progress.final_usage(USAGE);
                    Ok(ModelResponse {
                        model: self.model.clone(),
                        content: vec![Block::text("hello")],
                        stop_reason: StopReason::EndTurn,
                        refusal: None,
                        usage: USAGE,
                        request_id: Some("req_ok".to_owned()),
                    })
                }
            }
        })
    }
}

/// A stack, its session and all recorded events.
pub(super) struct Harness {
    pub(super) stack: ModelStack,
    pub(super) fallbacks: Vec<Fallback>,
    bus: EventBus,
    emitter: Emitter,
    events: Arc<Mutex<Vec<EventKind>>>,
    serialized: Arc<AtomicU32>,
    pub(super) cancel: CancellationToken,
    pub(super) deadline: Duration,
    pub(super) streams_to_user: bool,
}

impl Harness {
    pub(super) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::of(MODEL, steps)
    }

    pub(super) fn of(model: &str, steps: impl IntoIterator<Item = Step>) -> Self {
        let bus = EventBus::new();
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        bus.add_observer("test", move |event: &Event| {
            sink.lock().unwrap().push(event.kind.clone())
        });
        let emitter = Emitter::new(&bus, "s1", "default", AlertSettings::default());
        let serialized = Arc::new(AtomicU32::new(0));
        let provider = Scripted {
            model: model.to_owned(),
            steps: Mutex::new(steps.into_iter().collect()),
            serialized: Arc::clone(&serialized),
        };
        let stack = ModelStack {
            provider: Arc::new(provider),
            retry: RetrySettings {
                jitter: false,
                ..RetrySettings::default()
            },
            retry_budget: Arc::new(RetryBudget::new()),
            breaker: Arc::new(Breaker::new(format!("model:{model}"), BreakerSettings::default())),
            rate_limits: Some(Arc::default()),
            ledger: Store::in_memory().unwrap().ledger(),
            budget: BudgetSettings::default(),
            prices: Arc::new(Prices::builtin()),
            attempt_timeout: Duration::from_secs(300),
            is_fallback: false,
        };
        let (cancel, deadline) = (CancellationToken::new(), Duration::from_secs(600));
        Self {
            stack,
            fallbacks: Vec::new(),
            bus,
            emitter,
            events,
            serialized,
            cancel,
            deadline,
            streams_to_user: true,
        }
    }

    /// Asks this model when those before it can't answer.
    pub(super) fn or(mut self, model: &str, steps: impl IntoIterator<Item = Step>) -> Self {
        let provider = Scripted {
            model: model.to_owned(),
            steps: Mutex::new(steps.into_iter().collect()),
            serialized: Arc::clone(&self.serialized),
        };
        self.fallbacks.push(Fallback {
            stack: ModelStack {
                provider: Arc::new(provider),
                retry_budget: Arc::new(RetryBudget::new()),
                breaker: Arc::new(Breaker::new(format!("model:{model}"), BreakerSettings::default())),
                rate_limits: Some(Arc::default()),
                is_fallback: true,
                ..self.stack.clone()
            },
            max_tokens: 500,
            temperature: None,
        });
        self
    }

    /// Makes one call and measures how long it takes.
    pub(super) async fn call(&self) -> (Result<ModelResponse, ModelError>, Duration) {
        let started = Instant::now();
        let cx = ModelContext {
            emitter: &self.emitter,
            deadline: started + self.deadline,
            cancel: &self.cancel,
            streams_to_user: self.streams_to_user,
            log: &Unlogged,
        };
        let (messages, tools) = conversation();
        let chain = ModelChain::new(self.stack.clone(), self.fallbacks.clone());
        let result = chain.respond(&request(&messages, &tools), &cx).await;
        (result, started.elapsed())
    }

    /// Number of requests serialised.
    pub(super) fn serialized(&self) -> u32 {
        self.serialized.load(Ordering::Relaxed)
    }

    pub(super) async fn fails(&self) -> ModelError {
        self.call().await.0.expect_err("a failure")
    }

    pub(super) async fn events(&self) -> Vec<EventKind> {
        self.bus.flush(Duration::from_secs(5)).await;
        self.events.lock().unwrap().clone()
    }

    pub(super) async fn event_names(&self) -> Vec<&'static str> {
        self.events().await.iter().map(EventKind::name).collect()
    }

    pub(super) async fn settlements(&self) -> Vec<(NanoUsd, bool)> {
        let settled = |event| match event {
            EventKind::BudgetSettled {
                amount_usd, estimated, ..
            } => Some((amount_usd, estimated)),
            _ => None,
        };
        self.events().await.into_iter().filter_map(settled).collect()
    }

    pub(super) async fn session(&self) -> BudgetStatus {
        let now = jiff::Timestamp::now();
        self.stack
            .ledger
            .status("default", Some("s1"), &self.stack.budget, now)
            .await
            .unwrap()
            .remove(0)
    }

    pub(super) fn metrics(&self) -> SessionMetrics {
        self.emitter.metrics()
    }

    pub(super) fn steps_left(&self) -> usize {
        // The provider's debug form lists its remaining steps.
        format!("{:?}", self.stack.provider).matches("Step").count()
    }
}

fn conversation() -> ([Message; 1], ToolDefinitions) {
    ([Message::user("hi")], ToolDefinitions::default())
}

fn request<'a>(messages: &'a [Message], tools: &'a ToolDefinitions) -> ModelRequest<'a> {
    ModelRequest {
        system: "",
        messages,
        tools,
        max_tokens: 1_000,
        temperature: None,
        schema: None,
        tools_since: &[],
    }
}

/// The amount that an attempt at [`request`] reserves.
pub(super) fn reserved() -> NanoUsd {
    let price = Prices::builtin().find(MODEL, jiff::civil::date(2026, 11, 24)).unwrap();
    let (messages, tools) = conversation();
    let request = request(&messages, &tools);
    let prepared = PreparedRequest::new(&request, Bytes::from_static(BODY));
    price.worst_case(PromptTokens::of(&prepared).most, 1_000, None)
}

/// Runs the first step, which fails and opens the breaker, then waits until the breaker allows a probe.
pub(super) async fn half_open(harness: &mut Harness) {
    harness.stack.retry.max_attempts = 1;
    let settings = BreakerSettings {
        failure_threshold: 1,
        open_for: Duration::from_secs(1),
        ..BreakerSettings::default()
    };
    harness.stack.breaker = Arc::new(Breaker::new("model:m", settings));
    harness.fails().await;
    tokio::time::advance(Duration::from_secs(1)).await;
}

/// Reserves `amount` of the day's budget for another session.
pub(super) async fn another_reserves(harness: &Harness, amount: NanoUsd) -> Reservation {
    let request = ReserveRequest {
        tenant: "default".to_owned(),
        session_id: "another".to_owned(),
        model: "m".to_owned(),
        amount,
        limits: harness.stack.budget.limits("default"),
        now: jiff::Timestamp::now(),
    };
    harness.stack.ledger.reserve(request).await.unwrap()
}
