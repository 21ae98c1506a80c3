//! The sandbox: where the code of strangers runs. Knows nothing of agents, models or money.
//!
//! [`Sandbox`] turns bytes into a [`Plugin`]; [`Plugin::call`] runs one tool once, in an instance that exists for that
//! call alone, under [`Limits`] and with nothing but its [`Grants`].

mod blocking;
mod cache;
mod call;
mod compile;
mod component;
mod contract;
mod descriptors;
mod deterministic;
mod engine;
mod failure;
mod files;
mod guest_memory;
mod halt;
mod http;
mod inspect;
mod instantiation;
mod keyvalue;
mod limiter;
mod limits;
mod log;
mod logging;
mod mappings;
mod metering;
mod plugin;
mod precompiled;
mod state;
mod turns;

pub use call::CallUse;
pub use compile::{CompilePlace, become_compiler_if_asked};
pub use component::{ComponentError, Digest, read_file};
pub use contract::{Annotations, Content, Image, Tool as ToolExport};
pub use failure::{CallFailure, LimitHit};
pub use files::FolderGrant;
pub use halt::{Halt, Halted};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use http::fuzz;
pub use http::{AttachError, AttachedHeader, GrantError, HttpGrant, HttpUse, Scheme, SecretError, Secrets};
pub use inspect::{Import, Inspection};
pub use keyvalue::{KeyValueError, KeyValueStore};
pub use limits::{EngineSettings, LONGEST, Limits};
pub use metering::Metering;
pub use plugin::{Grants, Plugin, Sandbox};
