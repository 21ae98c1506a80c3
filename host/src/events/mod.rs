//! The words that everybody shares: what happens in a run, how a call and a run end, what an answer cost. A leaf, so that
//! whoever reports, listens or prints needs to know nobody else.

mod breaker;
mod ending;
mod event;
mod outcome;
mod usage;

pub use breaker::{BreakerState, Transition};
pub use ending::Ending;
pub use event::{ErrorInfo, Event, EventKind, ToolCallFinished, TrimReason};
pub use outcome::{Health, Outcome};
pub use usage::Usage;
