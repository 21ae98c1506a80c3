//! The simulated API: routes a request, checks it and gives it the script's next answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::{self, Reply, ReplyResponse, RequestContext};
use super::body::PlannedBody;
use super::check::{self, Purpose};
use super::connection::{BodyProblem, ConnectionControl, Handler, Hangup, read_body};
use super::cursor::Cursor;
use super::error::ApiError;
use super::record::{ReceivedRequest, Recorder, Watcher, visible_headers};
use super::request::RequestView;
use super::script::{Answer, FaultKind, Script};
use crate::messages_api::MESSAGES_PATH;
use crate::messages_api::headers::REQUEST_ID;
use crate::messages_api::limits::MAX_REQUEST_BYTES;

/// Listed by `GET /v1/models`. `/v1/messages` accepts any name.
const MODELS: [(&str, &str); 4] = [
    ("claude-opus-5-5", "Claude Opus 5.5"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5"),
    ("claude-haiku-5-5", "Claude Haiku 5.5"),
    ("claude-haiku-4-5-20251001", "Claude Haiku 4.5"),
];

/// The state of one simulator.
#[derive(Debug)]
pub(super) struct Api {
    script: Script,
    cursor: Mutex<Cursor>,
    recorder: Recorder,
    received: AtomicU64,
}

/// The reply to a request, not yet serialised as a response.
struct Decision<'a> {
    reply: Reply,
    /// The script's answer and its index, if the reply comes from the script.
    answer: Option<(usize, &'a Answer)>,
}

enum Route<'a> {
    Messages,
    CountTokens,
    Models,
    Model(&'a str),
}

impl Api {
    pub(super) fn new(script: Script, keep_requests: usize) -> Self {
        Self {
            cursor: Mutex::new(Cursor::new(&script)),
            recorder: Recorder::new(keep_requests),
            received: AtomicU64::new(0),
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
        let route = route(&head.method, head.uri.path())?;
        let purpose = match route {
            Route::Models | Route::Model(_) => {
                check::headers(&head.headers, false)?;
                return Ok(Decision::plain(answer::json_reply(200, &models(&route)?)));
            }
            Route::Messages => Purpose::Run,
            Route::CountTokens => Purpose::CountTokens,
        };
        check::headers(&head.headers, true)?;
        let bytes = body.map_err(|problem| match problem {
            BodyProblem::TooLarge => ApiError::new(413, "Request exceeds the maximum size"),
            BodyProblem::Incomplete => ApiError::invalid("The request body could not be read"),
        })?;
        // Parsed, the body can be many times as large, so it is dropped at the end of this function.
        let parsed = check::parse(bytes)?;
        check::body(&parsed, purpose)?;
        if purpose == Purpose::CountTokens {
            let count = json!({ "input_tokens": answer::tokens(bytes.len()) });
            return Ok(Decision::plain(answer::json_reply(200, &count)));
        }
        let view = RequestView::new(&parsed);
        let index = self
            .cursor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&self.script, &view);
        let Some((index, answer)) = index.and_then(|index| Some((index, self.script.answers.get(index)?))) else {
            return Err(ApiError::new(500, self.exhausted()));
        };
        let context = RequestContext {
            view,
            bytes: bytes.len(),
            number,
            request_id,
        };
        Ok(Decision {
            reply: answer::reply(answer, &context),
            answer: Some((index, answer)),
        })
    }

    fn exhausted(&self) -> String {
        format!(
            "the simulator's script is exhausted: none of its {} answers is left for this request; add an [[answer]], \
             give one `repeat = \"forever\"`, or set `after = \"repeat_last\"`",
            self.script.answers.len()
        )
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
        match self.script.answers.get(index)?.fault.as_ref()?.kind {
            FaultKind::Reset => Some(Hangup::Reset),
            _ => Some(Hangup::Close),
        }
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
        let decision = self
            .decide(&head, bytes, number, &request_id)
            .unwrap_or_else(|error| Decision::plain(answer::error_reply(&error, &request_id)));

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
            Reply::Response(response) => respond(response, answer, &request_id, control),
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
        }
    }
}

fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, ApiError> {
    let (allowed, route) = match path {
        MESSAGES_PATH => (Method::POST, Route::Messages),
        "/v1/messages/count_tokens" => (Method::POST, Route::CountTokens),
        "/v1/models" => (Method::GET, Route::Models),
        _ => match path.strip_prefix("/v1/models/") {
            Some(model) if !model.is_empty() => (Method::GET, Route::Model(model)),
            _ => return Err(ApiError::new(404, "Not Found")),
        },
    };
    if *method == allowed {
        Ok(route)
    } else {
        Err(ApiError::new(405, "Method Not Allowed"))
    }
}

fn models(route: &Route<'_>) -> Result<Value, ApiError> {
    let model = |(id, name): &(&str, &str)| {
        json!({
            "type": "model", "id": id, "display_name": name, "created_at": "2026-01-01T00:00:00Z",
            "max_input_tokens": 200_000, "max_tokens": 64_000,
        })
    };
    if let Route::Model(wanted) = route {
        let found = MODELS.iter().find(|(id, _)| id == wanted);
        return found
            .map(model)
            .ok_or_else(|| ApiError::new(404, format!("model: {wanted}")));
    }
    let ids = MODELS.map(|(id, _)| id);
    Ok(json!({
        "data": MODELS.iter().map(model).collect::<Vec<_>>(),
        "has_more": false, "first_id": ids.first(), "last_id": ids.last(),
    }))
}

fn respond(
    reply: ReplyResponse,
    answer: Option<&Answer>,
    request_id: &str,
    control: Arc<ConnectionControl>,
) -> Response<PlannedBody> {
    let write_bytes = answer.map_or(0, |answer| answer.stream.write_bytes);
    let mut response = Response::new(PlannedBody::new(reply.parts, write_bytes, control));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let own = [
        ("content-type", reply.content_type.as_str()),
        (REQUEST_ID, request_id),
        ("cache-control", "no-cache"),
    ];
    let scripted = answer
        .into_iter()
        .flat_map(|answer| &answer.headers)
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.into_iter().chain(scripted) {
        // Validation has already rejected illegal names and values.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    response
}
