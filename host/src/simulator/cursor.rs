//! Picks the answer for a request. The only state is how often each answer has been used.

use super::request::RequestView;
use super::script::{After, Answer, Fault, FaultPoint, Repeat, Script, When};

/// The position in a script.
#[derive(Debug)]
pub(super) struct Cursor {
    /// Remaining uses of each answer. `None`: unlimited.
    remaining: Vec<Option<u32>>,
    /// Index of the answer given last.
    last: Option<usize>,
}

impl Cursor {
    pub(super) fn new(script: &Script) -> Self {
        let remaining = script.answers.iter().map(|answer| match answer.repeat {
            Repeat::Times(times) => Some(times),
            Repeat::Forever => None,
        });
        Self {
            remaining: remaining.collect(),
            last: None,
        }
    }

    /// Returns the index of the answer for this request: the first unspent one whose conditions hold. `None`: the script
    /// is exhausted and `after` doesn't repeat the last answer.
    pub(super) fn take(&mut self, script: &Script, request: &RequestView<'_>) -> Option<usize> {
        let next = (0..script.answers.len()).find(|index| {
            self.is_left(*index)
                && script
                    .answers
                    .get(*index)
                    .is_some_and(|answer| conditions_hold(&answer.when, request))
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

    /// Returns the index of the next answer if it ends connections as they are accepted.
    pub(super) fn take_at_accept(&mut self, script: &Script) -> Option<usize> {
        let index = (0..script.answers.len()).find(|index| self.is_left(*index))?;
        let applies = script.answers.get(index).is_some_and(applies_at_accept);
        if applies {
            self.spend(index);
        }
        applies.then_some(index)
    }

    fn is_left(&self, index: usize) -> bool {
        self.remaining.get(index).is_some_and(|left| *left != Some(0))
    }

    fn spend(&mut self, index: usize) {
        self.last = Some(index);
        if let Some(Some(left)) = self.remaining.get_mut(index) {
            *left = left.saturating_sub(1);
        }
    }
}

/// Conditions can't be evaluated before there is a request, so an answer with conditions never applies at accept.
fn applies_at_accept(answer: &Answer) -> bool {
    answer.when == When::default()
        && matches!(
            answer.fault,
            Some(Fault {
                at: FaultPoint::Accept,
                ..
            })
        )
}

fn conditions_hold(when: &When, request: &RequestView<'_>) -> bool {
    let text_matches = when.last_user_contains.as_ref().is_none_or(|wanted| {
        request.last_user_text().contains(wanted.as_str())
            || request
                .last_results()
                .iter()
                .any(|result| result.text.contains(wanted.as_str()))
    });
    let result_matches = when.has_tool_result.as_ref().is_none_or(|wanted| {
        request
            .last_results()
            .iter()
            .any(|result| result.tool == Some(wanted.as_str()) || result.id == wanted)
    });
    text_matches && result_matches
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::script::FaultKind;
    use super::*;

    fn user_text(text: &str) -> Value {
        json!({ "messages": [{ "role": "user", "content": text }] })
    }

    fn tool_result(tool: &str, text: &str) -> Value {
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
    fn answers_come_in_order_and_repeat_as_configured() {
        let script = Script::new()
            .answer(Answer::text("a").times(2))
            .answer(Answer::text("b"));
        let bodies = vec![user_text("x"); 4];
        assert_eq!(run(&script, &bodies), [Some(0), Some(0), Some(1), None]);
        assert_eq!(
            run(&script.after(After::RepeatLast), &bodies),
            [Some(0), Some(0), Some(1), Some(1)]
        );
    }

    #[test]
    fn an_answer_whose_condition_fails_is_skipped_but_not_spent() {
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
            tool_result("other", "rain"),
            tool_result("calculate", "425"),
            user_text("Boston?"),
            tool_result("calculate", "425"),
            tool_result("other", "rain again"),
        ];
        assert_eq!(run(&script, &bodies), [Some(2), Some(1), Some(0), None, Some(2)]);
    }

    #[test]
    fn repeat_last_before_any_answer_uses_the_last_of_the_script() {
        let script = Script::new()
            .after(After::RepeatLast)
            .answer(Answer::text("a").when_last_user_contains("never"))
            .answer(Answer::text("b").when_last_user_contains("never"));
        assert_eq!(run(&script, &[user_text("x")]), [Some(1)]);
    }

    #[test]
    fn only_the_next_answer_without_condition_applies_at_accept() {
        let reset = || Answer::fault(FaultKind::Reset, FaultPoint::Accept);
        let script = Script::new().answer(reset()).answer(Answer::text("a")).answer(reset());
        let mut cursor = Cursor::new(&script);
        assert_eq!(cursor.take_at_accept(&script), Some(0));
        assert_eq!(cursor.take_at_accept(&script), None);
        assert_eq!(cursor.take(&script, &RequestView::new(&user_text("x"))), Some(1));
        assert_eq!(cursor.take_at_accept(&script), Some(2));

        let script = Script::new().answer(reset().when_last_user_contains("x"));
        assert_eq!(Cursor::new(&script).take_at_accept(&script), None);
    }
}
