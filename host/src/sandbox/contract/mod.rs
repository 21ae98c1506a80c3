//! The contract between components and the host. Each released version has a file, which adapts the types that `bindgen!`
//! generates to those of [`types`]. Generated types aren't visible outside that file.

mod command;
mod typed;
mod types;
mod v0_1_0;

use std::sync::Arc;

pub use self::command::{Argument, Command, CommandInput, CommandOutput, ExitMeaning, Template, TemplateError};
pub(super) use self::command::{
    Entry, Invocation, MAX_ADAPTED, NotFilled, export_name as run_export, is_run, oversized_arguments,
    oversized_variables, run_to_exit,
};
pub use self::typed::{DOCS_SECTION, DOCS_VERSION, UnusableExport, WitText};
pub(super) use self::typed::{Docs, Function, NotConverted, Typed, exports_functions, toolchain_exports};
pub(crate) use self::typed::{decimal_patterns, docs_of_comment};
pub(super) use self::types::ToolError;
pub use self::types::{Annotations, Content, Image, ToolInfo};
pub(super) use self::v0_1_0::{INTERFACE, Indices};

/// A way in which a component is tools, with what is looked up once per plugin. A component can use several.
#[derive(Clone)]
pub(super) enum Contract {
    /// It exports the interface `tools` of a released version.
    Dynamic(Indices),
    /// It exports functions of its own.
    Typed(Arc<Typed>),
    /// It exports `wasi:cli/run`, and the operator describes it.
    Command(Arc<Command>, Entry),
}

/// The name of [`Contract::Typed`] for people.
pub(super) const TYPED: &str = "typed functions";
