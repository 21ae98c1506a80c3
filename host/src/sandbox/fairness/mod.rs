//! Resources that all guests share (processors, threads, memory), divided fairly between tenants and plugins.

mod blocking;
mod call_memory;
mod guest_memory;
mod plugin_time;
mod turns;

pub(super) use self::blocking::{BlockingWork, PermitCounts, Submitted, on_blocking_thread};
pub(super) use self::call_memory::CallMemory;
pub(super) use self::guest_memory::{GuestMemory, MemoryShare, NoMemory};
pub(super) use self::turns::{TurnAccount, TurnClock, Turns, yield_to_others};
