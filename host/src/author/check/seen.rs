//! What is seen of one tool while it is checked.

use std::collections::BTreeMap;

use serde_json::Value;

use super::inputs::{Input, Kind};
use super::report::{ErrorAnswer, Finding};
use super::upstream::{Requests, Sent};
use crate::events::Outcome;
use crate::tools::ToolResult;

/// What the calls of one tool led to.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) outcomes: BTreeMap<Outcome, u32>,
    pub(super) first: Option<Input>,
    /// The first input that succeeded and that the schema accepts.
    pub(super) success: Option<Input>,
    /// The first input with which the tool sent a request.
    pub(super) sender: Option<Value>,
    pub(super) requests: Requests,
    /// Requests that can change something, with the input that led to them: the first, and the first that isn't a POST.
    pub(super) effects: Vec<(Sent, Value)>,
    /// What a call changed in the store or in files, with its input. Only known of tools that claim something about it.
    pub(super) changes: Vec<(String, Value)>,
    pub(super) error_answer: Option<ErrorAnswer>,
    /// What the call that `error_answer` is about printed.
    pub(super) printed: String,
}

impl Seen {
    pub(super) fn count(&mut self, result: &ToolResult) {
        *self.outcomes.entry(result.outcome).or_default() += 1;
    }

    pub(super) fn note(&mut self, input: &Input, result: &ToolResult, sent: &[Sent]) {
        self.count(result);
        self.requests.add(sent);
        if !sent.is_empty() {
            self.sender.get_or_insert_with(|| input.value.clone());
        }
        for sent in sent.iter().filter(|sent| !sent.is_safe()) {
            let says_more = |(known, _): &(Sent, Value)| known.is_change() || !sent.is_change();
            if !self.effects.iter().any(says_more) {
                self.effects.push((sent.clone(), input.value.clone()));
            }
        }
        let is_answer = matches!(
            result.outcome,
            Outcome::Failed | Outcome::Unavailable | Outcome::InvalidInput
        );
        if result.outcome == Outcome::Ok && input.kind != Kind::Invalid {
            self.success.get_or_insert_with(|| input.clone());
        } else if is_answer && result.finished.tries > 0 && self.error_answer.is_none() {
            self.error_answer = Some(ErrorAnswer {
                outcome: result.outcome,
                input: input.value.clone(),
                message: result.finished.output.as_str().into(),
            });
            self.printed.clone_from(&result.finished.log);
        }
    }

    pub(super) fn inputs_with_effects(&self) -> impl Iterator<Item = &Value> {
        let sent = self.effects.iter().map(|(_, input)| input);
        sent.chain(self.changes.iter().map(|(_, input)| input))
    }

    /// The input of further calls: one that succeeded, if one did.
    pub(super) fn sample(&self) -> Option<&Value> {
        self.success.as_ref().or(self.first.as_ref()).map(|input| &input.value)
    }
}

/// No call succeeded.
pub(super) fn no_success(seen: &Seen) -> Finding {
    let text = "no input that was generated from its schema succeeded here, so its success wasn't seen";
    let text = match seen.sender {
        Some(_) => format!("{text}; servers answered with `{{}}`"),
        None => text.to_owned(),
    };
    match &seen.error_answer {
        Some(answer) => Finding::warning("no_success", text)
            .with_input(&answer.input)
            .with_printed(&seen.printed),
        None => Finding::warning("no_success", text),
    }
}
