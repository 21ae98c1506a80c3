//! Assembles an answer from its chunks. An answer that wasn't streamed is one large chunk.
//!
//! No two servers stream alike. Calls are distinguished by their index, else by their id, else by their names; whether the model
//! calls tools is decided by the calls that arrived, not by the reason for its end; usage is taken from wherever it comes.

use std::borrow::Cow;
use std::collections::HashMap;

use sse_stream::Sse;

use super::reasoning::Reasoning;
use super::usage::KnownUsage;
use super::{PROVIDER, error};
use crate::chat_api::{Answer, Arguments, Call, Choice, DONE, MAX_ID_BYTES};
use crate::json_text::{Json, unescape};
use crate::messages_api::{ErrorBody, MESSAGE_START};
use crate::model::answer::CompleteAnswer;
use crate::model::exchange::{Reader, Step};
use crate::model::{ModelError, ModelResponse, Progress, RefusalDetails, StopReason};
use crate::transcript::{Block, Opaque, ToolInput, ToolUse};

/// More calls are no answer of a model, and each takes memory.
const MAX_CALLS: usize = 1_024;

/// As for the body of an error status. A parsed error takes many times the memory of its text.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The name of the events with which some servers report an error.
const ERROR: &str = "error";

#[derive(Debug, Default)]
pub(super) struct Assembler {
    model: String,
    /// As it is written between its quotes, like `refusal`.
    text: String,
    refusal: String,
    reasoning: Reasoning,
    /// In order of arrival.
    calls: Vec<Building>,
    newest_of_index: HashMap<u64, usize>,
    newest_of_id: HashMap<String, usize>,
    finish_reason: Option<String>,
    usage: KnownUsage,
    /// Some servers report from the first chunk on.
    usage_is_final: bool,
    has_choice: bool,
    is_done: bool,
    request_id: Option<String>,
}

/// A call, as far as it has arrived.
#[derive(Debug, Default)]
struct Building {
    id: String,
    name: String,
    /// As they are written between their quotes.
    arguments: String,
    /// Arguments that came as JSON instead.
    json: Option<String>,
    extra: Option<String>,
}

impl Reader for Assembler {
    fn new(request_id: Option<String>) -> Self {
        Self {
            request_id,
            ..Self::default()
        }
    }

    fn event(&mut self, event: &Sse, progress: &Progress<'_>) -> Result<Step, ModelError> {
        let data = event.data.as_deref().unwrap_or_default().trim();
        match data {
            "" => return Ok(Step::Continue),
            DONE => {
                self.is_done = true;
                return Ok(Step::Complete);
            }
            _ => {}
        }
        let is_error = event.event.as_deref() == Some(ERROR);
        let chunk = match Json::parse(data) {
            Ok(chunk) => chunk,
            Err(_) if is_error => {
                let body = ErrorBody::read_bytes(data.as_bytes());
                return Err(error::in_answer(body, None, self.request_id.clone()));
            }
            Err(error) => return Err(self.malformed(format!("the data of an event isn't JSON: {error}"))),
        };
        if is_error {
            return Err(self.reported(chunk));
        }
        self.add(chunk, Some(progress))?;
        Ok(Step::Continue)
    }

    fn missing(&self) -> Option<&'static str> {
        // Without a reason for the end, a call may have been cut off before its arguments came.
        let calls_are_whole = self.calls.iter().all(Building::has_object);
        let is_whole = self.finish_reason.is_some() || (self.is_done && self.has_choice && calls_are_whole);
        (!is_whole).then_some("a `finish_reason` or `[DONE]`")
    }

    fn finish(self, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
        match self.usage_is_final {
            true => self.usage.report_final(progress),
            false => self.usage.report(progress),
        }
        let reason = self.finish_reason.as_deref().map(str::to_ascii_lowercase);
        if let Some(reason) = reason.as_deref().filter(|reason| error::is_failure(reason)) {
            return Err(error::failed(reason, self.request_id));
        }
        let refusal = unescape(&self.refusal).into_owned();
        let is_refused = !refusal.trim().is_empty();
        let stop_reason = stop_reason(reason.as_deref(), !self.calls.is_empty(), is_refused);
        let explanation = is_refused.then_some(refusal);
        let text = Block::text(unescape(&self.text));
        let mut content: Vec<Block> = self.reasoning.into_block().map(Block::Opaque).into_iter().collect();
        content.push(text);
        let calls: Option<Vec<Block>> = self.calls.into_iter().map(Building::finish).collect();
        CompleteAnswer {
            model: self.model,
            refusal: (stop_reason == StopReason::Refusal).then(|| RefusalDetails {
                category: reason.filter(|reason| reason == CONTENT_FILTER),
                explanation,
            }),
            stop_reason: Some(stop_reason),
            content: calls.map(|calls| {
                content.extend(calls);
                content
            }),
            usage: self.usage.usage(),
            request_id: self.request_id,
        }
        .check()
    }

    fn whole(body: &[u8], request_id: Option<String>, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
        let mut answer = Self::new(request_id);
        let not_json = |reason: String| format!("the body isn't JSON: {reason}");
        let body = std::str::from_utf8(body).map_err(|error| answer.malformed(not_json(error.to_string())))?;
        let body = Json::parse(body).map_err(|error| answer.malformed(not_json(error.to_string())))?;
        answer.add(body, None)?;
        answer.usage_is_final = true;
        if !answer.has_choice {
            answer.usage.report(progress);
            return Err(answer.malformed("the body has no `choices`".to_owned()));
        }
        answer.finish(progress)
    }
}

impl Assembler {
    /// Adds a chunk. Reports to `progress` what a person can read as it arrives.
    fn add(&mut self, chunk: Json<'_>, progress: Option<&Progress<'_>>) -> Result<(), ModelError> {
        if ErrorBody::is_error(chunk) {
            return Err(self.reported(chunk));
        }
        if !self.has_choice && is_of_messages_api(chunk) {
            return Err(self.malformed("it is an answer of the Messages API".to_owned()));
        }
        let Answer { model, choice, usage } = Answer::read(chunk);
        if self.model.is_empty() {
            self.model = model.into_owned();
        }
        if let Some(usage) = usage {
            self.usage.update(&usage);
            if let Some(progress) = progress {
                self.usage.report(progress);
            }
        }
        self.usage_is_final = self.has_all_usage(usage.is_some(), choice.as_ref());
        let Some(choice) = choice else { return Ok(()) };
        if let Some(error) = choice.error {
            return Err(self.reported(error));
        }
        if let Some(progress) = progress {
            report(&choice, progress);
        }
        self.has_choice = true;
        self.text.push_str(&choice.text);
        self.refusal.push_str(&choice.refusal);
        for (name, value) in choice.reasoning {
            self.reasoning.add(name, value);
        }
        for call in choice.calls {
            match progress {
                Some(_) => self.add_call(call),
                // Nothing of a whole answer continues something else.
                None => {
                    let mut whole = Building::default();
                    whole.add(call);
                    self.calls.push(whole);
                }
            }
        }
        if self.calls.len() > MAX_CALLS {
            return Err(self.malformed(format!("an answer with more than {MAX_CALLS} calls")));
        }
        if let Some(reason) = choice.finish_reason {
            self.finish_reason = Some(reason.into_owned());
        }
        Ok(())
    }

    /// Whether the usage is all, after a chunk with these parts.
    fn has_all_usage(&self, has_usage: bool, choice: Option<&Choice<'_>>) -> bool {
        let is_over = self.finish_reason.is_some() || choice.is_some_and(|choice| choice.finish_reason.is_some());
        match choice {
            _ if has_usage && is_over => true,
            // Where no reason for the end is given, it comes in a chunk of its own, unless more follows.
            None if has_usage => self.has_choice,
            Some(_) if has_usage => false,
            Some(choice) if self.finish_reason.is_none() => self.usage_is_final && choice.is_empty(),
            _ => self.usage_is_final,
        }
    }

    fn add_call(&mut self, call: Call<'_>) {
        let at = self.position(&call).unwrap_or_else(|| {
            self.calls.push(Building::default());
            self.calls.len() - 1
        });
        if let Some(index) = call.index {
            self.newest_of_index.insert(index, at);
        }
        if let Some(id) = &call.id {
            self.newest_of_id.insert(id.clone().into_owned(), at);
        }
        self.calls[at].add(call);
    }

    /// The call that this adds to. `None` for a new one.
    fn position(&self, call: &Call<'_>) -> Option<usize> {
        let newest = self.calls.len().checked_sub(1);
        let at = match (call.index, &call.id) {
            (Some(index), _) => *self.newest_of_index.get(&index)?,
            (None, Some(id)) => match self.newest_of_id.get(&**id) {
                Some(at) => *at,
                None => newest.filter(|_| call.name.is_none())?,
            },
            (None, None) => newest.filter(|_| call.name.is_none())?,
        };
        // Some gateways give all calls of an answer the index 0.
        let known = &self.calls[at];
        let is_another = call.name.as_ref().is_some_and(|name| match &call.id {
            Some(id) => !known.id.is_empty() && *id != known.id,
            None => !known.name.is_empty() && (*name != known.name || (has_arguments(call) && known.has_object())),
        });
        (!is_another).then_some(at)
    }

    /// The error that a chunk or a whole answer is.
    fn reported(&self, error: Json<'_>) -> ModelError {
        let length = error.text().len();
        if length > MAX_ERROR_BYTES {
            return self.malformed(format!("an error of {length} bytes"));
        }
        let body = error.to_value();
        error::in_answer(ErrorBody::read(&body), error::status_in(&body), self.request_id.clone())
    }

    fn malformed(&self, reason: String) -> ModelError {
        ModelError::Malformed {
            reason,
            request_id: self.request_id.clone(),
        }
    }
}

impl Building {
    fn add(&mut self, call: Call<'_>) {
        if self.id.is_empty() {
            self.id = call.id.unwrap_or_default().into_owned();
        }
        if self.name.is_empty() {
            self.name = call.name.unwrap_or_default().into_owned();
        }
        match call.arguments {
            Some(Arguments::Text(piece)) => self.arguments.push_str(piece),
            Some(Arguments::Json(json)) => self.json = Some(json.text().to_owned()),
            None => {}
        }
        self.extra = self.extra.take().or(call.extra);
    }

    /// Whether its arguments are an object as far as they came.
    fn has_object(&self) -> bool {
        let arguments = self.arguments();
        !arguments.trim().is_empty() && ToolInput::read(&arguments).problem().is_none()
    }

    /// Pieces of text, or, where none came, the object that was sent in their place.
    fn arguments(&self) -> Cow<'_, str> {
        match &self.json {
            Some(json) if self.arguments.is_empty() => json.into(),
            _ => unescape(&self.arguments),
        }
    }

    /// `None` for a call without a name. One without an id gets one when the history is sent.
    fn finish(self) -> Option<Block> {
        let input = ToolInput::read(&self.arguments());
        // Only its own server gets such an id back, as it is.
        let mark = (self.id.len() > MAX_ID_BYTES).then(|| "{}".to_owned());
        (!self.name.is_empty()).then(|| {
            Block::ToolUse(ToolUse {
                id: self.id,
                name: self.name,
                input,
                extra: self.extra.or(mark).map(|extra| Opaque::new(PROVIDER, extra)),
            })
        })
    }
}

/// Whether a chunk is the first event of a stream of the Messages API.
fn is_of_messages_api(chunk: Json<'_>) -> bool {
    let kind = chunk.field("type").and_then(Json::string);
    kind.is_some_and(|kind| kind == MESSAGE_START)
}

fn has_arguments(call: &Call<'_>) -> bool {
    match &call.arguments {
        Some(Arguments::Text(piece)) => !piece.trim().is_empty(),
        Some(Arguments::Json(_)) => true,
        None => false,
    }
}

fn report(choice: &Choice<'_>, progress: &Progress<'_>) {
    if !choice.reasoning.is_empty() {
        // How much of it a vendor shows differs.
        progress.hidden_output();
        progress.token();
    }
    progress.text(&unescape(&choice.text));
    progress.output(choice.refusal.len());
    for call in &choice.calls {
        let arguments = match call.arguments {
            Some(Arguments::Text(text)) => text.len(),
            Some(Arguments::Json(json)) => json.text().len(),
            None => 0,
        };
        progress.output(
            call.name
                .as_ref()
                .map_or(0, |name| name.len())
                .saturating_add(arguments),
        );
        progress.token();
    }
}

const CONTENT_FILTER: &str = "content_filter";

/// The reason for the end, given in lower case. What arrived is more reliable than what the server calls it.
fn stop_reason(reason: Option<&str>, has_calls: bool, is_refused: bool) -> StopReason {
    let reason = match reason {
        // `eos…` as Text Generation Inference has it.
        None | Some("stop" | "eos" | "eos_token") => StopReason::EndTurn,
        Some("tool_calls" | "function_call") => StopReason::ToolUse,
        Some("length") => StopReason::MaxTokens,
        Some(CONTENT_FILTER) => StopReason::Refusal,
        Some(other) => StopReason::from_wire(other),
    };
    match reason {
        StopReason::EndTurn | StopReason::StopSequence if has_calls => StopReason::ToolUse,
        StopReason::EndTurn | StopReason::ToolUse if is_refused && !has_calls => StopReason::Refusal,
        StopReason::ToolUse if !has_calls => StopReason::EndTurn,
        reason => reason,
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
