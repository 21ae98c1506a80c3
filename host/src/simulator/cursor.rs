//! Which answer a request gets: a decision without effects but the count of what is spent.

use super::request::RequestView;
use super::script::{After, Answer, Fault, FaultPoint, Repeat, Script, When};

/// How far a script has been used up.
#[derive(Debug)]
pub(super) struct Cursor {
    /// Uses left, by answer; none: without end.
    left: Vec<Option<u32>>,
    /// The answer given last.
    last: Option<usize>,
}

impl Cursor {
    pub(super) fn new(script: &Script) -> Self {
        let left = script.answers.iter().map(|answer| match answer.repeat {
            Repeat::Times(times) => Some(times),
            Repeat::Forever => None,
        });
        Self {
            left: left.collect(),
            last: None,
        }
    }

    /// The index of the answer for this request: the first one that is not spent and whose conditions hold. `None`: the
    /// script is exhausted, and nothing is to be repeated.
    pub(super) fn take(&mut self, script: &Script, request: &RequestView<'_>) -> Option<usize> {
        let next = (0..script.answers.len()).find(|index| {
            self.is_left(*index)
                && script
                    .answers
                    .get(*index)
                    .is_some_and(|answer| holds(&answer.when, request))
        });
        if let Some(index) = next {
            self.spend(index);
            return next;
        }
        match script.after {
            After::Error => None,
            After::RepeatLast => self.last.or(script.answers.len().checked_sub(1)),
        }
    }

    /// The index of the next answer, where it is one that strikes a connection before any request.
    pub(super) fn take_at_accept(&mut self, script: &Script) -> Option<usize> {
        let index = (0..script.answers.len()).find(|index| self.is_left(*index))?;
        let strikes = script.answers.get(index).is_some_and(strikes_at_accept);
        if strikes {
            self.spend(index);
        }
        strikes.then_some(index)
    }

    fn is_left(&self, index: usize) -> bool {
        self.left.get(index).is_some_and(|left| *left != Some(0))
    }

    fn spend(&mut self, index: usize) {
        self.last = Some(index);
        if let Some(Some(left)) = self.left.get_mut(index) {
            *left = left.saturating_sub(1);
        }
    }
}

/// A condition cannot be judged before there is a request, so an answer with one never strikes so early.
fn strikes_at_accept(answer: &Answer) -> bool {
    answer.when == When::default()
        && matches!(
            answer.fault,
            Some(Fault {
                at: FaultPoint::Accept,
                ..
            })
        )
}

fn holds(when: &When, request: &RequestView<'_>) -> bool {
    let said = when.last_user_contains.as_ref().is_none_or(|wanted| {
        request.last_user_words().contains(wanted.as_str())
            || request
                .last_results()
                .iter()
                .any(|result| result.text.contains(wanted.as_str()))
    });
    let returned = when.has_tool_result.as_ref().is_none_or(|wanted| {
        request
            .last_results()
            .iter()
            .any(|result| result.tool == Some(wanted.as_str()) || result.id == wanted)
    });
    said && returned
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::script::FaultKind;
    use super::*;

    fn says(text: &str) -> Value {
        json!({ "messages": [{ "role": "user", "content": text }] })
    }

    fn returns(tool: &str, text: &str) -> Value {
        json!({ "messages": [
            { "role": "user", "content": "start" },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "id1", "name": tool, "input": {} }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "id1", "content": text }] },
        ] })
    }

    fn run(script: &Script, bodies: &[Value]) -> Vec<Option<usize>> {
        let mut cursor = Cursor::new(script);
        bodies
            .iter()
            .map(|body| cursor.take(script, &RequestView::new(body)))
            .collect()
    }

    #[test]
    fn answers_come_in_order_and_as_often_as_they_say() {
        let script = Script::new()
            .answer(Answer::text("a").times(2))
            .answer(Answer::text("b"));
        let bodies = vec![says("x"); 4];
        assert_eq!(run(&script, &bodies), [Some(0), Some(0), Some(1), None]);
        assert_eq!(
            run(&script.after(After::RepeatLast), &bodies),
            [Some(0), Some(0), Some(1), Some(1)]
        );
    }

    #[test]
    fn an_answer_whose_condition_fails_is_passed_over_and_kept() {
        let script = Script::new()
            .answer(Answer::text("weather").when_last_user_contains("Boston"))
            .answer(Answer::text("sum").when_tool_result("calculate"))
            .answer(
                Answer::text("both")
                    .when_tool_result("id1")
                    .when_last_user_contains("rain")
                    .forever(),
            );
        let bodies = [
            returns("other", "rain"),
            returns("calculate", "425"),
            says("Boston?"),
            returns("calculate", "425"),
            returns("other", "rain again"),
        ];
        assert_eq!(run(&script, &bodies), [Some(2), Some(1), Some(0), None, Some(2)]);
    }

    #[test]
    fn repeating_before_any_answer_means_the_last_of_the_script() {
        let script = Script::new()
            .after(After::RepeatLast)
            .answer(Answer::text("a").when_last_user_contains("never"))
            .answer(Answer::text("b").when_last_user_contains("never"));
        assert_eq!(run(&script, &[says("x")]), [Some(1)]);
    }

    #[test]
    fn only_the_next_answer_without_condition_strikes_at_accept() {
        let reset = || Answer::fault(FaultKind::Reset, FaultPoint::Accept);
        let script = Script::new().answer(reset()).answer(Answer::text("a")).answer(reset());
        let mut cursor = Cursor::new(&script);
        assert_eq!(cursor.take_at_accept(&script), Some(0));
        assert_eq!(cursor.take_at_accept(&script), None);
        assert_eq!(cursor.take(&script, &RequestView::new(&says("x"))), Some(1));
        assert_eq!(cursor.take_at_accept(&script), Some(2));

        let script = Script::new().answer(reset().when_last_user_contains("x"));
        assert_eq!(Cursor::new(&script).take_at_accept(&script), None);
    }
}
