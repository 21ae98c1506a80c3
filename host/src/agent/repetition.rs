//! Notices a model that makes the same call again and again.

use serde_json::Value;

use crate::tools::{Outcome, ToolResult};

/// Equal calls in a row after which the model is told.
const WARN_AT: u32 = 3;
/// Equal calls in a row after which the run ends.
const STOP_AT: u32 = 5;

/// What to do about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Tell the model, this once.
    Warn,
    /// End the run.
    Stop,
}

/// The last call and how often it was made in a row: same tool, same input, same outcome. Successes are the same only if
/// they said the same, so that a model may wait for something to change.
#[derive(Debug, Default)]
pub(super) struct Repetition {
    last: Option<(String, Value, Outcome, Option<String>)>,
    in_a_row: u32,
}

impl Repetition {
    pub(super) fn observe(&mut self, input: &Value, result: &ToolResult) -> Verdict {
        let said = (result.outcome == Outcome::Ok).then(|| result.finished.output.clone());
        let call = (result.finished.tool.clone(), input.clone(), result.outcome, said);
        if self.last.as_ref() == Some(&call) {
            self.in_a_row += 1;
        } else {
            self.last = Some(call);
            self.in_a_row = 1;
        }
        match self.in_a_row {
            WARN_AT => Verdict::Warn,
            STOP_AT.. => Verdict::Stop,
            _ => Verdict::Fine,
        }
    }
}

/// What the model reads beside the result.
pub(super) const WARNING: &str = "You have made this same call three times with the same outcome. Making it again will not help: try something else, or answer with what you have.";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::telemetry::ToolCallFinished;

    fn result(outcome: Outcome, output: &str) -> ToolResult {
        let finished = ToolCallFinished {
            call_id: String::new(),
            tool: "t".to_owned(),
            plugin: String::new(),
            outcome,
            degraded: false,
            tries: 1,
            duration_ms: 0.0,
            fuel: 0,
            peak_memory_bytes: 0,
            host_calls: 0,
            log_bytes_dropped: 0,
            detail: None,
            output: output.to_owned(),
            replaced_output: None,
            log: String::new(),
        };
        ToolResult {
            call_id: String::new(),
            outcome,
            degraded: false,
            is_error: false,
            content: vec![],
            finished,
        }
    }

    fn verdicts(calls: &[(i32, Outcome, &str)]) -> Vec<Verdict> {
        let mut repetition = Repetition::default();
        calls
            .iter()
            .map(|(input, outcome, said)| repetition.observe(&json!(input), &result(*outcome, said)))
            .collect()
    }

    #[test]
    fn warned_at_three_stopped_at_five() {
        use Verdict::{Fine, Stop, Warn};
        let calls = [(1, Outcome::Failed, "a"); 5];
        assert_eq!(verdicts(&calls), [Fine, Fine, Warn, Fine, Stop]);
    }

    #[test]
    fn anything_else_between_starts_anew() {
        let failed = (1, Outcome::Failed, "");
        let other = (2, Outcome::Failed, "");
        let calls = [failed, failed, other, failed, failed];
        assert!(verdicts(&calls).iter().all(|verdict| *verdict == Verdict::Fine));
    }

    #[test]
    fn failures_are_alike_whatever_they_say_and_successes_are_not() {
        let failing = [
            (1, Outcome::Failed, "a"),
            (1, Outcome::Failed, "b"),
            (1, Outcome::Failed, "c"),
        ];
        assert_eq!(verdicts(&failing)[2], Verdict::Warn);
        let polling = [
            (1, Outcome::Ok, "10%"),
            (1, Outcome::Ok, "20%"),
            (1, Outcome::Ok, "30%"),
        ];
        assert_eq!(verdicts(&polling)[2], Verdict::Fine);
    }
}
