//! Why a call has no result: classifies the errors of the engine.

use std::time::Duration;

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::backtrace;
use super::limiter::{MAX_MEMORIES, MAX_TABLES, Refused};
use crate::sandbox::fairness::NoMemory;
use crate::sandbox::limits::{LimitValue, Limits};

/// The host's reasons to stop a guest. They pass through the engine as its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stopped {
    #[error("the call's deadline has passed")]
    Deadline,
    #[error("the guest made more host calls than host_calls allows")]
    HostCalls,
    #[error("the command printed more than output_bytes allows")]
    Output,
}

/// A limit that the call hit, with its value.
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
#[non_exhaustive]
pub enum CallFailure {
    /// The tool rejected the model's input.
    InvalidInput(String),
    /// The host refused to make an argument of the input that begins with `-`, which the operator can allow.
    LeadingDash(String),
    /// The tool reported that it can't work right now.
    Unavailable {
        message: String,
        retry_after: Option<Duration>,
    },
    /// The tool reported that it failed, and that a retry won't help.
    Failed {
        message: String,
        /// Whether this says that something is wrong with the tool. An ordinary negative answer, such as the exit status 1 of a
        /// search without a match, doesn't.
        counts: bool,
    },
    Timeout(LimitHit),
    OutOfFuel(LimitHit),
    OutOfMemory(LimitHit),
    StackOverflow(LimitHit),
    /// The guest crashed or exited. The text is for the operator only.
    Trapped(String),
    /// The result breaks the contract.
    InvalidOutput(String),
    /// No room for another instance.
    Overloaded(String),
    /// The run that made the call was cancelled.
    Cancelled,
    /// A fault of the host. The text is for the operator only.
    Host(String),
}

/// For the operator.
impl std::fmt::Display for CallFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InvalidInput(text) | Self::LeadingDash(text) => {
                write!(f, "the tool does not accept the input: {text}")
            }
            Self::Unavailable { message, .. } => write!(f, "the tool is unavailable: {message}"),
            Self::Failed { message, .. } => write!(f, "the tool failed: {message}"),
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

    pub(super) fn no_memory(reason: NoMemory) -> Self {
        match reason {
            NoMemory::TooMuch { limit } => Self::OutOfMemory(hit("host_memory for one call", LimitValue::Bytes(limit))),
            NoMemory::TakenByOthers => {
                Self::Overloaded("other calls hold the memory that host_memory allows".to_owned())
            }
        }
    }

    /// Classifies the engine's error. `refused` is the limit that last denied memory or tables to the guest. `called` says
    /// whether the component was instantiated and its function entered.
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
                Stopped::Output => Self::InvalidOutput(format!(
                    "it has more bytes than output_bytes allows ({})",
                    LimitValue::Bytes(limits.output_bytes)
                )),
            };
        }
        if let Some(reason) = error.downcast_ref::<NoMemory>() {
            return Self::no_memory(*reason);
        }
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            return Self::Trapped(format!("the guest exited with status {}", exit.0));
        }
        if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            return Self::Overloaded(format!("{error:#}"));
        }
        // A trap has its own type. Its text is not matched, because the guest chose the names in its backtrace.
        let trap = error.downcast_ref::<Trap>();
        let in_guest = trap.is_some() || error.downcast_ref::<WasmBacktrace>().is_some();
        let text = match trap {
            Some(_) => String::new(),
            None => bounded(&error.root_cause().to_string()),
        };
        match trap {
            Some(Trap::OutOfFuel) => return Self::OutOfFuel(hit("fuel", limits.fuel)),
            Some(Trap::StackOverflow) => return Self::StackOverflow(hit("stack", LimitValue::Bytes(stack))),
            _ => {}
        }
        let table_full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
        if table_full || text.contains("handle limit exceeded") {
            return Self::OutOfMemory(hit("handles", limits.handles));
        }
        // When growth fails, the guest commonly aborts or dereferences a null pointer. The crash is then a consequence of the
        // limit, and so is a failed instantiation.
        let consequence = match trap {
            Some(trap) => matches!(trap, Trap::UnreachableCodeReached | Trap::MemoryOutOfBounds),
            None => !in_guest,
        };
        match refused.filter(|_| consequence) {
            Some(Refused::Memory) => return Self::OutOfMemory(hit("memory", LimitValue::Bytes(limits.memory))),
            Some(Refused::HostMemory(reason)) => return Self::no_memory(reason),
            Some(Refused::TableElements) => return Self::OutOfMemory(hit("table_elements", limits.table_elements)),
            None => {}
        }
        let too_many = [
            ("instance", hit("core_instances", limits.core_instances)),
            ("memory", hit("memories", MAX_MEMORIES)),
            ("table", hit("tables", MAX_TABLES)),
        ];
        for (counted, limit) in too_many {
            if text.contains(&format!("resource limit exceeded: {counted} count")) {
                return Self::OutOfMemory(limit);
            }
        }
        if text.contains("fuel allocated for hostcalls") {
            let output_bytes = LimitValue::Bytes(limits.output_bytes);
            return match in_guest {
                true => Self::OutOfMemory(hit("output_bytes", output_bytes)),
                false => Self::InvalidOutput(format!(
                    "the result is larger than output_bytes allows ({output_bytes})"
                )),
            };
        }
        match (trap, in_guest) {
            (Some(trap), _) => Self::Trapped(format!("{trap}{}", backtrace::display(error))),
            (None, true) => Self::Trapped(format!("{text}{}", backtrace::display(error))),
            // Nothing was called yet, so there is no result to read.
            (None, false) if !called => Self::Host(text),
            // No guest code was running, so the host failed to read the result.
            (None, false) => Self::InvalidOutput(format!("the result can't be read: {text}")),
        }
    }
}

/// Truncates the text of one crash for the operator's log.
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
