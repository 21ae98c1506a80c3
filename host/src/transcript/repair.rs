//! Makes any history acceptable to a provider's API.
//!
//! One odd answer must not end a conversation: an API refuses every later request whose history contains what it doesn't
//! accept. So each provider repairs the history that it sends, and the conversation itself stays as it was.
//!
//! A repaired history only depends on the messages before each point, so a longer history begins with the repaired form of
//! the shorter one and prompt caches stay valid. Two things at its end are exceptions: results for calls that have none yet,
//! and the message that ends a history on the user's turn.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

use super::{Block, Content, Message, Opaque, Role, ToolInput, ToolResult, ToolUse, is_blank};

/// The prefix of ids that replace those which an API would refuse.
const OWN_ID: &str = "cofferdam_";

const CUT_OFF: &str = "[Earlier messages are left out.]";
const CONTINUE: &str = "Continue.";
const NO_RESULT: &str = "The call has no result: it was not made, or its result was lost.";
const EMPTY_RESULT: &str = "(no output)";
const LEFT_OUT_IMAGE: &str = "[an image is left out]";

/// What one provider's API accepts, beyond what is the same for all: alternating roles that begin and end with the user's,
/// a result for every call in the next message and before other content, no blank texts, inputs that are objects.
pub trait Rules {
    /// The most messages in one request.
    fn max_messages(&self) -> usize;

    /// Whether a call may have the id that it has. Must accept `cofferdam_` followed by digits.
    fn accepts_id(&self, call: &ToolUse) -> bool;

    /// The name as a history may contain it. Repairing it again changes nothing.
    fn tool_name<'a>(&self, name: &'a str) -> Cow<'a, str>;

    /// Whether a result may contain images of this type.
    fn accepts_image(&self, media_type: &str) -> bool;

    /// A vendor's block as a message of this role may contain it. `None` leaves it out.
    fn opaque<'a>(&self, role: Role, block: &'a Opaque) -> Option<Cow<'a, Opaque>>;

    /// The additional fields of a text. `None` leaves them out.
    fn text_fields<'a>(&self, role: Role, fields: &'a Opaque) -> Option<Cow<'a, Opaque>>;

    /// The additional fields of a call. `None` leaves them out.
    fn call_fields<'a>(&self, fields: &'a Opaque) -> Option<Cow<'a, Opaque>>;

    /// Whether the model may continue this answer without a message of the user in between.
    fn can_continue(&self, answer: &[Cow<'_, Block>]) -> bool;

    /// Removes blocks that may not be where they are among an answer's other blocks. Never removes calls. `is_finished` is
    /// false for an answer that the model continues.
    fn tidy(&self, answer: &mut Vec<Cow<'_, Block>>, is_finished: bool);
}

/// The name of a call that has none.
const UNNAMED: &str = "unnamed";

/// A tool's name of at most `max_bytes` letters, digits, `_` and `-`, which is all that any API accepts. Others become `_`.
pub fn identifier(name: &str, max_bytes: usize) -> Cow<'_, str> {
    let is_accepted = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    if name.is_empty() {
        return Cow::Borrowed(UNNAMED);
    }
    if name.len() <= max_bytes && name.chars().all(is_accepted) {
        return Cow::Borrowed(name);
    }
    let characters = name.chars().take(max_bytes);
    Cow::Owned(
        characters
            .map(|character| if is_accepted(character) { character } else { '_' })
            .collect(),
    )
}

/// The messages as `rules` accept them. Borrows those that need no repair. Repairing the result again changes nothing.
pub fn repair<'a>(messages: &'a [Message], rules: &impl Rules) -> Cow<'a, [Message]> {
    repair_with_positions(messages, rules, &[]).0
}

/// The same, and where positions in `messages` are in the result: at the first message that begins with something of what is at the position
/// or behind it, or at the end. What continues an answer is in the middle of a message, so such a position is behind that.
pub fn repair_with_positions<'a>(
    messages: &'a [Message],
    rules: &impl Rules,
    positions: &[usize],
) -> (Cow<'a, [Message]>, Vec<usize>) {
    let mut history = History::new(rules);
    let mut found = vec![None; positions.len()];
    for (index, message) in messages.iter().enumerate() {
        let Some(turn) = history.push(message) else { continue };
        for (_, found) in positions
            .iter()
            .zip(&mut found)
            .filter(|(position, _)| **position <= index)
        {
            found.get_or_insert(turn);
        }
    }
    let (turns, left_out) = history.finish();
    let found = found.into_iter().map(|turn: Option<usize>| match turn {
        Some(turn) => turn.saturating_sub(left_out),
        None => turns.len(),
    });
    let found = found.collect();
    if is_unchanged(&turns, messages) {
        return (Cow::Borrowed(messages), found);
    }
    (Cow::Owned(turns.into_iter().map(Turn::into_message).collect()), found)
}

/// A message under construction.
struct Turn<'a> {
    role: Role,
    content: Vec<Cow<'a, Block>>,
}

impl<'a> Turn<'a> {
    fn user(text: &str) -> Self {
        Self {
            role: Role::User,
            content: vec![Cow::Owned(Block::text(text))],
        }
    }

    /// Adds results after those that the message already has and before its other content.
    fn add_results(&mut self, results: Vec<Cow<'a, Block>>) {
        let at = self.content.iter().take_while(|block| is_result(block)).count();
        self.content.splice(at..at, results);
    }

    fn into_message(self) -> Message {
        Message {
            role: self.role,
            content: self.content.into_iter().map(Cow::into_owned).collect(),
        }
    }
}

fn is_result(block: &Block) -> bool {
    matches!(block, Block::ToolResult(_))
}

/// Whether the turns are the messages' own blocks, each in its place.
fn is_unchanged(turns: &[Turn<'_>], messages: &[Message]) -> bool {
    let same_block =
        |(mine, given): (&Cow<'_, Block>, &Block)| matches!(mine, Cow::Borrowed(mine) if std::ptr::eq(*mine, given));
    let same_turn = |(turn, message): (&Turn<'_>, &Message)| {
        turn.role == message.role
            && turn.content.len() == message.content.len()
            && turn.content.iter().zip(&message.content).all(same_block)
    };
    turns.len() == messages.len() && turns.iter().zip(messages).all(same_turn)
}

/// A call of the latest answer.
struct OpenCall<'a> {
    /// As sent, which may differ from the id that the model chose.
    id: Cow<'a, str>,
    is_answered: bool,
}

/// A history that is repaired message by message.
struct History<'a, 'r, R> {
    rules: &'r R,
    turns: Vec<Turn<'a>>,
    /// The calls of the latest answer, until the next answer.
    calls: Vec<OpenCall<'a>>,
    /// Positions in `calls` of those without a result, by the id that the model chose.
    unanswered: HashMap<&'a str, VecDeque<usize>>,
    used_ids: HashSet<Cow<'a, str>>,
    /// The number of calls so far.
    numbered: usize,
}

impl<'a, 'r, R: Rules> History<'a, 'r, R> {
    fn new(rules: &'r R) -> Self {
        Self {
            rules,
            turns: Vec::new(),
            calls: Vec::new(),
            unanswered: HashMap::new(),
            used_ids: HashSet::new(),
            numbered: 0,
        }
    }

    /// Returns the turn that begins with the message. If it continues an answer, the one behind that. `None`: the history has nothing of it.
    fn push(&mut self, message: &'a Message) -> Option<usize> {
        match message.role {
            Role::Assistant => self.push_answer(message),
            Role::User => self.push_user(message),
        }
    }

    fn push_answer(&mut self, message: &'a Message) -> Option<usize> {
        let blocks = message.content.iter();
        let blocks: Vec<_> = blocks
            .filter_map(|block| Some((block, self.block(Role::Assistant, block)?)))
            .collect();
        if blocks.is_empty() {
            return None;
        }
        self.begin_answer();
        let blocks: Vec<_> = blocks
            .into_iter()
            .map(|(given, block)| self.with_unique_id(given, block))
            .collect();
        let at = self.turns.len().saturating_sub(1);
        let turn = self.turns.last_mut()?;
        let continues = !turn.content.is_empty();
        turn.content.extend(blocks);
        Some(at + usize::from(continues))
    }

    fn push_user(&mut self, message: &'a Message) -> Option<usize> {
        let (mut results, mut others) = (Vec::new(), Vec::new());
        for block in &message.content {
            if let Block::ToolResult(result) = block {
                // A result without a call is dropped. As text, a tool's output would seem to be what the user says.
                let waiting = self.unanswered.get_mut(result.tool_use_id.as_str());
                if let Some(position) = waiting.and_then(VecDeque::pop_front) {
                    let call = &mut self.calls[position];
                    call.is_answered = true;
                    results.push(self::result(self.rules, block, result, &call.id));
                }
            } else {
                others.extend(self.block(Role::User, block));
            }
        }
        if results.is_empty() && others.is_empty() {
            return None;
        }
        let turn = self.user_turn();
        turn.add_results(results);
        turn.content.extend(others);
        Some(self.turns.len().saturating_sub(1))
    }

    /// Prepares the last turn for an answer's blocks.
    fn begin_answer(&mut self) {
        self.answer_open_calls();
        // As at the end of a history, so that both decide alike whether the answer continues.
        self.close_answer(false);
        match self.turns.last() {
            None => self.turns.push(Turn::user(CUT_OFF)),
            Some(turn) if turn.role == Role::User => {}
            Some(turn) if self.rules.can_continue(&turn.content) => return,
            Some(_) => self.end_with_user(),
        }
        self.turns.push(Turn {
            role: Role::Assistant,
            content: Vec::new(),
        });
    }

    /// The user's turn that follows the latest answer.
    fn user_turn(&mut self) -> &mut Turn<'a> {
        self.close_answer(true);
        if self.turns.last().is_none_or(|turn| turn.role == Role::Assistant) {
            self.turns.push(Turn {
                role: Role::User,
                content: Vec::new(),
            });
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    /// Tidies the last turn if it is an answer, and removes it if nothing is left.
    fn close_answer(&mut self, is_finished: bool) {
        if let Some(turn) = self.turns.last_mut()
            && turn.role == Role::Assistant
        {
            self.rules.tidy(&mut turn.content, is_finished);
            if turn.content.is_empty() {
                self.turns.pop();
            }
        }
    }

    fn end_with_user(&mut self) {
        self.close_answer(true);
        if self.turns.last().is_none_or(|turn| turn.role == Role::Assistant) {
            let text = if self.turns.is_empty() { CUT_OFF } else { CONTINUE };
            self.turns.push(Turn::user(text));
        }
    }

    /// Adds an error result for each call without a result.
    fn answer_open_calls(&mut self) {
        let calls = std::mem::take(&mut self.calls);
        self.unanswered.clear();
        let missing: Vec<_> = calls
            .into_iter()
            .filter(|call| !call.is_answered)
            .map(|call| {
                Cow::Owned(Block::ToolResult(ToolResult {
                    tool_use_id: call.id.into_owned(),
                    content: vec![Content::text(NO_RESULT)],
                    is_error: true,
                }))
            })
            .collect();
        if !missing.is_empty() {
            self.user_turn().add_results(missing);
        }
    }

    /// The history, and how many messages are left out at its beginning.
    fn finish(mut self) -> (Vec<Turn<'a>>, usize) {
        self.answer_open_calls();
        self.close_answer(false);
        let continues = self
            .turns
            .last()
            .is_some_and(|turn| turn.role == Role::Assistant && self.rules.can_continue(&turn.content));
        if !continues {
            self.end_with_user();
        }
        let all = self.turns.len();
        keep_newest(&mut self.turns, self.rules.max_messages());
        let left_out = all.saturating_sub(self.turns.len());
        (self.turns, left_out)
    }

    /// A block without what the API refuses in it. Ids and results depend on other blocks and are repaired with those.
    fn block(&self, role: Role, block: &'a Block) -> Option<Cow<'a, Block>> {
        match (block, role) {
            (Block::Text { text, .. }, _) if is_blank(text) => None,
            (Block::Text { text, extra }, _) => {
                let fields = extra.as_ref().map(|fields| self.rules.text_fields(role, fields));
                Some(match fields {
                    None | Some(Some(Cow::Borrowed(_))) => Cow::Borrowed(block),
                    Some(fields) => Cow::Owned(Block::Text {
                        text: text.clone(),
                        extra: fields.map(Cow::into_owned),
                    }),
                })
            }
            (Block::ToolUse(call), Role::Assistant) => Some(self.call(block, call)),
            (Block::Attachment(_), Role::User) => Some(Cow::Borrowed(block)),
            (Block::ToolUse(_), Role::User) | (Block::Attachment(_), Role::Assistant) | (Block::ToolResult(_), _) => {
                None
            }
            (Block::Opaque(opaque), _) => Some(match self.rules.opaque(role, opaque)? {
                Cow::Borrowed(_) => Cow::Borrowed(block),
                Cow::Owned(opaque) => Cow::Owned(Block::Opaque(opaque)),
            }),
        }
    }

    fn call(&self, block: &'a Block, call: &'a ToolUse) -> Cow<'a, Block> {
        let name = self.rules.tool_name(&call.name);
        let fields = call.extra.as_ref().map(|fields| self.rules.call_fields(fields));
        let is_object = call.input.value().is_object();
        if is_object && *name == *call.name && matches!(fields, None | Some(Some(Cow::Borrowed(_)))) {
            return Cow::Borrowed(block);
        }
        Cow::Owned(Block::ToolUse(ToolUse {
            id: call.id.clone(),
            name: name.into_owned(),
            input: match is_object {
                true => call.input.clone(),
                false => ToolInput::from(serde_json::json!({})),
            },
            extra: fields.flatten().map(Cow::into_owned),
        }))
    }

    /// Gives a call an id of our own if the API would refuse its id, and expects a result for it. `given` is the block before
    /// its repair.
    fn with_unique_id(&mut self, given: &'a Block, block: Cow<'a, Block>) -> Cow<'a, Block> {
        let Block::ToolUse(call) = given else {
            return block;
        };
        let given = &call.id;
        self.numbered += 1;
        let mut id = Cow::Borrowed(given.as_str());
        if !self.rules.accepts_id(call) || !self.used_ids.insert(id.clone()) {
            let mut number = self.numbered;
            loop {
                id = Cow::Owned(format!("{OWN_ID}{number}"));
                if self.used_ids.insert(id.clone()) {
                    break;
                }
                number += 1;
            }
            // The next search begins where this one ended, or many calls would search the same numbers.
            self.numbered = number;
        }
        self.unanswered
            .entry(given.as_str())
            .or_default()
            .push_back(self.calls.len());
        self.calls.push(OpenCall {
            id: id.clone(),
            is_answered: false,
        });
        if id == given.as_str() {
            return block;
        }
        match block.into_owned() {
            Block::ToolUse(call) => Cow::Owned(Block::ToolUse(ToolUse {
                id: id.into_owned(),
                ..call
            })),
            other => Cow::Owned(other),
        }
    }
}

/// The result of the call that is sent as `id`.
fn result<'a>(rules: &impl Rules, block: &'a Block, result: &'a ToolResult, id: &str) -> Cow<'a, Block> {
    let is_kept = |content: &Content| match content {
        Content::Text { text } => !is_blank(text),
        // An error is explained in text alone.
        Content::Image(image) => !result.is_error && rules.accepts_image(&image.media_type),
    };
    let is_missing = result.is_error && result.content.is_empty();
    if id == result.tool_use_id && !is_missing && result.content.iter().all(is_kept) {
        return Cow::Borrowed(block);
    }
    let kept = result.content.iter().filter_map(|content| match content {
        kept if is_kept(kept) => Some(kept.clone()),
        Content::Text { .. } => None,
        Content::Image(_) => Some(Content::text(LEFT_OUT_IMAGE)),
    });
    let mut content: Vec<Content> = kept.collect();
    if content.is_empty() && (is_missing || !result.content.is_empty()) {
        content.push(Content::text(EMPTY_RESULT));
    }
    Cow::Owned(Block::ToolResult(ToolResult {
        tool_use_id: id.to_owned(),
        content,
        is_error: result.is_error,
    }))
}

/// Drops the oldest messages of a history that is too long, a tenth of the maximum at a time: dropping only what exceeds
/// the maximum would change the beginning of every later request.
fn keep_newest(turns: &mut Vec<Turn<'_>>, max: usize) {
    if turns.len() <= max {
        return;
    }
    let step = (max / 10).max(1);
    // One more, for the message that may have to be put first.
    let excess = (turns.len() + 1).saturating_sub(max);
    let least = excess.div_ceil(step) * step;
    let is_prompt = |turn: &Turn<'_>| turn.role == Role::User && !turn.content.iter().all(|block| is_result(block));
    let prompt = turns.iter().skip(least).position(is_prompt);
    turns.drain(..prompt.map_or(least, |position| least + position).min(turns.len()));
    // The calls of these results are gone.
    if let Some(first) = turns.first_mut().filter(|first| first.role == Role::User) {
        first.content.retain(|block| !is_result(block));
        if first.content.is_empty() {
            turns.remove(0);
        }
    }
    if turns.first().is_none_or(|first| first.role == Role::Assistant) {
        turns.insert(0, Turn::user(CUT_OFF));
    }
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
