//! What servers of the Chat Completions API accept in a history. Where they differ, the strictest one counts, except for ids:
//! each accepts those that it has sent, and some vendors put signatures into them. Other servers get shorter ones.

use std::borrow::Cow;

use super::PROVIDER;
use crate::chat_api::MAX_ID_BYTES;
use crate::transcript::{Block, IMAGE_TYPES, Opaque, Role, Rules, ToolUse, identifier};

/// Bytes of the name of a call. OpenAI refuses longer ones.
const MAX_NAME_BYTES: usize = 64;

/// Bytes of a call's id that goes back to its own server. It bounds what a server can add to every later request.
const MAX_OWN_ID_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct OpenAiRules<'a> {
    /// The server and its model that are asked.
    pub(super) author: &'a str,
}

impl Rules for OpenAiRules<'_> {
    /// The API documents no limit.
    fn max_messages(&self) -> usize {
        usize::MAX
    }

    fn accepts_id(&self, call: &ToolUse) -> bool {
        // An answer marks a call whose id is too long for others with an object, empty or not.
        let own = call.extra.as_ref().and_then(|own| own.json_for(PROVIDER).map(|_| own));
        let max = match own {
            Some(own) if own.may_be_of(self.author) => MAX_OWN_ID_BYTES,
            _ => MAX_ID_BYTES,
        };
        (1..=max).contains(&call.id.len()) && !call.id.contains(char::is_control)
    }

    fn tool_name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        identifier(name, MAX_NAME_BYTES)
    }

    fn accepts_image(&self, media_type: &str) -> bool {
        IMAGE_TYPES.contains(&media_type)
    }

    fn opaque<'a>(&self, role: Role, block: &'a Opaque) -> Option<Cow<'a, Opaque>> {
        let is_own = role == Role::Assistant && block.json_for(PROVIDER).is_some() && block.may_be_of(self.author);
        is_own.then_some(Cow::Borrowed(block))
    }

    /// There are none of its own, and those of others aren't sent.
    fn text_fields<'a>(&self, _: Role, fields: &'a Opaque) -> Option<Cow<'a, Opaque>> {
        Some(Cow::Borrowed(fields))
    }

    /// Signatures, which other servers refuse.
    fn call_fields<'a>(&self, fields: &'a Opaque) -> Option<Cow<'a, Opaque>> {
        let is_foreign = fields.json_for(PROVIDER).is_some() && !fields.may_be_of(self.author);
        (!is_foreign).then_some(Cow::Borrowed(fields))
    }

    fn can_continue(&self, _: &[Cow<'_, Block>]) -> bool {
        false
    }

    /// An answer of reasoning alone has neither content nor calls, which servers refuse.
    fn tidy(&self, answer: &mut Vec<Cow<'_, Block>>, _: bool) {
        if answer.iter().all(|block| matches!(**block, Block::Opaque(_))) {
            answer.clear();
        }
    }
}
