//! The contract between components and the host. A file for each released version adapts the types that `bindgen!` makes
//! of that version to those of [`types`]; nothing generated is visible outside it.

mod types;
mod v0_1_0;

pub(super) use self::types::ToolError;
pub use self::types::{Annotations, Content, Image, ToolInfo};
pub(super) use self::v0_1_0::{INTERFACE, Indices};
