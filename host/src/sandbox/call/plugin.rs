//! A loaded component, ready to be called any number of times.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::component::InstancePre;

use super::failure::CallFailure;
use super::halt::Halt;
use super::run::{CallUse, run};
use super::setup::CallSetup;
use super::state::CallState;
use crate::sandbox::compile::{ComponentError, Digest};
use crate::sandbox::contract::{Content, Indices, ToolError, ToolInfo};
use crate::sandbox::limits::Limits;
use crate::untrusted::{Untrusted, display_untrusted};

/// Characters of a component's output that the host repeats.
const MAX_ERROR_CHARS: usize = 500;

/// A component that can be called.
#[derive(Clone)]
pub struct Plugin {
    pre: InstancePre<CallState>,
    tools: Indices,
    setup: CallSetup,
    digest: Digest,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    pub(in crate::sandbox) fn new(
        pre: InstancePre<CallState>,
        tools: Indices,
        setup: CallSetup,
        digest: Digest,
    ) -> Self {
        Self {
            pre,
            tools,
            setup,
            digest,
        }
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    pub fn limits(&self) -> &Limits {
        self.setup.limits()
    }

    /// Asks the component for its tools, under the limits of a call.
    ///
    /// # Errors
    ///
    /// [`ComponentError::ListTools`] for every failure.
    pub async fn list_tools(&self) -> Result<Vec<ToolInfo>, ComponentError> {
        let halt = Halt {
            deadline: Instant::now() + self.limits().timeout,
            cancel: &CancellationToken::new(),
        };
        let (listed, usage) = run(
            &self.pre,
            &self.setup,
            None,
            halt,
            |store, instance| self.tools.load(store, instance),
            async |store, tools| tools.list_tools(store).await,
        )
        .await;
        let reason = match listed {
            Ok(Ok(tools)) => return Ok(tools.into_iter().map(|tool| self.masked_info(tool)).collect()),
            Ok(Err(message)) => self.setup.masker.text(message),
            Err(failure) => failure.to_string(),
        };
        Err(ComponentError::ListTools {
            reason: Untrusted::new(reason),
            details: details(&usage),
        })
    }

    /// Calls a tool by the component's own name for it, in a new instance, on behalf of `tenant`. `input` is JSON text. The call
    /// ends at `halt` at the latest.
    pub async fn call(
        &self,
        tenant: &Arc<str>,
        tool: &str,
        input: &str,
        halt: Halt<'_>,
    ) -> (Result<Vec<Content>, CallFailure>, CallUse) {
        let (called, usage) = run(
            &self.pre,
            &self.setup,
            Some(tenant),
            halt,
            |store, instance| self.tools.load(store, instance),
            async |store, tools| tools.call_tool(store, tool, input).await,
        )
        .await;
        let result = match called {
            Ok(Ok(content)) => Ok(content.into_iter().map(|part| self.masked(part)).collect()),
            Ok(Err(error)) => Err(self.tool_error(error)),
            Err(failure) => Err(failure),
        };
        (result, usage)
    }

    /// What a component says of its tools is output as well. A name that was masked is no legal name any more.
    fn masked_info(&self, tool: ToolInfo) -> ToolInfo {
        let masked = |text| self.setup.masker.text(text);
        ToolInfo {
            name: masked(tool.name.into_raw()).into(),
            description: masked(tool.description.into_raw()).into(),
            input_schema: masked(tool.input_schema),
            annotations: tool.annotations,
        }
    }

    /// A guest gets no secret from us; should it have one all the same, it ends here.
    fn masked(&self, content: Content) -> Content {
        match content {
            Content::Text(text) => Content::Text(self.setup.masker.text(text)),
            Content::Json(text) => Content::Json(self.setup.masker.text(text)),
            image @ Content::Image(_) => image,
        }
    }

    /// An error that the tool returned. Its text counts as output.
    fn tool_error(&self, error: ToolError) -> CallFailure {
        let text = error.message();
        let limit = self.limits().output_bytes;
        if text.len() as u64 > limit {
            return CallFailure::InvalidOutput(format!(
                "the text of its error has {} bytes, more than output_bytes allows ({limit})",
                text.len()
            ));
        }
        let masked = |text| self.setup.masker.text(text);
        match error {
            ToolError::InvalidInput(message) => CallFailure::InvalidInput(masked(message)),
            ToolError::Failed(message) => CallFailure::Failed(masked(message)),
            ToolError::Unavailable { message, retry_after } => CallFailure::Unavailable {
                message: masked(message),
                retry_after,
            },
        }
    }
}

/// Refused requests and printed output, for the operator, to follow a reason.
fn details(usage: &CallUse) -> String {
    let mut details = String::new();
    if !usage.http.refused.is_empty() {
        details.push_str("; refused: ");
        details.push_str(&usage.http.refused.join(", "));
    }
    let printed = usage.log.trim();
    if !printed.is_empty() {
        details.push_str("; it printed: ");
        details.push_str(&display_untrusted(printed, MAX_ERROR_CHARS));
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_can_move_between_threads() {
        fn is_send<T: Send>(_: &T) {}
        let _ = |plugin: &Plugin, halt: Halt<'_>| is_send(&plugin.call(&"".into(), "", "", halt));
    }
}
