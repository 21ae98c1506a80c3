//! How a call ended: what the model reads of it, what only the operator reads, and what the breaker counts.

use tokio::time::Instant;

use super::content::{Part, Structure};
use crate::events::{Health, Outcome};
use crate::resilience::Rejected;
use crate::sandbox::{CallFailure, Halted, LimitHit, LimitValue, Limits, SetIn};

/// How a call ended, before the fallback applies and the event is emitted.
#[derive(Debug)]
pub(super) struct CallEnd {
    pub(super) outcome: Outcome,
    /// What the breaker counts: that of the outcome, unless the tool's failure says nothing about the tool.
    pub(super) health: Health,
    /// What the model reads.
    pub(super) content: Vec<Part>,
    pub(super) structure: Option<Structure>,
    /// What only the operator reads.
    pub(super) detail: Option<String>,
}

impl CallEnd {
    pub(super) fn error(outcome: Outcome, text: impl Into<String>) -> Self {
        Self {
            outcome,
            health: outcome.health(),
            content: vec![Part::Text { text: text.into() }],
            structure: None,
            detail: None,
        }
    }

    pub(super) fn with_health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    pub(super) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(super) fn too_large(input: &str, limit: u64) -> Option<Self> {
        (input.len() as u64 > limit).then(|| {
            let text = format!(
                "The input has {} bytes, more than input_bytes allows ({}).",
                input.len(),
                LimitValue::Bytes(limit)
            );
            Self::error(Outcome::InvalidInput, text)
        })
    }

    pub(super) fn invalid_output(reason: &str) -> Self {
        Self::error(
            Outcome::InvalidOutput,
            format!("The tool returned a result that can't be used: {reason}."),
        )
    }

    pub(super) fn unavailable(message: String) -> Self {
        Self::error(Outcome::Unavailable, non_blank_or(message, "The tool is unavailable."))
    }

    pub(super) fn failed(failure: CallFailure, plugin: &str, set_in: SetIn) -> Self {
        let stopped = |outcome, limit: LimitHit| {
            Self::error(outcome, format!("The tool was stopped at a limit: limits.{limit}."))
                .with_detail(how_to_raise(&limit, plugin, set_in))
        };
        match failure {
            CallFailure::InvalidInput(message) => Self::error(
                Outcome::InvalidInput,
                non_blank_or(message, "The tool doesn't accept this input."),
            ),
            CallFailure::LeadingDash(message) => Self::error(Outcome::InvalidInput, message).with_detail(format!(
                "if such values are meant to reach the program, end its options with \"--\" in plugins.{plugin}.command.args, or \
                 set plugins.{plugin}.command.allow_leading_dash"
            )),
            CallFailure::Unavailable { message, .. } => Self::unavailable(message),
            CallFailure::Failed { message, counts } => {
                let ended = Self::error(Outcome::Failed, non_blank_or(message, "The tool failed."));
                match counts {
                    true => ended,
                    false => ended.with_health(Health::Neutral),
                }
            }
            CallFailure::Timeout(limit) => stopped(Outcome::Timeout, limit),
            CallFailure::OutOfFuel(limit) => stopped(Outcome::OutOfFuel, limit),
            CallFailure::OutOfMemory(limit) => stopped(Outcome::OutOfMemory, limit),
            CallFailure::StackOverflow(limit) => stopped(Outcome::StackOverflow, limit),
            CallFailure::Trapped(detail) => Self::error(Outcome::Trapped, "The tool crashed.").with_detail(detail),
            CallFailure::InvalidOutput(reason) => Self::invalid_output(&reason),
            CallFailure::Overloaded(detail) => Self::busy(detail),
            CallFailure::Cancelled => Self::cancelled(),
            CallFailure::Host(detail) => Self::host_error(&detail),
        }
    }

    pub(super) fn breaker_open(rejected: &Rejected) -> Self {
        if rejected.is_held {
            let detail = format!("`cofferdam breakers close {}` lets calls through again", rejected.name);
            return Self::error(Outcome::BreakerOpen, "The tool is out of service. Don't try it again.")
                .with_detail(detail);
        }
        let seconds = rejected.retry_after.as_secs_f64().ceil().max(1.0);
        let text = format!("The tool is temporarily unavailable. Try again in {seconds:.0} seconds.");
        let ended = Self::error(Outcome::BreakerOpen, text);
        match &rejected.last_failure {
            Some(failure) => ended.with_detail(format!("the last failure: {failure}")),
            None => ended,
        }
    }

    pub(super) fn cancelled() -> Self {
        Self::error(Outcome::Cancelled, "The run was cancelled.")
    }

    pub(super) fn run_deadline_passed() -> Self {
        Self::error(
            Outcome::Cancelled,
            "The run's deadline passed before the tool finished.",
        )
        .with_detail("the run's deadline has passed")
    }

    /// The end of a call that was halted while the tool wasn't running: in a check, a queue or a delay.
    pub(super) fn halted_outside_tool(halted: Halted, run_deadline: Instant) -> Self {
        match halted {
            Halted::Cancelled => Self::cancelled(),
            Halted::Deadline if Instant::now() >= run_deadline => Self::run_deadline_passed(),
            Halted::Deadline => Self::busy("the call timed out before the tool could run".to_owned()),
        }
    }

    pub(super) fn busy(detail: String) -> Self {
        let text = "The host is busy and couldn't run the tool. Try again later.";
        Self::error(Outcome::Overloaded, text).with_detail(detail)
    }

    /// The model reads an id, the operator the id and the reason.
    pub(super) fn host_error(detail: &str) -> Self {
        let id = uuid::Uuid::now_v7();
        Self::error(Outcome::HostError, format!("Internal error {id}.")).with_detail(format!("{id}: {detail}"))
    }
}

/// The limit, with the key or the option that raises it.
fn how_to_raise(limit: &LimitHit, plugin: &str, set_in: SetIn) -> String {
    let name = limit.name;
    if !Limits::ALL.iter().any(|known| known.name == name) {
        return limit.to_string();
    }
    match set_in {
        SetIn::Configuration => format!("{limit}; if the tool needs more, raise plugins.{plugin}.limits.{name}"),
        SetIn::CommandLine => format!("{limit}; if the tool needs more, raise it with `--limit {name}=…`"),
    }
}

fn non_blank_or(message: String, otherwise: &str) -> String {
    if message.trim().is_empty() {
        otherwise.to_owned()
    } else {
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_says_nothing_about_the_tool_is_no_mark_against_it() {
        for (counts, health) in [(true, Health::Failure), (false, Health::Neutral)] {
            let failure = CallFailure::Failed {
                message: "no match".to_owned(),
                counts,
            };
            let ended = CallEnd::failed(failure, "p", SetIn::Configuration);
            assert_eq!((ended.outcome, ended.health), (Outcome::Failed, health));
        }
    }
}
