//! One call of a plugin: its limits, how it runs, and how it ends.

mod backtrace;
mod failure;
mod halt;
mod limiter;
mod linker;
mod output;
mod plugin;
mod program;
mod run;
mod setup;
mod state;

pub use self::failure::{CallFailure, LimitHit};
pub use self::halt::{Halt, Halted};
pub(super) use self::limiter::MAX_MEMORIES;
pub(super) use self::linker::linker;
pub use self::plugin::Plugin;
pub use self::run::CallUse;
pub(super) use self::setup::CallSetup;
pub(super) use self::state::CallState;
