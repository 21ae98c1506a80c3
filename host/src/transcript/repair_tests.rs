#![allow(clippy::unwrap_used)]
use super::*;

/// An API that accepts everything but long histories.
struct Lenient(usize);

impl Rules for Lenient {
    fn max_messages(&self) -> usize {
        self.0
    }

    fn accepts_id(&self, _: &ToolUse) -> bool {
        true
    }

    fn tool_name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        name.into()
    }

    fn accepts_image(&self, _: &str) -> bool {
        true
    }

    fn opaque<'a>(&self, _: Role, block: &'a Opaque) -> Option<Cow<'a, Opaque>> {
        Some(Cow::Borrowed(block))
    }

    fn text_fields<'a>(&self, _: Role, fields: &'a Opaque) -> Option<Cow<'a, Opaque>> {
        Some(Cow::Borrowed(fields))
    }

    fn call_fields<'a>(&self, fields: &'a Opaque) -> Option<Cow<'a, Opaque>> {
        Some(Cow::Borrowed(fields))
    }

    fn can_continue(&self, _: &[Cow<'_, Block>]) -> bool {
        false
    }

    fn tidy(&self, _: &mut Vec<Cow<'_, Block>>, _: bool) {}
}

/// A conversation of prompts, or of one prompt and calls.
fn history(messages: usize, with_calls: bool) -> Vec<Message> {
    let message = |index: usize| {
        let id = (index.div_ceil(2)).to_string();
        let (role, block) = match index % 2 {
            0 if index > 0 && with_calls => (
                Role::User,
                Block::ToolResult(ToolResult {
                    tool_use_id: id,
                    content: vec![Content::text("r")],
                    is_error: false,
                }),
            ),
            0 => (Role::User, Block::text(format!("prompt {index}"))),
            _ if with_calls => (
                Role::Assistant,
                Block::ToolUse(ToolUse {
                    id,
                    name: "t".to_owned(),
                    input: serde_json::json!({}).into(),
                    extra: None,
                }),
            ),
            _ => (Role::Assistant, Block::text(format!("answer {index}"))),
        };
        Message {
            role,
            content: vec![block],
        }
    };
    (0..messages).map(message).collect()
}

#[test]
fn positions_move_with_the_messages() {
    let messages = [
        Message::user(""),
        Message::user("one"),
        Message::user("more"),
        Message {
            role: Role::Assistant,
            content: vec![Block::text("two")],
        },
        Message {
            role: Role::Assistant,
            content: vec![Block::text(" ")],
        },
        Message::user("three"),
    ];
    let found = |messages: &[Message], max| {
        let positions: Vec<usize> = (0..=messages.len()).collect();
        let (repaired, found) = repair_with_positions(messages, &Lenient(max), &positions);
        (repaired.len(), found)
    };
    assert_eq!(found(&messages, 40), (3, vec![0, 0, 0, 1, 2, 2, 3]));
    // As many as fit, with the note that some are left out.
    let (left, found) = found(&history(60, false), 40);
    assert_eq!((found[0], found[59], found[60]), (0, left - 2, left), "{found:?}");
    assert!(found.is_sorted());
}

#[test]
fn a_history_that_is_too_long_loses_its_beginning() {
    let rules = Lenient(40);
    for with_calls in [false, true] {
        let mut beginnings = Vec::new();
        for messages in (1..200).step_by(2) {
            let given = history(messages, with_calls);
            let repaired = repair(&given, &rules);
            assert!(repaired.len() <= 40, "{} of {messages}", repaired.len());
            assert_eq!(matches!(repaired, Cow::Borrowed(_)), messages <= 40);
            assert!(
                matches!(repair(&repaired, &rules), Cow::Borrowed(_)),
                "{messages}: {repaired:?}"
            );
            assert_eq!((repaired[0].role, repaired.last()), (Role::User, given.last()));
            beginnings.push(repaired[..2.min(repaired.len())].to_vec());
        }
        beginnings.drain(..1);
        beginnings.dedup();
        assert!(
            (35..60).contains(&beginnings.len()),
            "it seldom changes: {}",
            beginnings.len()
        );
    }
}
