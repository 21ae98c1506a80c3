//! The definitions of tools that the requests of a conversation carry.

use std::collections::HashMap;

use super::content::StoredTool;

/// Bytes of outdated definitions that a conversation always may carry. To start over costs a reading of all of its prompt.
const MIN_OUTDATED_BYTES: usize = 4 * 1024;

/// The definitions of tools from a message of the conversation on.
#[derive(Debug)]
pub(crate) struct KnownTools {
    /// How many messages came before.
    pub(crate) messages: usize,
    pub(crate) tools: Vec<StoredTool>,
}

/// Whether the definitions that are no longer in force outweigh those that are. Each is carried where the model first read it, and nothing
/// else would ever make the prompt shorter.
pub(super) fn is_mostly_outdated(known: &[KnownTools]) -> bool {
    let mut newest: HashMap<&str, &StoredTool> = HashMap::new();
    let mut carried = 0;
    for tool in known.iter().flat_map(|known| &known.tools) {
        let before = newest.insert(&tool.name, tool);
        if before.is_none_or(|before| !before.reads_like(tool)) {
            carried += bytes(tool);
        }
    }
    let now = known.last().map(|known| known.tools.iter().map(bytes).sum::<usize>());
    now.is_some_and(|now| carried - now > now.max(MIN_OUTDATED_BYTES))
}

fn bytes(tool: &StoredTool) -> usize {
    tool.name.len() + tool.description.len() + tool.input_schema.len()
}
