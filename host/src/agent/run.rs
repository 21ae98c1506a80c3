//! The agent loop: one run, from its prompt or from where another process left it.

mod calls;
mod trimming;

use tokio::time::Instant;

use super::agent::Agent;
use super::answer_format::{AnswerFormat, Checked};
use super::explain::{refusal, truncation};
use super::journal::Journal;
use super::report::LeftOut;
use super::session::RunOptions;
use super::step::{Step, next_step};
use crate::events::{Ending, ErrorInfo, EventKind};
use crate::fault::{self, Point};
use crate::model::{ApiErrorKind, ModelError};
use crate::session::{Fact, OpenRun, State, StoredBlock};
use crate::telemetry::Emitter;
use crate::tools::CallStart;

/// A run's ending and its error.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ending: Ending,
    pub(super) error: Option<ErrorInfo>,
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Self {
        Self { ending, error: None }
    }
}

impl From<ModelError> for Ended {
    fn from(error: ModelError) -> Self {
        Self {
            ending: ending_for(&error),
            error: Some(error.info()),
        }
    }
}

/// One run.
pub(super) struct Run<'a> {
    pub(super) agent: &'a Agent,
    pub(super) emitter: &'a Emitter,
    pub(super) state: &'a mut State,
    pub(super) journal: &'a Journal,
    pub(super) options: &'a RunOptions,
    pub(super) deadline: Instant,
    /// The model call, counted from 1, that the run makes or made last.
    pub(super) turn: u32,
    /// What the answer must be.
    pub(super) format: AnswerFormat,
    /// The calls that were admitted and have not ended.
    pub(super) admitted: Vec<Admitted>,
    /// The attachments that requests have left out.
    pub(super) left_out: Vec<LeftOut>,
}

/// A call that was admitted.
pub(super) struct Admitted {
    position: u32,
    id: String,
    start: CallStart,
}

impl Drop for Run<'_> {
    /// The run may be dropped while calls are being made, or wait for that. It may be gone on with.
    fn drop(&mut self) {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let deadline = self.agent.parts().settings.deadline;
        if let Some(run) = &mut self.state.run {
            run.spent = deadline.saturating_sub(left);
        }
        for call in std::mem::take(&mut self.admitted) {
            if call.start.give_up() {
                self.record_not_begun(call);
            }
        }
    }
}

impl Run<'_> {
    /// Takes a fact into account and writes it down with the next commit.
    pub(super) fn record(&mut self, fact: &Fact) {
        self.state.apply(fact);
        self.journal.record(fact);
    }

    fn record_not_begun(&mut self, call: Admitted) {
        self.record(&Fact::CallNotBegun {
            position: call.position,
            id: call.id,
        });
    }

    /// Whether the model has answered as often as before.
    pub(super) fn has_no_new_answer(&self, answers: u32) -> bool {
        self.state.run.as_ref().is_some_and(|run| run.iterations == answers)
    }

    /// The run so far. There is one from the prompt to the end.
    fn so_far(&mut self) -> &mut OpenRun {
        self.state.run.get_or_insert_default()
    }

    /// The agent loop: calls the model and runs its tool calls, until the run ends.
    pub(super) async fn drive(&mut self) -> Ended {
        let max_iterations = self.agent.parts().settings.max_iterations;
        let given = self.options.schema.as_ref();
        match AnswerFormat::of(self.so_far().schema.as_deref(), given) {
            Ok(format) => self.format = format,
            Err(ended) => return ended,
        }
        self.turn = self.so_far().iterations;
        self.emitter.set_turn(self.turn);
        // Another process may have left calls without results.
        if !self.so_far().calls.is_empty()
            && let Some(ended) = self.run_tools().await
        {
            return ended;
        }
        loop {
            if self.options.cancel.is_cancelled() {
                return Ending::Cancelled.into();
            }
            if Instant::now() >= self.deadline {
                return Ending::DeadlineExceeded.into();
            }
            if self.so_far().iterations >= max_iterations {
                return Ending::MaxIterations.into();
            }
            self.turn = self.so_far().iterations + 1;
            self.emitter.set_turn(self.turn);
            self.emitter.emit(EventKind::TurnStarted {});
            let response = match self.ask_model().await {
                Ok(response) => response,
                Err(ended) => return ended,
            };
            let step = next_step(&response, self.so_far().before);
            self.record(&Fact::Answered {
                model: response.model,
                stop_reason: response.stop_reason.as_str().to_owned(),
                content: response.content.iter().filter_map(StoredBlock::of).collect(),
            });
            fault::passes(Point::AnswerRecorded);
            match step {
                Step::Finish(Ending::Refused) => {
                    return Ended {
                        ending: Ending::Refused,
                        error: Some(refusal(response.refusal)),
                    };
                }
                Step::Finish(Ending::Truncated) => {
                    let written = response.usage.output_tokens;
                    return Ended {
                        ending: Ending::Truncated,
                        error: Some(truncation(Some(written), self.agent.parts().max_tokens)),
                    };
                }
                Step::Finish(Ending::Completed) => match self.check_answer(self.turn < max_iterations).await {
                    Checked::Accepted => return Ending::Completed.into(),
                    Checked::Corrected => {}
                    Checked::Failed(ended) => return ended,
                },
                Step::Finish(ending) => return ending.into(),
                Step::Fail(kind, message) => return failed(kind, message),
                Step::Continue => {}
                Step::AskAgain if self.turn >= max_iterations => {
                    return failed("empty_answer", "the model's answer was empty".to_owned());
                }
                Step::AskAgain => self.record(&Fact::AskedAgain {}),
                // No further model call could read the results.
                Step::RunTools if self.turn >= max_iterations => return Ending::MaxIterations.into(),
                Step::RunTools => {
                    if let Some(ended) = self.run_tools().await {
                        return ended;
                    }
                }
            }
        }
    }
}

pub(super) fn failed(kind: &str, message: String) -> Ended {
    let hint = (kind == "empty_answer").then(|| {
        "try again; if it happens every time, check that the server at `[model] base_url` serves this model".to_owned()
    });
    let error = ErrorInfo {
        kind: kind.to_owned(),
        message,
        hint,
        request_id: None,
    };
    Ended {
        ending: Ending::ModelFailed,
        error: Some(error),
    }
}

fn ending_for(error: &ModelError) -> Ending {
    match error {
        ModelError::Budget(_) => Ending::BudgetExceeded,
        ModelError::DeadlineExceeded { .. } => Ending::DeadlineExceeded,
        ModelError::Cancelled => Ending::Cancelled,
        ModelError::ContextOverflow(_) => Ending::ContextOverflow,
        ModelError::Api(error) if error.kind == ApiErrorKind::RequestTooLarge => Ending::ContextOverflow,
        _ => Ending::ModelFailed,
    }
}
