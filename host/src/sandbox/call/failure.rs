//! Why a call has no result: the engine's many ways of ending, told apart.

use std::time::Duration;

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::limiter::{MAX_MEMORIES, MAX_TABLES, Refused};
use crate::sandbox::fairness::NoMemory;
use crate::sandbox::limits::Limits;

/// Our own reasons to stop a guest, carried through the engine as its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stopped {
    #[error("the call's deadline has passed")]
    Deadline,
    #[error("the guest made more host calls than host_calls allows")]
    HostCalls,
}

/// A limit of the call, with the value that was in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitHit {
    /// Its name in the configuration.
    pub name: &'static str,
    pub value: String,
}

impl std::fmt::Display for LimitHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}", self.name, self.value)
    }
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The tool says the model's input makes no sense.
    InvalidInput(String),
    /// The tool says it cannot work right now.
    Unavailable {
        message: String,
        retry_after: Option<Duration>,
    },
    /// The tool says it failed for good.
    Failed(String),
    Timeout(LimitHit),
    OutOfFuel(LimitHit),
    OutOfMemory(LimitHit),
    StackOverflow(LimitHit),
    /// The guest crashed or left; the text is for the operator alone.
    Trapped(String),
    /// The result breaks the contract.
    InvalidOutput(String),
    /// No room for another instance.
    Overloaded(String),
    /// The run that wanted it was cancelled.
    Cancelled,
    /// A fault of ours; the text is for the operator alone.
    Host(String),
}

/// For the operator.
impl std::fmt::Display for CallFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InvalidInput(text) => write!(f, "the tool does not accept the input: {text}"),
            Self::Unavailable { message, .. } => write!(f, "the tool is unavailable: {message}"),
            Self::Failed(text) => write!(f, "the tool failed: {text}"),
            Self::Timeout(limit) | Self::OutOfFuel(limit) | Self::OutOfMemory(limit) | Self::StackOverflow(limit) => {
                write!(f, "it was stopped at the limit {limit}")
            }
            Self::Trapped(detail) => write!(f, "it crashed: {detail}"),
            Self::InvalidOutput(detail) => f.write_str(detail),
            Self::Overloaded(detail) => write!(f, "the host has no room: {detail}"),
            Self::Cancelled => f.write_str("it was cancelled"),
            Self::Host(detail) => write!(f, "the host failed: {detail}"),
        }
    }
}

impl CallFailure {
    pub(super) fn timeout(limit: Duration) -> Self {
        Self::Timeout(LimitHit {
            name: "timeout",
            value: format!("{limit:?}"),
        })
    }

    fn no_memory(none: NoMemory) -> Self {
        match none {
            NoMemory::TooMuch { most } => Self::OutOfMemory(hit("host_memory for one call", most)),
            NoMemory::TakenByOthers => {
                Self::Overloaded("other calls hold the memory that host_memory allows".to_owned())
            }
        }
    }

    /// Reads the engine's error. `refused` is the limit at which memory or tables were last denied to the guest.
    /// `called` says whether the instance was made and its function entered.
    pub(super) fn of(
        error: &wasmtime::Error,
        called: bool,
        refused: Option<Refused>,
        limits: &Limits,
        stack: u64,
    ) -> Self {
        if let Some(stopped) = error.downcast_ref::<Stopped>() {
            return match stopped {
                Stopped::Deadline => Self::timeout(limits.timeout),
                Stopped::HostCalls => Self::OutOfFuel(hit("host_calls", limits.host_calls)),
            };
        }
        if let Some(none) = error.downcast_ref::<NoMemory>() {
            return Self::no_memory(*none);
        }
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            return Self::Trapped(format!("the guest exited with status {}", exit.0));
        }
        if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            return Self::Overloaded(format!("{error:#}"));
        }
        // A trap has a type of its own, so no words are consulted about it: the guest chose the names in a backtrace.
        let trap = error.downcast_ref::<Trap>();
        let in_guest = trap.is_some() || error.downcast_ref::<WasmBacktrace>().is_some();
        let words = match trap {
            Some(_) => String::new(),
            None => bounded(&error.root_cause().to_string()),
        };
        match trap {
            Some(Trap::OutOfFuel) => return Self::OutOfFuel(hit("fuel", limits.fuel)),
            Some(Trap::StackOverflow) => return Self::StackOverflow(hit("stack", stack)),
            _ => {}
        }
        let table_full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
        if table_full || words.contains("handle limit exceeded") {
            return Self::OutOfMemory(hit("handles", limits.handles));
        }
        // The guest sees a failed growth and commonly aborts, or follows the null pointer: its crash is then the
        // consequence, not the cause. So is an instance that could not be made.
        let consequence = match trap {
            Some(trap) => matches!(trap, Trap::UnreachableCodeReached | Trap::MemoryOutOfBounds),
            None => !in_guest,
        };
        match refused.filter(|_| consequence) {
            Some(Refused::Memory) => return Self::OutOfMemory(hit("memory", limits.memory)),
            Some(Refused::HostMemory(none)) => return Self::no_memory(none),
            Some(Refused::TableElements) => return Self::OutOfMemory(hit("table_elements", limits.table_elements)),
            None => {}
        }
        let too_many = [
            ("instance", hit("core_instances", limits.core_instances)),
            ("memory", hit("memories", MAX_MEMORIES)),
            ("table", hit("tables", MAX_TABLES)),
        ];
        for (counted, limit) in too_many {
            if words.contains(&format!("resource limit exceeded: {counted} count")) {
                return Self::OutOfMemory(limit);
            }
        }
        if words.contains("fuel allocated for hostcalls") {
            return match in_guest {
                true => Self::OutOfMemory(hit("output_bytes", limits.output_bytes)),
                false => Self::InvalidOutput(format!("the result is larger than {} bytes", limits.output_bytes)),
            };
        }
        match (trap, in_guest) {
            (Some(trap), _) => Self::Trapped(format!("{trap}{}", frames(error))),
            (None, true) => Self::Trapped(format!("{words}{}", frames(error))),
            // Nothing was called yet, so there is no output to blame.
            (None, false) if !called => Self::Host(words),
            // No guest code was running: what it returned could not be read.
            (None, false) => Self::InvalidOutput(format!("the result cannot be read: {words}")),
        }
    }
}

/// The backtrace, written by us: the engine would demangle the names, and a stranger's name can demangle to gigabytes.
fn frames(error: &wasmtime::Error) -> String {
    const FRAMES: usize = 20;
    const NAME_CHARS: usize = 100;
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let frames = backtrace.frames().iter().take(FRAMES).map(|frame| {
        let name: String = frame.func_name().unwrap_or_default().chars().take(NAME_CHARS).collect();
        let offset = frame.module_offset().unwrap_or_default();
        format!(
            "; at {offset:#x} in function {} {}",
            frame.func_index(),
            name.escape_default()
        )
    });
    bounded(&frames.collect::<String>())
}

/// What goes to the operator's log of one crash, however much there is to say.
fn bounded(text: &str) -> String {
    const CHARS: usize = 2_000;
    text.chars().take(CHARS).collect()
}

fn hit(name: &'static str, value: impl ToString) -> LimitHit {
    LimitHit {
        name,
        value: value.to_string(),
    }
}
