//! An answer that must match a schema: how the model hears of it, and what becomes of one that doesn't.
//!
//! The API is asked for the format first. If it refuses the field, the system prompt says what it would have said. Either way the answer is
//! checked here, because servers ignore fields that they don't know.

use std::borrow::Cow;
use std::sync::Arc;

use super::run::{Ended, Run, failed};
use crate::events::ErrorInfo;
use crate::model::ModelError;
use crate::session::Fact;
use crate::tools::AnswerSchema;

/// How often a model may correct its answer.
const MAX_CORRECTIONS: u32 = 2;

/// What becomes of a complete answer.
#[derive(Debug)]
pub(super) enum Checked {
    Accepted,
    /// The model reads what is wrong with it.
    Corrected,
    Failed(Ended),
}

/// What a run knows of its answer's format.
#[derive(Debug, Default)]
pub(super) struct AnswerFormat {
    pub(super) schema: Option<Arc<AnswerSchema>>,
    /// The API doesn't take it as a field of the request.
    pub(super) is_refused: bool,
    /// The JSON text of the answer that matches.
    pub(super) answer: Option<String>,
}

/// Whether a server refuses the field, as its words say. One that doesn't say so is asked without it last.
pub(super) fn names_format(error: &ModelError) -> bool {
    let names = |message: &str| {
        let words = [
            "output_config",
            "response_format",
            "json_schema",
            "schema",
            "structured",
        ];
        words.iter().any(|word| message.contains(word))
    };
    match error {
        ModelError::Api(error) => matches!(error.status, Some(400 | 422)) && names(&error.message),
        // The configured model may only have been down.
        ModelError::AllFailed { fallbacks, .. } => fallbacks.iter().any(|failed| names_format(&failed.error)),
        _ => false,
    }
}

impl AnswerFormat {
    /// Of a run whose prompt asked for one. It was checked when it was set; `given` is the same, unless another process set it.
    pub(super) fn of(schema: Option<&str>, given: Option<&Arc<AnswerSchema>>) -> Result<Self, Ended> {
        let Some(text) = schema else { return Ok(Self::default()) };
        let schema = match given.filter(|given| &**given.text() == text) {
            Some(given) => given.clone(),
            None => Arc::new(AnswerSchema::parse(text).map_err(|problem| failed("invalid_schema", problem))?),
        };
        Ok(Self {
            schema: Some(schema),
            ..Self::default()
        })
    }

    /// For the field of a request.
    pub(super) fn native(&self) -> Option<Arc<str>> {
        self.schema
            .as_ref()
            .filter(|_| !self.is_refused)
            .map(|schema| schema.text().clone())
    }

    /// The system prompt, with the format if no field has it.
    pub(super) fn system<'s>(&self, system: &'s str) -> Cow<'s, str> {
        match self.schema.as_ref().filter(|_| self.is_refused) {
            None => Cow::Borrowed(system),
            Some(schema) => {
                let gap = if system.is_empty() { "" } else { "\n\n" };
                Cow::Owned(format!("{system}{gap}{}", asked_for(schema)))
            }
        }
    }

    /// Asks without the field from now on. Returns false if that was tried already.
    pub(super) fn refuse(&mut self) -> bool {
        let is_new = self.schema.is_some() && !std::mem::replace(&mut self.is_refused, true);
        if is_new {
            tracing::info!("the API takes no format of the answer, so the system prompt has it");
        }
        is_new
    }
}

fn asked_for(schema: &AnswerSchema) -> String {
    format!(
        "Your final answer must be a single JSON object that matches this JSON Schema, without any other text:\n{}",
        schema.text()
    )
}

impl Run<'_> {
    /// Checks a complete answer.
    pub(super) async fn check_answer(&mut self, may_ask_again: bool) -> Checked {
        let (Some(schema), Some(run)) = (self.format.schema.clone(), &self.state.run) else {
            return Checked::Accepted;
        };
        let (answer, corrections) = (run.answer.clone(), run.corrections);
        let of_check = schema.clone();
        // It can take a second.
        let checked = tokio::task::spawn_blocking(move || of_check.check(&answer)).await;
        let violations = match checked {
            Ok(Ok(json)) => {
                self.format.answer = Some(json);
                return Checked::Accepted;
            }
            Ok(Err(violations)) => violations,
            Err(_) => vec!["it could not be checked".to_owned()],
        };
        if !may_ask_again || corrections >= MAX_CORRECTIONS {
            return Checked::Failed(invalid(&violations, self.emitter.session_id()));
        }
        let text = format!(
            "Your answer doesn't match:\n- {}\n{}",
            violations.join("\n- "),
            asked_for(&schema)
        );
        self.record(&Fact::Corrected { text });
        Checked::Corrected
    }
}

fn invalid(violations: &[String], session: &str) -> Ended {
    let ended = failed(
        ErrorInfo::INVALID_ANSWER,
        format!("the answer doesn't match the schema: {}", violations.join("; ")),
    );
    let error = ended.error.map(|error| ErrorInfo {
        hint: Some(format!(
            "describe the fields in the schema, or choose a model that takes schemas; `cofferdam session show {session}` has what it \
             answered"
        )),
        ..error
    });
    Ended { error, ..ended }
}
