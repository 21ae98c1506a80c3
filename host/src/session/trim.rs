//! What is taken out of a conversation's history, so that the API accepts it: because it became too long, or because of what is in it.

use crate::events::LeftOutFile;
use crate::transcript::{Attachment, AttachmentContent, Block, Content, Image, Message, Role, ToolUse};

/// Maximum images and PDFs per request; older ones are removed. The API accepts a hundred.
pub(crate) const MAX_IMAGES: usize = 80;
/// Maximum bytes of all images and PDFs in a request, as sent (base64). The API accepts 32 MiB per request.
pub(crate) const MAX_REQUEST_IMAGE_BYTES: usize = 20 * 1024 * 1024;

/// Bytes kept of each of the newest results when they must be truncated. Results of up to twice this size aren't trimmed.
const KEPT_BYTES: usize = 1024;

/// An image costs at least as much as this many bytes of text.
const MIN_IMAGE_WEIGHT: usize = 10_000;

/// Counts of what was removed from the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trimmed {
    pub(crate) results: usize,
    /// As they would have been sent.
    pub(crate) bytes: usize,
    /// Of results.
    pub(crate) images: usize,
    pub(crate) files: Vec<LeftOutFile>,
}

impl Trimmed {
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn add_file(&mut self, attachment: &Attachment) {
        self.bytes += attachment.data().len();
        self.files.push(LeftOutFile {
            name: attachment.name.clone(),
            bytes: attachment.bytes,
        });
    }
}

/// Shortens the history: removes what earlier prompts had attached and the content of earlier turns' results or, if there is none
/// left to remove, truncates the newest results. Each tool use keeps its result, and the newest prompt what is attached to it.
pub(super) fn trim(messages: &mut [Message]) -> Trimmed {
    let mut trimmed = Trimmed::default();
    let newest_prompt = messages.iter().rposition(is_prompt).unwrap_or(0);
    for message in &mut messages[..newest_prompt] {
        trim_attachments(message, &mut trimmed);
    }
    let newest = messages.iter().rposition(holds_results);
    let (older, rest) = messages.split_at_mut(newest.unwrap_or(0));
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

/// Leaves out the images and PDFs that newer ones leave no room for in a request, and counts them.
pub(super) fn keep_newest_images(messages: &mut [Message], crowded_out: &mut Trimmed) {
    let (mut images, mut bytes) = (0, 0);
    let mut is_kept = |size: usize| {
        images += 1;
        bytes += size;
        images <= MAX_IMAGES && bytes <= MAX_REQUEST_IMAGE_BYTES
    };
    for block in messages
        .iter_mut()
        .rev()
        .flat_map(|message| message.content.iter_mut().rev())
    {
        match block {
            Block::ToolResult(result) => {
                for content in result.content.iter_mut().rev() {
                    if matches!(content, Content::Image(_)) && !is_kept(size(content)) {
                        crowded_out.images += 1;
                        crowded_out.bytes += size(content);
                        *content = Content::text("[an image of an earlier result is left out]");
                    }
                }
            }
            Block::Attachment(attachment) if is_file(attachment) && !is_kept(attachment.data().len()) => {
                crowded_out.add_file(attachment);
                *block = Block::text(format!("[the attachment {} is left out]", attachment.name));
            }
            _ => {}
        }
    }
}

/// Removes every image, because an image that the API refuses fails all requests that contain it.
pub(super) fn drop_images(messages: &mut [Message]) -> Trimmed {
    let mut dropped = Trimmed::default();
    for content in result_contents_newest_first(messages) {
        if matches!(content, Content::Image(_)) {
            dropped.images += 1;
            dropped.bytes += size(content);
            *content = Content::text("[an image is left out: the model's API did not accept it]");
        }
    }
    for block in messages.iter_mut().flat_map(|message| &mut message.content) {
        if let Block::Attachment(attachment) = block
            && is_file(attachment)
        {
            dropped.add_file(attachment);
            *block = Block::text(format!(
                "[the attachment {} is left out: the model's API did not accept it]",
                attachment.name
            ));
        }
    }
    dropped
}

/// Removes what only the vendor understands, such as thinking, because the API may have refused the request for it: a
/// signature that isn't valid for this model or conversation fails all requests that contain it.
pub(super) fn drop_vendor_blocks(messages: &mut [Message]) -> Trimmed {
    let mut dropped = Trimmed::default();
    for message in messages {
        message.content.retain(|block| match block {
            Block::Opaque(opaque) => {
                dropped.bytes += opaque.json.len();
                false
            }
            _ => true,
        });
        for block in &mut message.content {
            if let Block::Text { extra, .. } | Block::ToolUse(ToolUse { extra, .. }) = block
                && let Some(fields) = extra.take()
            {
                dropped.bytes += fields.json.len();
            }
        }
    }
    dropped
}

fn result_contents_newest_first(messages: &mut [Message]) -> impl Iterator<Item = &mut Content> {
    let blocks = messages
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

/// Whether an attachment is an image or a PDF, which not every model accepts.
fn is_file(attachment: &Attachment) -> bool {
    !matches!(attachment.content, AttachmentContent::Text(_))
}

fn holds_results(message: &Message) -> bool {
    message
        .content
        .iter()
        .any(|block| matches!(block, Block::ToolResult(_)))
}

fn is_prompt(message: &Message) -> bool {
    message.role == Role::User && !holds_results(message)
}

/// Removes what is attached to the message and isn't small.
fn trim_attachments(message: &mut Message, trimmed: &mut Trimmed) {
    for block in &mut message.content {
        if let Block::Attachment(attachment) = block
            && (is_file(attachment) || attachment.data().len() > KEPT_BYTES * 2)
        {
            trimmed.add_file(attachment);
            let (name, bytes) = (&attachment.name, attachment.data().len());
            *block = Block::text(format!(
                "[trimmed: the attachment {name} of an earlier prompt, {bytes} bytes]"
            ));
        }
    }
}

/// Truncates the message's large results to their first `kept` bytes.
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

/// The cost of sending it, in bytes of text: even the smallest image costs as much as pages of text.
fn weight(content: &Content) -> usize {
    match content {
        Content::Text { text } => text.len(),
        Content::Image(_) => size(content).max(MIN_IMAGE_WEIGHT),
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
    #![allow(clippy::panic, clippy::unwrap_used)]

    use super::super::conversation::Conversation;
    use super::super::conversation::tests::{exchange, tool_use};
    use super::*;
    use crate::transcript::ToolResult;

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
    fn older_results_are_removed_first_and_then_the_newest_are_truncated() {
        let mut conversation = Conversation::default();
        conversation.push_prompt("go", Vec::new());
        exchange(&mut conversation, "a", &"x".repeat(5000));
        exchange(&mut conversation, "b", "short");
        exchange(&mut conversation, "c", &"é".repeat(5000));
        let trimmed = |results, bytes| Trimmed {
            results,
            bytes,
            images: 0,
            files: Vec::new(),
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

    /// Even images of a few bytes use up a budget.
    #[test]
    fn small_images_are_trimmed_like_long_texts() {
        let mut conversation = Conversation::default();
        conversation.push_prompt("go", Vec::new());
        with_images(&mut conversation, "a", 3, 12);
        exchange(&mut conversation, "b", "short");
        with_images(&mut conversation, "c", 2, 12);
        assert_eq!(conversation.trim().images, 3);
        assert_eq!(conversation.trim().images, 2);
        assert!(conversation.trim().is_nothing());
    }

    #[test]
    fn what_earlier_prompts_attached_is_trimmed_and_what_the_newest_attached_is_not() {
        let image = Attachment::of("photo.png", b"\x89PNG\r\n\x1a\n").unwrap();
        let short = Attachment::of("note.txt", b"short").unwrap();
        let mut conversation = Conversation::default();
        for prompt in ["look", "and at this"] {
            conversation.push_prompt(prompt, vec![image.clone(), short.clone()]);
            exchange(&mut conversation, prompt, "short");
            conversation.push_answer(vec![Block::text("seen")]);
        }
        let trimmed = conversation.trim();
        assert_eq!(
            (trimmed.results, trimmed.images, trimmed.bytes),
            (0, 0, image.data().len())
        );
        let photo = LeftOutFile {
            name: "photo.png".to_owned(),
            bytes: 8,
        };
        assert_eq!(trimmed.files, [photo]);
        let attached = |message: usize| {
            let content = conversation.messages()[message].content.iter();
            content.filter(|block| matches!(block, Block::Attachment(_))).count()
        };
        assert_eq!((attached(0), attached(4)), (1, 2));
        let note = format!(
            "[trimmed: the attachment photo.png of an earlier prompt, {} bytes]",
            image.data().len()
        );
        assert!(conversation.messages()[0].content.contains(&Block::text(note)));
        assert!(conversation.trim().is_nothing());
    }

    fn with_images(conversation: &mut Conversation, id: &str, images: usize, bytes: usize) {
        let image = || {
            Content::Image(Image {
                media_type: "image/png".to_owned(),
                base64: "x".repeat(bytes),
            })
        };
        conversation.push_answer(vec![tool_use(id)]);
        conversation.push_results(vec![ToolResult {
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
    fn the_newest_images_are_kept_up_to_their_number_and_bytes() {
        let mut conversation = Conversation::default();
        conversation.push_prompt("go", Vec::new());
        for id in ["a", "b", "c", "d", "e"] {
            with_images(&mut conversation, id, 20, 10);
        }
        assert_eq!(images(&conversation), [0, 20, 20, 20, 20]);
        let crowded_out = conversation.take_crowded_out();
        assert_eq!((crowded_out.images, crowded_out.bytes), (20, 200));
        assert!(conversation.take_crowded_out().is_nothing());
        with_images(&mut conversation, "f", 3, MAX_REQUEST_IMAGE_BYTES / 3);
        assert_eq!(images(&conversation), [0, 0, 0, 0, 0, 3]);
        assert_eq!(conversation.drop_images().images, 3);
        assert!(conversation.drop_images().is_nothing());
        assert_eq!(images(&conversation), [0; 6]);
    }
}
