//! The conversation's history, kept in the shape that the API accepts: the next message answers every tool use.

use super::state::NOT_MADE;
use super::trim::{self, Trimmed};
use crate::transcript::{Attachment, Block, Content, Message, Role, ToolResult};

/// The note on an empty answer.
const EMPTY_ANSWER: &str = "[Your last answer was empty. Please answer.]";

#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    messages: Vec<Message>,
    /// The number of messages before the latest prompt's.
    before_prompt: usize,
    /// A copy from before a provisional trim, for [`Self::restore`].
    snapshot: Option<Vec<Message>>,
    /// What newer images and PDFs have left no room for, until it is reported.
    crowded_out: Trimmed,
}

impl Conversation {
    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Takes a snapshot before a provisional trim, unless there is one already.
    pub(crate) fn take_snapshot(&mut self) {
        self.snapshot.get_or_insert_with(|| self.messages.clone());
    }

    /// Makes provisional trims permanent.
    pub(crate) fn discard_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// Undoes provisional trims.
    pub(crate) fn restore(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            self.messages = snapshot;
        }
    }

    /// Adds a user's prompt. First answers tool uses that an earlier run left open, because the API permanently refuses a
    /// history with an unanswered tool use.
    pub(crate) fn push_prompt(&mut self, prompt: &str, attachments: Vec<Attachment>) {
        self.before_prompt = self.messages.len();
        let mut content = self.results_for_open_uses();
        // Models read a question better after what it is about.
        content.extend(attachments.into_iter().map(Block::Attachment));
        content.push(Block::text(prompt));
        self.messages.push(Message {
            role: Role::User,
            content,
        });
        self.keep_newest_images();
    }

    /// Whether the latest prompt is the end of the conversation.
    pub(crate) const fn ends_with_prompt(&self) -> bool {
        self.messages.len() == self.before_prompt + 1
    }

    /// What is attached to the last message.
    pub(crate) fn last_attachments(&self) -> impl Iterator<Item = &Attachment> {
        let blocks = self.messages.last().into_iter().flat_map(|last| &last.content);
        blocks.filter_map(|block| match block {
            Block::Attachment(attachment) => Some(attachment),
            _ => None,
        })
    }

    /// Removes a last message of the user that got no answer. Tool results in it stay. Returns what was attached to it, if it was the
    /// latest prompt.
    pub(crate) fn remove_unanswered_prompt(&mut self) -> Option<Vec<Attachment>> {
        let is_prompt = self.ends_with_prompt();
        let Some(Message {
            role: Role::User,
            content,
        }) = self.messages.last_mut()
        else {
            return None;
        };
        let removed = content.extract_if(.., |block| !matches!(block, Block::ToolResult(_)));
        let attached = removed.filter_map(|block| match block {
            Block::Attachment(attachment) => Some(attachment),
            _ => None,
        });
        let attached: Vec<Attachment> = attached.collect();
        if content.is_empty() {
            self.messages.pop();
        }
        is_prompt.then_some(attached)
    }

    /// Removes the latest prompt with everything after it. Results for calls of an earlier run stay. Returns what was attached to the
    /// prompt.
    pub(crate) fn remove_turn(&mut self) -> Option<Vec<Attachment>> {
        self.messages.truncate(self.before_prompt + 1);
        self.remove_unanswered_prompt()
    }

    /// Tells the model what is wrong with its last answer.
    pub(crate) fn push_correction(&mut self, text: &str) {
        self.messages.push(Message::user(text));
    }

    /// Tells the model that its last answer was empty. The empty answer itself isn't kept. Without this note, most models only
    /// repeat it.
    pub(crate) fn push_note_on_empty_answer(&mut self) {
        if let Some(Message {
            role: Role::User,
            content,
        }) = self.messages.last_mut()
        {
            content.push(Block::text(EMPTY_ANSWER));
        } else {
            self.messages.push(Message::user(EMPTY_ANSWER));
        }
    }

    /// Removes what only the vendor understands.
    pub(crate) fn drop_vendor_blocks(&mut self) -> Trimmed {
        trim::drop_vendor_blocks(&mut self.messages)
    }

    /// Removes every image and PDF.
    pub(crate) fn drop_images(&mut self) -> Trimmed {
        trim::drop_images(&mut self.messages)
    }

    /// Shortens the history by one step.
    pub(crate) fn trim(&mut self) -> Trimmed {
        trim::trim(&mut self.messages)
    }

    fn keep_newest_images(&mut self) {
        trim::keep_newest_images(&mut self.messages, &mut self.crowded_out);
    }

    /// Adds an answer unchanged. Skips an empty one, because the API refuses it in a history.
    pub(crate) fn push_answer(&mut self, content: Vec<Block>) {
        if !content.is_empty() {
            self.messages.push(Message {
                role: Role::Assistant,
                content,
            });
        }
    }

    /// Adds the results of a turn's calls, all in one message and in the order of the calls.
    pub(crate) fn push_results(&mut self, results: Vec<ToolResult>) {
        let content = results.into_iter().map(Block::ToolResult).collect();
        self.messages.push(Message {
            role: Role::User,
            content,
        });
        self.keep_newest_images();
    }

    /// What newer images and PDFs have left no room for since this was asked last.
    pub(crate) fn take_crowded_out(&mut self) -> Trimmed {
        std::mem::take(&mut self.crowded_out)
    }

    /// Error results for the tool uses in the last message.
    fn results_for_open_uses(&self) -> Vec<Block> {
        let Some(Message {
            role: Role::Assistant,
            content,
        }) = self.messages.last()
        else {
            return Vec::new();
        };
        content
            .iter()
            .filter_map(|block| match block {
                Block::ToolUse(tool_use) => Some(Block::ToolResult(ToolResult {
                    tool_use_id: tool_use.id.clone(),
                    content: vec![Content::text(NOT_MADE)],
                    is_error: true,
                })),
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::panic, clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::transcript::{Opaque, ToolUse};

    pub(in crate::session) fn exchange(conversation: &mut Conversation, id: &str, result: &str) {
        conversation.push_answer(vec![tool_use(id)]);
        conversation.push_results(vec![ToolResult {
            tool_use_id: id.to_owned(),
            content: vec![Content::text(result)],
            is_error: false,
        }]);
    }

    pub(in crate::session) fn tool_use(id: &str) -> Block {
        Block::ToolUse(ToolUse {
            id: id.to_owned(),
            name: "n".to_owned(),
            input: json!({}).into(),
            extra: None,
        })
    }

    #[test]
    fn an_unanswered_prompt_is_removed() {
        let mut conversation = Conversation::default();
        conversation.push_prompt("too long", Vec::new());
        conversation.remove_unanswered_prompt();
        assert_eq!(conversation.messages().len(), 0);
        conversation.push_prompt("go", Vec::new());
        conversation.push_answer(vec![tool_use("a")]);
        conversation.push_prompt("too long", Vec::new());
        conversation.remove_unanswered_prompt();
        let last = conversation.messages().last().map(|message| message.content.len());
        assert_eq!(
            (conversation.messages().len(), last),
            (3, Some(1)),
            "the result for `a` stays"
        );
    }

    #[test]
    fn a_refused_turn_is_removed() {
        let mut conversation = Conversation::default();
        conversation.push_prompt("go", Vec::new());
        conversation.push_answer(vec![tool_use("a")]);
        conversation.push_prompt("refused", Vec::new());
        exchange(&mut conversation, "b", "result");
        conversation.push_answer(vec![Block::text("I can't")]);
        conversation.remove_turn();
        let last = conversation.messages().last().map(|message| &message.content[..]);
        assert!(
            matches!(last, Some([Block::ToolResult(result)]) if result.tool_use_id == "a"),
            "{last:?}"
        );
        conversation.push_prompt("refused as well", Vec::new());
        conversation.remove_turn();
        assert_eq!(conversation.messages().len(), 3);
    }

    #[test]
    fn vendor_blocks_can_be_dropped_and_restored() {
        let opaque = || Opaque::new("vendor", "{}");
        let mut conversation = Conversation::default();
        conversation.push_prompt("go", Vec::new());
        let text = Block::Text {
            text: "hi".to_owned(),
            extra: Some(opaque()),
        };
        conversation.push_answer(vec![Block::Opaque(opaque()), text]);
        conversation.take_snapshot();
        assert_eq!(conversation.drop_vendor_blocks().bytes, 4);
        assert!(conversation.drop_vendor_blocks().is_nothing());
        assert_eq!(conversation.messages()[1].content, [Block::text("hi")]);
        conversation.restore();
        assert_eq!(conversation.messages()[1].content.len(), 2);
    }

    #[test]
    fn open_uses_are_answered_before_the_next_prompt() {
        let mut conversation = Conversation::default();
        conversation.push_prompt("go", Vec::new());
        conversation.push_answer(vec![tool_use("a"), tool_use("b")]);
        conversation.push_prompt("again", Vec::new());
        let Some(Message {
            role: Role::User,
            content,
        }) = conversation.messages().last()
        else {
            panic!("no message")
        };
        assert!(matches!(
            &content[..],
            [Block::ToolResult(a), Block::ToolResult(b), Block::Text { .. }]
                if a.tool_use_id == "a" && b.tool_use_id == "b" && a.is_error
        ));
    }
}
