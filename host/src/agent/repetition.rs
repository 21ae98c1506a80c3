//! Notices a model that makes the same call again and again.

use crate::tools::{Outcome, Part, ToolResult};
use crate::transcript::ToolInput;

/// Turns in a row with the same call after which the model is told.
const WARN_AT: u32 = 3;
/// Turns in a row with the same call after which the run ends.
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

/// The calls of the last turn and for how many turns in a row each was made: same tool, same input, same outcome. Several in
/// one turn count once, for the model had not read the first one's result. Successes are the same only if they said the
/// same, so that a model may wait for something to change.
#[derive(Debug, Default)]
pub(super) struct Repetition {
    calls: Vec<(Call, u32)>,
}

#[derive(Debug, PartialEq)]
struct Call {
    tool: String,
    input: ToolInput,
    outcome: Outcome,
    said: Option<Vec<Part>>,
}

impl Repetition {
    /// A verdict for each call of a turn, in order.
    pub(super) fn observe(&mut self, turn: &[(&ToolInput, &ToolResult)]) -> Vec<Verdict> {
        let before = std::mem::take(&mut self.calls);
        let mut verdicts = Vec::with_capacity(turn.len());
        for (input, result) in turn {
            let call = Call {
                tool: result.finished.tool.clone(),
                input: (*input).clone(),
                outcome: result.outcome,
                said: (result.outcome == Outcome::Ok).then(|| result.content.clone()),
            };
            if self.calls.iter().any(|(known, _)| *known == call) {
                verdicts.push(Verdict::Fine);
                continue;
            }
            let turns = before
                .iter()
                .find(|(known, _)| *known == call)
                .map_or(1, |(_, turns)| turns + 1);
            self.calls.push((call, turns));
            verdicts.push(match turns {
                WARN_AT => Verdict::Warn,
                STOP_AT.. => Verdict::Stop,
                _ => Verdict::Fine,
            });
        }
        verdicts
    }
}

/// What the model reads beside the result.
pub(super) const WARNING: &str = "You have made this same call three times in a row with the same outcome. Making it again will not help: try something else, or answer with what you have.";

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
            http_requests: 0,
            log_bytes_dropped: 0,
            detail: None,
            output: String::new(),
            replaced_output: None,
            log: String::new(),
        };
        ToolResult {
            call_id: String::new(),
            outcome,
            degraded: false,
            is_error: false,
            content: vec![Part::Text {
                text: output.to_owned(),
            }],
            finished,
        }
    }

    /// One call a turn.
    fn verdicts(calls: &[(i32, Outcome, &str)]) -> Vec<Verdict> {
        let mut repetition = Repetition::default();
        calls.iter().flat_map(|call| turn(&mut repetition, &[*call])).collect()
    }

    fn turn(repetition: &mut Repetition, calls: &[(i32, Outcome, &str)]) -> Vec<Verdict> {
        let calls: Vec<_> = calls
            .iter()
            .map(|(input, outcome, said)| (json!(input).into(), result(*outcome, said)))
            .collect();
        repetition.observe(&calls.iter().map(|(input, result)| (input, result)).collect::<Vec<_>>())
    }

    #[test]
    fn warned_at_three_stopped_at_five() {
        use Verdict::{Fine, Stop, Warn};
        let calls = [(1, Outcome::Failed, "a"); 5];
        assert_eq!(verdicts(&calls), [Fine, Fine, Warn, Fine, Stop]);
    }

    #[test]
    fn a_turn_without_the_call_starts_anew() {
        let failed = (1, Outcome::Failed, "");
        let other = (2, Outcome::Failed, "");
        let calls = [failed, failed, other, failed, failed];
        assert!(verdicts(&calls).iter().all(|verdict| *verdict == Verdict::Fine));
    }

    #[test]
    fn company_does_not_hide_a_repeated_call_and_one_turn_counts_once() {
        let mut repetition = Repetition::default();
        let two = [
            (1, Outcome::Failed, ""),
            (2, Outcome::Failed, ""),
            (1, Outcome::Failed, ""),
        ];
        for expected in [
            Verdict::Fine,
            Verdict::Fine,
            Verdict::Warn,
            Verdict::Fine,
            Verdict::Stop,
        ] {
            assert_eq!(turn(&mut repetition, &two), [expected, expected, Verdict::Fine]);
        }
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

    #[test]
    fn another_image_is_another_result() {
        let mut repetition = Repetition::default();
        for index in 0..5 {
            let mut seen = result(Outcome::Ok, "");
            seen.content = vec![Part::Image {
                media_type: "image/png".to_owned(),
                base64: index.to_string(),
            }];
            assert_eq!(repetition.observe(&[(&json!({}).into(), &seen)]), [Verdict::Fine]);
        }
    }
}
