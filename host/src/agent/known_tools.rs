//! The tools that a conversation has had, from its facts to a request.

use super::agent::Agent;
use crate::model::{ToolDefinition, ToolsSince};
use crate::session::{State, StoredTool};

/// The tools of now, if later requests need their definitions to say what changed.
pub(super) fn kept_tools(agent: &Agent) -> Option<Vec<StoredTool>> {
    let kept = agent.parts().model.kept_tools(agent.definitions().list())?;
    Some(kept.into_iter().map(stored).collect())
}

/// What the conversation has had, if it has changed.
pub(super) fn tools_since(state: &State) -> Vec<ToolsSince> {
    let known = match &state.known_tools[..] {
        [_] => &[],
        known => known,
    };
    let since = known.iter().map(|known| ToolsSince {
        messages: known.messages,
        tools: known.tools.iter().map(definition).collect(),
    });
    since.collect()
}

fn stored(tool: &ToolDefinition) -> StoredTool {
    StoredTool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        input_schema: tool.input_schema.to_string(),
        always_load: tool.always_load,
    }
}

fn definition(tool: &StoredTool) -> ToolDefinition {
    ToolDefinition {
        name: tool.name.clone(),
        description: tool.description.clone(),
        input_schema: tool.input_schema.as_str().into(),
        always_load: tool.always_load,
    }
}
