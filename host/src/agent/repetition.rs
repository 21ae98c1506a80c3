//! Detects a model that repeats the same tool call.

use crate::events::Outcome;
use crate::tools::{Part, ToolResult};
use crate::transcript::ToolInput;

/// After this many consecutive turns with the same call, the model gets a warning.
const WARN_AT: u32 = 3;
/// After this many consecutive turns with the same call, the run ends.
const STOP_AT: u32 = 5;

/// How to react to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Warn the model, once.
    Warn,
    /// End the run.
    Stop,
}

/// The calls of the last turn, each with the number of consecutive turns that made it. Calls are the same if tool, input and
/// outcome are equal. Several in one turn count once, because the model hadn't read the first result yet. Successes are the
/// same only if their content is equal too, so that a model can poll for a change.
#[derive(Debug, Default)]
pub(super) struct Repetition {
    calls: Vec<(Call, u32)>,
}

#[derive(Debug, PartialEq)]
struct Call {
    tool: String,
    input: ToolInput,
    outcome: Outcome,
    content: Option<Vec<Part>>,
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
                content: (result.outcome == Outcome::Ok).then(|| result.content.clone()),
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

/// The warning that is appended to the result.
pub(super) const WARNING: &str = "You have made this same call three times in a row with the same outcome. Making it again will not help: try something else, or answer with what you have.";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::ToolCallFinished;

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
            structure: None,
            finished,
        }
    }

    /// Runs one call per turn.
    fn verdicts(calls: &[(i32, Outcome, &str)]) -> Vec<Verdict> {
        let mut repetition = Repetition::default();
        calls.iter().flat_map(|call| turn(&mut repetition, &[*call])).collect()
    }

    fn turn(repetition: &mut Repetition, calls: &[(i32, Outcome, &str)]) -> Vec<Verdict> {
        let calls: Vec<_> = calls
            .iter()
            .map(|(input, outcome, output)| (json!(input).into(), result(*outcome, output)))
            .collect();
        repetition.observe(&calls.iter().map(|(input, result)| (input, result)).collect::<Vec<_>>())
    }

    #[test]
    fn the_third_repetition_warns_and_the_fifth_stops() {
        use Verdict::{Fine, Stop, Warn};
        let calls = [(1, Outcome::Failed, "a"); 5];
        assert_eq!(verdicts(&calls), [Fine, Fine, Warn, Fine, Stop]);
    }

    #[test]
    fn a_turn_without_the_call_resets_the_count() {
        let failed = (1, Outcome::Failed, "");
        let other = (2, Outcome::Failed, "");
        let calls = [failed, failed, other, failed, failed];
        assert!(verdicts(&calls).iter().all(|verdict| *verdict == Verdict::Fine));
    }

    #[test]
    fn repeated_calls_are_detected_among_others_and_count_once_per_turn() {
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
    fn failures_are_compared_without_their_content_and_successes_with_it() {
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
    fn results_with_different_images_are_different() {
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
