//! Types shared by all modules: the events of a run, the outcomes of calls and runs, token usage. A leaf module, so that
//! observers, reports and printers depend on nothing else.

mod breaker;
mod ending;
mod event;
mod outcome;
mod usage;

pub use breaker::{BreakerState, Transition};
pub use ending::Ending;
pub use event::{
    ApprovalDecided, ErrorInfo, Event, EventKind, LeftOutFile, ToolCallFinished, TrimReason, reversal_hint,
};
pub use outcome::{Health, Outcome};
pub use usage::Usage;
