//! The sandbox runs untrusted code. It knows nothing of agents, models or money.
//!
//! [`Sandbox`] turns bytes into a [`Plugin`]. [`Plugin::call`] runs one tool once, in an instance that exists only for that
//! call, under [`Limits`] and with nothing but its [`Grants`].

mod call;
mod clocks;
mod compile;
mod config;
mod contract;
mod fairness;
mod files;
mod grants;
mod http;
mod keyvalue;
mod limits;
mod logging;
mod metering;
#[expect(
    clippy::module_inception,
    reason = "it holds the type that the folder is named after"
)]
mod sandbox;
mod system;

pub use call::{CallFailure, CallUse, Halt, Halted, LimitHit, Plugin};
pub use compile::{
    COMPILING, CompilePlace, ComponentBytes, ComponentError, Digest, Foreign, Import, Inspection, open_file,
    run_compiler_if_requested,
};
pub use contract::{
    Annotations, Argument, Command, CommandInput, CommandOutput, Content, DOCS_SECTION, DOCS_VERSION, ExitMeaning,
    Image, Template, TemplateError, ToolInfo, UnusableExport, WitText,
};
pub(crate) use contract::{decimal_patterns, docs_of_comment};
pub use files::FolderGrant;
pub use grants::{Effects, Grants, SetIn};
pub(crate) use http::Upstream;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use http::fuzz;
pub use http::{AttachError, AttachedHeader, GrantError, HttpGrant, HttpUse, Scheme, SecretError, Secrets};
pub use keyvalue::{KeyValueError, KeyValueStore};
pub use limits::{EngineSettings, Limits, MAX_DURATION};
pub(crate) use limits::{Limit, LimitValue};
pub use metering::Metering;
pub use sandbox::Sandbox;
pub use system::{SystemLimit, guest_memory, resets_memory_fast, system_limits};
