//! The contract between components and the host. Each released version has a file, which adapts the types that `bindgen!`
//! generates to those of [`types`]. Generated types aren't visible outside that file.

mod types;
mod v0_1_0;

pub(super) use self::types::ToolError;
pub use self::types::{Annotations, Content, Image, ToolInfo};
pub(super) use self::v0_1_0::{INTERFACE, Indices};
