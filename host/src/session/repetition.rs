//! Detects a model that repeats the same tool call.

use crate::events::Outcome;
use crate::transcript::{Content, ToolInput};

/// After this many consecutive turns with the same call, the model gets a warning.
const WARN_AT: u32 = 3;
/// After this many consecutive turns with the same call, the run ends.
const STOP_AT: u32 = 5;

/// How to react to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// Warn the model, once.
    Warn,
    /// End the run.
    Stop,
}

/// The calls of the last turn, each with the number of consecutive turns that made it. Calls are the same if tool, input and
/// outcome are equal. Several in one turn count once, because the model hadn't read the first result yet.
#[derive(Debug, Default)]
pub(crate) struct Repetition {
    calls: Vec<(Seen, u32)>,
}

/// A call with its end.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) tool: String,
    pub(crate) input: ToolInput,
    pub(crate) outcome: Outcome,
    /// `None` where it makes no difference.
    pub(crate) content: Option<Vec<Content>>,
}

impl Repetition {
    /// A verdict for each call of a turn, in order.
    pub(crate) fn observe(&mut self, turn: Vec<Seen>) -> Vec<Verdict> {
        let before = std::mem::take(&mut self.calls);
        let mut verdicts = Vec::with_capacity(turn.len());
        for call in turn {
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
pub(crate) const WARNING: &str = "You have made this same call three times in a row with the same outcome. Making it again will not help: try something else, or answer with what you have.";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::transcript::Image;

    fn seen(input: i32, outcome: Outcome, output: &str) -> Seen {
        Seen {
            tool: "t".to_owned(),
            input: json!(input).into(),
            outcome,
            content: (outcome == Outcome::Ok).then(|| vec![Content::text(output)]),
        }
    }

    /// Runs one call per turn.
    fn verdicts(calls: &[(i32, Outcome, &str)]) -> Vec<Verdict> {
        let mut repetition = Repetition::default();
        calls.iter().flat_map(|call| turn(&mut repetition, &[*call])).collect()
    }

    fn turn(repetition: &mut Repetition, calls: &[(i32, Outcome, &str)]) -> Vec<Verdict> {
        let calls = calls
            .iter()
            .map(|(input, outcome, output)| seen(*input, *outcome, output));
        repetition.observe(calls.collect())
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
            let image = Content::Image(Image {
                media_type: "image/png".to_owned(),
                base64: index.to_string(),
            });
            let seen = Seen {
                content: Some(vec![image]),
                ..seen(1, Outcome::Ok, "")
            };
            assert_eq!(repetition.observe(vec![seen]), [Verdict::Fine]);
        }
    }
}
