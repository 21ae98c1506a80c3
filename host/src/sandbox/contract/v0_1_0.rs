//! The contract `cofferdam:tool@0.1.0`, as generated from `wit/0.1.0`, and its adapter.

use std::time::Duration;

use wasmtime::AsContextMut;
use wasmtime::component::{Instance, InstancePre};

use self::generated::exports::cofferdam::tool::tools as wire;
use super::types::{Annotations, Content, Image, ToolError, ToolInfo};

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "plugin",
        exports: { default: async },
    });
}

/// The interface that a component exports to be a plugin.
pub const INTERFACE: &str = "cofferdam:tool/tools@0.1.0";

/// The indices of the contract's functions in a component. Looked up by name once per plugin.
#[derive(Clone)]
pub(in crate::sandbox) struct Indices(wire::GuestIndices);

impl Indices {
    /// # Errors
    ///
    /// If the component lacks one of the functions.
    pub(in crate::sandbox) fn new<T>(pre: &InstancePre<T>) -> wasmtime::Result<Self> {
        wire::GuestIndices::new(pre).map(Self)
    }

    /// Gets the functions of an instance of the component.
    ///
    /// # Errors
    ///
    /// If the type of a function differs from the contract.
    pub(in crate::sandbox) fn load(
        &self,
        store: impl AsContextMut,
        instance: &Instance,
    ) -> wasmtime::Result<Functions> {
        self.0.load(store, instance).map(Functions)
    }
}

/// The functions of one instance.
pub(in crate::sandbox) struct Functions(wire::Guest);

impl Functions {
    /// The tools, or the component's own message why there are none.
    pub(in crate::sandbox) async fn list_tools(
        &self,
        store: impl AsContextMut<Data: Send>,
    ) -> wasmtime::Result<Result<Vec<ToolInfo>, String>> {
        let listed = self.0.call_list_tools(store).await?;
        Ok(listed.map(|tools| tools.into_iter().map(ToolInfo::from).collect()))
    }

    /// Calls `tool` with `input` (JSON text).
    pub(in crate::sandbox) async fn call_tool(
        &self,
        store: impl AsContextMut<Data: Send>,
        tool: &str,
        input: &str,
    ) -> wasmtime::Result<Result<Vec<Content>, ToolError>> {
        let called = self.0.call_call_tool(store, tool, input).await?;
        Ok(called
            .map(|content| content.into_iter().map(Content::from).collect())
            .map_err(ToolError::from))
    }
}

impl From<wire::Tool> for ToolInfo {
    fn from(tool: wire::Tool) -> Self {
        Self {
            name: tool.name.into(),
            description: tool.description.into(),
            input_schema: tool.input_schema,
            output_schema: None,
            annotations: tool.annotations.into(),
        }
    }
}

impl From<wire::Annotations> for Annotations {
    fn from(annotations: wire::Annotations) -> Self {
        Self {
            read_only: annotations.read_only,
            idempotent: annotations.idempotent,
            destructive: annotations.destructive,
        }
    }
}

impl From<wire::Content> for Content {
    fn from(content: wire::Content) -> Self {
        match content {
            wire::Content::Text(text) => Self::Text(text),
            wire::Content::Json(text) => Self::Json(text),
            wire::Content::Image(image) => Self::Image(image.into()),
        }
    }
}

impl From<wire::Image> for Image {
    fn from(image: wire::Image) -> Self {
        Self {
            mime_type: image.mime_type,
            data: image.data,
        }
    }
}

impl From<wire::Error> for ToolError {
    fn from(error: wire::Error) -> Self {
        match error {
            wire::Error::InvalidInput(message) => Self::InvalidInput(message),
            wire::Error::Unavailable(unavailable) => Self::Unavailable {
                message: unavailable.message,
                retry_after: unavailable.retry_after_ms.map(Duration::from_millis),
            },
            wire::Error::Failed(message) => Self::Failed(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A result can have megabytes, so it must be moved, not copied.
    #[test]
    fn texts_and_images_are_not_copied() {
        let text = "text".to_owned();
        let address = text.as_ptr();
        assert!(matches!(Content::from(wire::Content::Text(text)), Content::Text(text) if text.as_ptr() == address));
        let image = wire::Image {
            mime_type: "image/png".to_owned(),
            data: vec![1, 2, 3],
        };
        let address = image.data.as_ptr();
        assert!(
            matches!(Content::from(wire::Content::Image(image)), Content::Image(image) if image.data.as_ptr() == address)
        );
    }

    #[test]
    fn errors_keep_their_case_and_the_time_to_wait() {
        let unavailable = |retry_after_ms| {
            wire::Error::Unavailable(wire::Unavailable {
                message: "m".to_owned(),
                retry_after_ms,
            })
        };
        let expected = |retry_after| ToolError::Unavailable {
            message: "m".to_owned(),
            retry_after,
        };
        assert_eq!(ToolError::from(unavailable(None)), expected(None));
        let waits = Some(Duration::from_millis(1_500));
        assert_eq!(ToolError::from(unavailable(Some(1_500))), expected(waits));
        let invalid = ToolError::from(wire::Error::InvalidInput("m".to_owned()));
        assert_eq!(invalid, ToolError::InvalidInput("m".to_owned()));
        let failed = ToolError::from(wire::Error::Failed("m".to_owned()));
        assert_eq!((failed.message(), &failed), ("m", &ToolError::Failed("m".to_owned())));
    }
}
