//! The states of a circuit breaker and its changes of state. The breaker itself is in
//! [`resilience`](crate::resilience).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl BreakerState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A change of state. The caller that triggered it reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub name: String,
    pub from: BreakerState,
    pub to: BreakerState,
    /// Time until the breaker admits a probe; `None` unless failures opened it.
    pub retry_after: Option<Duration>,
    /// What failed last, if failures opened it.
    pub last_failure: Option<Arc<str>>,
}
