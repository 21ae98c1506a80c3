//! What was said, kept in the shape that the API accepts: every tool use is answered in the very next message.

use crate::transcript::{Block, Content, Image, Message, Role, ToolResult};

/// Images that a request holds at most; older ones go. The API takes a hundred.
const MAX_IMAGES: usize = 80;
/// Bytes of all images of a request, as they are sent. The API takes 32 MiB of everything.
const MAX_IMAGE_BYTES: usize = 20 * 1024 * 1024;

/// Results shorter than this are not worth trimming; what stays of the newest ones when they must be cut.
const KEPT_BYTES: usize = 1024;

/// Bytes of text that an image costs as much as, at least.
const IMAGE_WEIGHT: usize = 10_000;

/// What the model is not shown any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trimmed {
    pub(super) results: usize,
    pub(super) bytes: usize,
    pub(super) images: usize,
}

impl Trimmed {
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Conversation {
    messages: Vec<Message>,
    /// What it was before anything was left out that the model might have taken.
    whole: Option<Vec<Message>>,
}

impl Conversation {
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Remembers what there is, before some of it is left out for now.
    pub(super) fn set_aside(&mut self) {
        self.whole.get_or_insert_with(|| self.messages.clone());
    }

    /// What was left out stays so.
    pub(super) fn keep_shortened(&mut self) {
        self.whole = None;
    }

    /// What was left out for now comes back.
    pub(super) fn take_back(&mut self) {
        if let Some(whole) = self.whole.take() {
            self.messages = whole;
        }
    }

    /// Adds what a person says. Tool uses that an earlier run left open are answered first, for the API refuses a history
    /// with a hole in it for ever.
    pub(super) fn ask(&mut self, prompt: &str) {
        let mut content = self.close_open_uses();
        content.push(Block::text(prompt));
        self.messages.push(Message {
            role: Role::User,
            content,
        });
    }

    /// Takes a prompt back that got no answer at all. Results of tools that stand before it stay.
    pub(super) fn forget_unanswered_prompt(&mut self) {
        let Some(Message {
            role: Role::User,
            content,
        }) = self.messages.last_mut()
        else {
            return;
        };
        content.retain(|block| matches!(block, Block::ToolResult(_)));
        if content.is_empty() {
            self.messages.pop();
        }
    }

    /// Adds an answer as it came. An empty one is left out: the API refuses it in a history.
    pub(super) fn answered(&mut self, content: Vec<Block>) {
        if !content.is_empty() {
            self.messages.push(Message {
                role: Role::Assistant,
                content,
            });
        }
    }

    /// Adds the results of a turn's calls, all in one message and in the order of the calls.
    pub(super) fn results(&mut self, results: Vec<ToolResult>) {
        let content = results.into_iter().map(Block::ToolResult).collect();
        self.messages.push(Message {
            role: Role::User,
            content,
        });
        self.keep_newest_images();
    }

    fn keep_newest_images(&mut self) {
        let (mut images, mut bytes) = (0, 0);
        for content in self.result_contents_newest_first() {
            if !matches!(content, Content::Image(_)) {
                continue;
            }
            images += 1;
            bytes += size(content);
            if images > MAX_IMAGES || bytes > MAX_IMAGE_BYTES {
                *content = Content::text("[an image of an earlier result is left out]");
            }
        }
    }

    /// Takes every image out, for one that the API refuses spoils all requests that hold it.
    pub(super) fn drop_images(&mut self) -> Trimmed {
        let mut dropped = Trimmed::default();
        for content in self.result_contents_newest_first() {
            if matches!(content, Content::Image(_)) {
                dropped.images += 1;
                dropped.bytes += size(content);
                *content = Content::text("[an image is left out: the model's API did not accept it]");
            }
        }
        dropped
    }

    fn result_contents_newest_first(&mut self) -> impl Iterator<Item = &mut Content> {
        let blocks = self
            .messages
            .iter_mut()
            .rev()
            .flat_map(|message| message.content.iter_mut().rev());
        blocks
            .filter_map(|block| match block {
                Block::ToolResult(result) => Some(result.content.iter_mut().rev()),
                _ => None,
            })
            .flatten()
    }

    fn close_open_uses(&self) -> Vec<Block> {
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
                    content: vec![Content::text("The call was not made: the run ended before it.")],
                    is_error: true,
                })),
                _ => None,
            })
            .collect()
    }

    /// Makes room: first the results of earlier turns go, then the newest ones are cut. Nothing but the text of results
    /// is touched, so every pair stays whole.
    pub(super) fn trim(&mut self) -> Trimmed {
        let mut trimmed = Trimmed::default();
        let newest = self.messages.iter().rposition(holds_results);
        let (older, rest) = self.messages.split_at_mut(newest.unwrap_or(0));
        for message in older {
            trim_message(message, 0, &mut trimmed);
        }
        if trimmed.is_nothing()
            && let Some(newest) = rest.first_mut()
        {
            trim_message(newest, KEPT_BYTES, &mut trimmed);
        }
        trimmed
    }
}

fn holds_results(message: &Message) -> bool {
    message
        .content
        .iter()
        .any(|block| matches!(block, Block::ToolResult(_)))
}

/// Cuts every result of the message that is worth it to its first `kept` bytes.
fn trim_message(message: &mut Message, kept: usize, trimmed: &mut Trimmed) {
    for block in &mut message.content {
        let Block::ToolResult(result) = block else { continue };
        if result.content.iter().map(weight).sum::<usize>() <= KEPT_BYTES * 2 {
            continue;
        }
        let size: usize = result.content.iter().map(size).sum();
        let text: String = result.content.iter().filter_map(text_of).collect();
        let head = &text[..text.floor_char_boundary(kept)];
        let gap = if head.is_empty() { "" } else { "…\n" };
        let marked = format!("{head}{gap}[trimmed: {} bytes of an earlier result]", size - head.len());
        trimmed.results += 1;
        trimmed.bytes += size - head.len();
        trimmed.images += result
            .content
            .iter()
            .filter(|content| text_of(content).is_none())
            .count();
        result.content = vec![Content::text(marked)];
    }
}

/// What it costs to show it: the smallest image takes a model as long as pages of text.
fn weight(content: &Content) -> usize {
    match content {
        Content::Text { text } => text.len(),
        Content::Image(_) => size(content).max(IMAGE_WEIGHT),
    }
}

fn size(content: &Content) -> usize {
    match content {
        Content::Text { text } => text.len(),
        Content::Image(Image { base64, .. }) => base64.len(),
    }
}

fn text_of(content: &Content) -> Option<&str> {
    match content {
        Content::Text { text } => Some(text),
        Content::Image(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::transcript::ToolUse;

    fn exchange(conversation: &mut Conversation, id: &str, result: &str) {
        conversation.answered(vec![tool_use(id)]);
        conversation.results(vec![ToolResult {
            tool_use_id: id.to_owned(),
            content: vec![Content::text(result)],
            is_error: false,
        }]);
    }

    fn tool_use(id: &str) -> Block {
        Block::ToolUse(ToolUse {
            id: id.to_owned(),
            name: "n".to_owned(),
            input: json!({}).into(),
            extra: None,
        })
    }

    fn result_text(message: &Message) -> &str {
        match &message.content[0] {
            Block::ToolResult(result) => match &result.content[0] {
                Content::Text { text } => text,
                Content::Image(_) => panic!("an image"),
            },
            block => panic!("{block:?}"),
        }
    }

    #[test]
    fn older_results_go_first_then_the_newest_are_cut() {
        let mut conversation = Conversation::default();
        conversation.ask("go");
        exchange(&mut conversation, "a", &"x".repeat(5000));
        exchange(&mut conversation, "b", "short");
        exchange(&mut conversation, "c", &"é".repeat(5000));
        let trimmed = |results, bytes| Trimmed {
            results,
            bytes,
            images: 0,
        };
        assert_eq!(conversation.trim(), trimmed(1, 5_000));
        assert_eq!(
            result_text(&conversation.messages()[2]),
            "[trimmed: 5000 bytes of an earlier result]"
        );
        assert_eq!(result_text(&conversation.messages()[4]), "short");
        assert_eq!(result_text(&conversation.messages()[6]).len(), 10_000);
        assert_eq!(conversation.trim(), trimmed(1, 8_976));
        let cut = result_text(&conversation.messages()[6]);
        assert!(
            cut.starts_with("éé") && cut.ends_with("[trimmed: 8976 bytes of an earlier result]"),
            "{cut}"
        );
        assert!(conversation.trim().is_nothing());
        assert_eq!(conversation.messages().len(), 7);
    }

    /// A budget is used up by images of a few bytes as well.
    #[test]
    fn small_images_are_trimmed_like_long_texts() {
        let mut conversation = Conversation::default();
        conversation.ask("go");
        with_images(&mut conversation, "a", 3, 12);
        exchange(&mut conversation, "b", "short");
        with_images(&mut conversation, "c", 2, 12);
        assert_eq!(conversation.trim().images, 3);
        assert_eq!(conversation.trim().images, 2);
        assert!(conversation.trim().is_nothing());
    }

    #[test]
    fn a_prompt_without_an_answer_is_taken_back() {
        let mut conversation = Conversation::default();
        conversation.ask("too long");
        conversation.forget_unanswered_prompt();
        assert_eq!(conversation.messages().len(), 0);
        conversation.ask("go");
        conversation.answered(vec![tool_use("a")]);
        conversation.ask("too long");
        conversation.forget_unanswered_prompt();
        let last = conversation.messages().last().map(|message| message.content.len());
        assert_eq!(
            (conversation.messages().len(), last),
            (3, Some(1)),
            "the result for `a` stays"
        );
    }

    #[test]
    fn open_uses_are_answered_before_the_next_prompt() {
        let mut conversation = Conversation::default();
        conversation.ask("go");
        conversation.answered(vec![tool_use("a"), tool_use("b")]);
        conversation.ask("again");
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

    fn with_images(conversation: &mut Conversation, id: &str, images: usize, bytes: usize) {
        let image = || {
            Content::Image(Image {
                media_type: "image/png".to_owned(),
                base64: "x".repeat(bytes),
            })
        };
        conversation.answered(vec![tool_use(id)]);
        conversation.results(vec![ToolResult {
            tool_use_id: id.to_owned(),
            content: (0..images).map(|_| image()).collect(),
            is_error: false,
        }]);
    }

    fn images(conversation: &Conversation) -> Vec<usize> {
        let results = conversation.messages().iter().filter(|message| holds_results(message));
        results
            .map(|message| match &message.content[..] {
                [Block::ToolResult(result)] => {
                    let images = result.content.iter().filter(|content| text_of(content).is_none());
                    images.count()
                }
                content => panic!("{content:?}"),
            })
            .collect()
    }

    #[test]
    fn the_newest_images_stay_by_number_and_by_bytes() {
        let mut conversation = Conversation::default();
        conversation.ask("go");
        for id in ["a", "b", "c", "d", "e"] {
            with_images(&mut conversation, id, 20, 10);
        }
        assert_eq!(images(&conversation), [0, 20, 20, 20, 20]);
        with_images(&mut conversation, "f", 3, MAX_IMAGE_BYTES / 3);
        assert_eq!(images(&conversation), [0, 0, 0, 0, 0, 3]);
        assert_eq!(conversation.drop_images().images, 3);
        assert!(conversation.drop_images().is_nothing());
        assert_eq!(images(&conversation), [0; 6]);
    }
}
