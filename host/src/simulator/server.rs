//! The simulated API: routes a request, checks it and gives it the script's next answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{self, Reply, ReplyResponse, RequestContext};
use super::body::PlannedBody;
use super::check::{self, Purpose, Rules, ScriptFacts};
use super::connection::{BodyProblem, ConnectionControl, Handler, Hangup, read_body};
use super::cursor::Cursor;
use super::dialect::Dialect;
use super::error::{self, ApiError};
use super::json::ObjectText;
use super::message::tokens;
use super::prompt_cache::{CachedTokens, Prompt, PromptCache};
use super::rate_limits::{self, Header, RateLimits};
use super::record::{ReceivedRequest, Recorder, Watcher, visible_headers};
use super::request::RequestView;
use super::route::{Route, route};
use super::script::{Answer, AnswerKind, Script};
use super::{chat, models, plan};
use crate::messages_api::headers::REQUEST_ID;
use crate::messages_api::limits::MAX_REQUEST_BYTES;

const SHOULD_RETRY: &str = "x-should-retry";

/// The headers of a response that a script can leave out. The HTTP library adds others.
pub(super) const OMITTABLE_HEADERS: [&str; 4] = ["content-type", REQUEST_ID, "cache-control", SHOULD_RETRY];

/// The state of one simulator.
#[derive(Debug)]
pub(super) struct Api {
    script: Script,
    facts: ScriptFacts,
    cursor: Mutex<Cursor>,
    cache: Mutex<PromptCache>,
    rate_limits: Mutex<RateLimits>,
    recorder: Recorder,
    received: AtomicU64,
}

/// The reply to a request, not yet serialised as a response.
struct Decision<'a> {
    reply: Reply,
    /// The script's answer and its index, if the reply comes from the script.
    answer: Option<(usize, &'a Answer)>,
    /// What the answer says about the rate limits.
    rate_limits: Vec<Header>,
}

impl Api {
    pub(super) fn new(script: Script, keep_requests: usize) -> Self {
        Self {
            cursor: Mutex::new(Cursor::new(&script)),
            cache: Mutex::default(),
            rate_limits: Mutex::new(RateLimits::new(script.rate_limits, Instant::now())),
            recorder: Recorder::new(keep_requests),
            received: AtomicU64::new(0),
            facts: ScriptFacts::of(&script),
            script,
        }
    }

    pub(super) fn requests(&self) -> Vec<ReceivedRequest> {
        self.recorder.all()
    }

    pub(super) fn watch(&self) -> Watcher {
        self.recorder.watch()
    }

    fn decide(
        &self,
        head: &Parts,
        body: Result<&[u8], BodyProblem>,
        number: u64,
        request_id: &str,
    ) -> Result<Decision<'_>, ApiError> {
        let route = match route(&head.method, head.uri.path()) {
            Ok(route) => route,
            Err(problem) => {
                let mut reply = answer::error_reply(&problem.error, Dialect::of(head), request_id);
                reply.allow = problem.allow;
                return Ok(Decision::plain(reply));
            }
        };
        let purpose = match route {
            Route::Messages => Purpose::Run,
            Route::ChatCompletions => {
                let body = body.map_err(unreadable)?;
                let parsed = check::parse(body)?;
                chat::check(&parsed)?;
                let view = chat::as_messages(&parsed);
                return self.answer(
                    body,
                    RequestContext {
                        view: RequestView::new(&view),
                        dialect: Dialect::ChatCompletions,
                        includes_usage: chat::includes_usage(&parsed),
                        bytes: body.len(),
                        cached: CachedTokens::default(),
                        number,
                        request_id,
                    },
                );
            }
            Route::CountTokens => Purpose::CountTokens,
            Route::Models | Route::Model(_) if Dialect::of(head) == Dialect::ChatCompletions => {
                let found = match route {
                    Route::Model(model) => chat::model(model)?,
                    _ => chat::models(),
                };
                return Ok(Decision::plain(answer::json_reply(200, found.to_string())));
            }
            Route::Models | Route::Model(_) => {
                check::headers(&head.headers, false)?;
                let found = match route {
                    Route::Model(model) => models::one(model)?,
                    _ => models::list(head.uri.query().unwrap_or_default())?,
                };
                return Ok(Decision::plain(answer::json_reply(200, found.to_string())));
            }
        };
        let version = check::headers(&head.headers, true)?;
        let bytes = body.map_err(unreadable)?;
        // Parsed, the body can be many times as large, so it is dropped at the end of this function.
        let parsed = check::parse(bytes)?;
        let rules = Rules::new(purpose, version, &head.headers, &parsed, &self.facts);
        check::body(&parsed, &rules)?;
        if purpose == Purpose::CountTokens {
            let prompt = Prompt::of(str::from_utf8(bytes).unwrap_or_default());
            let counted = tokens(bytes.len().saturating_sub(prompt.uncounted_bytes()));
            let count = ObjectText::new().field("input_tokens", &counted).end();
            return Ok(Decision::plain(answer::json_reply(200, count)));
        }
        self.answer(
            bytes,
            RequestContext {
                view: RequestView::new(&parsed),
                dialect: Dialect::Messages,
                includes_usage: true,
                bytes: bytes.len(),
                cached: CachedTokens::default(),
                number,
                request_id,
            },
        )
    }

    /// The script's next answer, unless a rate limit is reached.
    fn answer(&self, body: &[u8], mut context: RequestContext<'_>) -> Result<Decision<'_>, ApiError> {
        let dialect = context.dialect;
        // A statement of its own, so that the lock is released at its end.
        let begun = self.rate_limits().begin(Instant::now());
        if let Err(wait) = begun {
            let error = ApiError::new(429, error::message_of("rate_limit_error"));
            let mut refused = Decision::plain(answer::error_reply(&error, dialect, context.request_id));
            refused.rate_limits = self.announced_limits(dialect);
            refused.rate_limits.push(rate_limits::retry_after(wait));
            return Ok(refused);
        }
        let index = self
            .cursor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&self.script, &context.view);
        let Some((index, answer)) = index.and_then(|index| Some((index, self.script.answers.get(index)?))) else {
            return Err(self.exhausted());
        };
        // A request that gets an error leaves nothing in the cache.
        if context.dialect == Dialect::Messages && matches!(answer.kind, AnswerKind::Message(_)) {
            let prompt = Prompt::of(str::from_utf8(body).unwrap_or_default());
            context.bytes = context.bytes.saturating_sub(prompt.uncounted_bytes());
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            context.cached = cache.take(&prompt, Instant::now());
        }
        let uncached = tokens(context.bytes).saturating_sub(context.cached.read);
        self.rate_limits().take_input(uncached);
        Ok(Decision {
            reply: answer::reply(answer, &context),
            answer: Some((index, answer)),
            rate_limits: self.announced_limits(dialect),
        })
    }

    fn announced_limits(&self, dialect: Dialect) -> Vec<Header> {
        self.rate_limits().headers(dialect, Instant::now(), Timestamp::now())
    }

    fn rate_limits(&self) -> MutexGuard<'_, RateLimits> {
        self.rate_limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No answer of the script is left. A retry would find none either.
    fn exhausted(&self) -> ApiError {
        let message = format!(
            "the simulator's script is exhausted: none of its {} answers is left for this request; add an [[answer]], \
             give one `repeat = \"forever\"`, or set `after = \"repeat_last\"`",
            self.script.answers.len()
        );
        ApiError {
            is_final: true,
            ..ApiError::new(500, message)
        }
    }

    fn record(&self, head: &Parts, body: &[u8], answer: Option<usize>, status: Option<u16>) {
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        tracing::debug!(method = %head.method, path, answer, status, "the simulator received a request");
        let request = ReceivedRequest {
            at: Timestamp::now(),
            method: head.method.to_string(),
            path: path.to_owned(),
            headers: visible_headers(&head.headers),
            body: Value::Null,
            body_bytes: 0,
            answer,
            status,
        };
        self.recorder.keep(request, body);
    }
}

impl Handler for Api {
    fn on_accept(&self) -> Option<Hangup> {
        let index = self
            .cursor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_at_accept(&self.script)?;
        tracing::debug!(answer = index, "the simulator ends a connection as it is accepted");
        let kind = &self.script.answers.get(index)?.fault.as_ref()?.kind;
        Some(plan::hangup(kind).unwrap_or(Hangup::Stall))
    }

    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        control: Arc<ConnectionControl>,
    ) -> Response<PlannedBody> {
        let number = self.received.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let request_id = format!("req_sim_{number:06}");
        let (head, body) = request.into_parts();
        let body = read_body(body, MAX_REQUEST_BYTES).await;
        let bytes = body.as_deref().map_err(|problem| *problem);
        let dialect = Dialect::of(&head);
        let decision = self
            .decide(&head, bytes, number, &request_id)
            .unwrap_or_else(|error| Decision::plain(answer::error_reply(&error, dialect, &request_id)));

        let status = match &decision.reply {
            Reply::Response(response) => Some(response.status),
            Reply::Silence(_) => None,
        };
        let index = decision.answer.map(|(index, _)| index);
        self.record(&head, bytes.unwrap_or_default(), index, status);
        // The answer can be delayed for an hour, so free the body first.
        drop(body);
        let answer = decision.answer.map(|(_, answer)| answer);
        if let Some(delay) = answer
            .map(|answer| answer.delay)
            .filter(|delay| *delay > Duration::ZERO)
        {
            tokio::time::sleep(delay).await;
        }
        match decision.reply {
            Reply::Response(response) => {
                let request_id = (dialect.request_id_header(), &*request_id);
                respond(response, answer, &decision.rate_limits, request_id, control)
            }
            Reply::Silence(hangup) => {
                if let Some(hangup) = hangup {
                    control.hang_up(hangup);
                }
                std::future::pending().await
            }
        }
    }
}

impl Decision<'_> {
    fn plain(response: ReplyResponse) -> Self {
        Self {
            reply: Reply::Response(response),
            answer: None,
            rate_limits: Vec::new(),
        }
    }
}

fn unreadable(problem: BodyProblem) -> ApiError {
    match problem {
        BodyProblem::TooLarge => ApiError::new(413, "Request exceeds the maximum size"),
        BodyProblem::Incomplete => ApiError::invalid("The request body could not be read"),
    }
}

fn respond(
    reply: ReplyResponse,
    answer: Option<&Answer>,
    rate_limits: &[Header],
    (request_id_header, request_id): (&'static str, &str),
    control: Arc<ConnectionControl>,
) -> Response<PlannedBody> {
    if let Some(fault) = reply.head_fault {
        control.break_head(fault);
    }
    let mut response = Response::new(PlannedBody::new(reply.body, control));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE.as_str(), &reply.content_type);
    set(headers, request_id_header, request_id);
    set(headers, header::CACHE_CONTROL.as_str(), "no-cache");
    if let Some(should_retry) = reply.should_retry {
        set(headers, SHOULD_RETRY, if should_retry { "true" } else { "false" });
    }
    if let Some(allow) = reply.allow {
        set(headers, header::ALLOW.as_str(), allow);
    }
    for (name, value) in rate_limits {
        set(headers, name, value);
    }
    if let Some(answer) = answer {
        if answer.gzip {
            set(headers, header::CONTENT_ENCODING.as_str(), "gzip");
        }
        for name in &answer.omit_headers {
            headers.remove(if name == REQUEST_ID {
                request_id_header
            } else {
                name.as_str()
            });
        }
        for (name, value) in &answer.headers {
            set(headers, name, value);
        }
    }
    response
}

/// Validation has already rejected illegal names and values.
fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}
