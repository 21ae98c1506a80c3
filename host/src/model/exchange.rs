//! One request and its answer, streamed or not: what is the same for every API over HTTP.

use std::pin::pin;

use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use sse_stream::Sse;

use super::announced_limits::announced_limits;
use super::http::{Content, HttpClient, Refusal, Reply};
use super::{ApiError, ModelError, ModelResponse, PreparedRequest, Progress};
use crate::messages_api::{ErrorBody, beginning, is_markup};

/// Reads the answers of one API.
pub(super) trait Reader: Sized {
    /// A reader of a stream that has not begun.
    fn new(request_id: Option<String>) -> Self;

    /// Takes one event of a stream.
    ///
    /// # Errors
    ///
    /// The event can't be read, or is an error that the API reports.
    fn event(&mut self, event: &Sse, progress: &Progress<'_>) -> Result<Step, ModelError>;

    /// What a stream that ends here lacks. `None` if the answer is whole.
    fn missing(&self) -> Option<&'static str>;

    /// The answer of a stream that lacks nothing.
    ///
    /// # Errors
    ///
    /// The agent loop can't go on from the answer.
    fn finish(self, progress: &Progress<'_>) -> Result<ModelResponse, ModelError>;

    /// Reads an answer that wasn't streamed, and reports its usage.
    ///
    /// # Errors
    ///
    /// As for a stream.
    fn whole(body: &[u8], request_id: Option<String>, progress: &Progress<'_>) -> Result<ModelResponse, ModelError>;
}

/// What follows an event of a stream.
pub(super) enum Step {
    Continue,
    /// The mark at the end of a stream arrived.
    Complete,
}

/// Sends one request and reads the answer.
pub(super) async fn exchange<R: Reader>(
    http: &HttpClient,
    request: &PreparedRequest<'_>,
    streams: bool,
    progress: &Progress<'_>,
) -> Result<ModelResponse, ModelError> {
    let body = request.body.clone();
    let mut reply = http.post(body, &request.headers, streams, progress).await?;
    progress.announced_limits(announced_limits(reply.headers(), Timestamp::now()));
    progress.head(reply.status());
    if let Some(id) = &reply.request_id {
        progress.set_request_id(id);
    }
    if !reply.is_success() {
        return Err(status_error(reply.refusal().await));
    }
    // A gateway may answer a streamed request with a whole message, or the other way round, with any content type.
    match reply.content().await? {
        Content::Events => read_stream::<R>(reply, progress).await,
        Content::Json => read_whole::<R>(reply, progress).await,
        // A server that means to answer nothing speaks another protocol, and no model has read the request.
        Content::Empty if reply.status() == 204 => {
            progress.nothing_to_bill();
            Err(ModelError::Malformed {
                reason: "HTTP 204, which has no content".to_owned(),
                request_id: reply.request_id,
            })
        }
        Content::Empty => Err(ModelError::Cut {
            reason: "the answer is empty".to_owned(),
            request_id: reply.request_id,
        }),
        Content::Text => {
            let (is_page, request_id) = (reply.is_page(), reply.request_id.clone());
            let body = reply.beginning().await;
            // A network's portal, or a web site: no model has read the request. A relay may send its own errors with the same type.
            if is_page && is_markup(&body) {
                progress.nothing_to_bill();
            }
            let text = beginning(&body);
            Err(ModelError::Malformed {
                reason: format!("it is neither JSON nor an event stream, and begins with: {text}"),
                request_id,
            })
        }
    }
}

async fn read_stream<R: Reader>(reply: Reply, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
    let request_id = reply.request_id.clone();
    let cut = |missing: &str| ModelError::Cut {
        reason: format!("the stream ended before {missing}"),
        request_id: request_id.clone(),
    };
    let mut answer = R::new(request_id.clone());
    let mut events = pin!(reply.events());
    while let Some(received) = events.next().await {
        let received = match received {
            Ok(received) => received,
            // Only the mark at the end is lost.
            Err(ModelError::Cut { .. } | ModelError::Stalled { .. }) if answer.missing().is_none() => break,
            Err(error) => return Err(error),
        };
        match answer.event(&received.event, progress) {
            Ok(Step::Continue) => {}
            Ok(Step::Complete) => {
                // The end of the body usually arrives with the last event. Reading it returns the connection to the pool.
                let _ = events.next().now_or_never();
                break;
            }
            // The body ended in the middle of this event.
            Err(ModelError::Malformed { .. }) if received.is_last => match answer.missing() {
                Some(missing) => return Err(cut(missing)),
                None => break,
            },
            Err(error) => return Err(error),
        }
    }
    match answer.missing() {
        Some(missing) => Err(cut(missing)),
        None => answer.finish(progress),
    }
}

async fn read_whole<R: Reader>(reply: Reply, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
    let request_id = reply.request_id.clone();
    let body = reply.whole().await?;
    match R::whole(&body, request_id.clone(), progress) {
        // As a stream that ends too early.
        Err(ModelError::Malformed { .. }) if is_cut_off(&body) => Err(ModelError::Cut {
            reason: "the answer ended in the middle".to_owned(),
            request_id,
        }),
        answer => answer,
    }
}

/// Whether the body is the beginning of a JSON text.
fn is_cut_off(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err_and(|error| error.is_eof())
}

pub(super) fn status_error(refusal: Refusal) -> ModelError {
    let body = ErrorBody::read_bytes(&refusal.body);
    let mut error = ApiError::read(body, Some(refusal.status), refusal.request_id);
    if error.message.is_empty() {
        refusal.reason.clone_into(&mut error.message);
    }
    error.url = matches!(refusal.status, 404 | 405).then_some(refusal.url);
    error.location = refusal.location;
    error.is_page = matches!(refusal.status, 400..500) && is_markup(&refusal.body);
    error.retry_after = refusal.retry_after;
    error.should_retry = refusal.should_retry;
    error.into()
}
