//! One call of a plugin: its limits, how it runs, and how it ends.

mod backtrace;
mod descriptors;
mod failure;
mod halt;
mod limiter;
mod linker;
mod mappings;
mod output;
mod plugin;
mod program;
mod run;
mod setup;
mod state;

pub(super) use self::descriptors::make_room;
pub use self::failure::{CallFailure, LimitHit};
pub use self::halt::{Halt, Halted};
pub(super) use self::linker::linker;
pub(super) use self::mappings::check as check_mappings;
pub use self::plugin::Plugin;
pub use self::run::CallUse;
pub(super) use self::setup::CallSetup;
pub(super) use self::state::CallState;
