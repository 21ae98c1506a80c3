//! What is known of breakers beyond the life of a process, and what operators order of those that run.

use jiff::Timestamp;
use serde::Serialize;

use super::{Applied, Change, Store, StoreError};
use crate::events::BreakerState;
use crate::resilience::Override;

/// A breaker as its last change left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerRecord {
    /// `model:ID` or `tool:NAME`.
    pub name: String,
    /// The tenant whose calls it is for; `None`: of all.
    pub tenant: Option<String>,
    pub state: BreakerState,
    pub since: Timestamp,
    /// When an open one lets a probe through; `None` if it isn't open, or an operator holds it open.
    pub until: Option<Timestamp>,
    /// What is behind it: the address of the model's API, or the digest of the tool's component. Behind another one, it begins
    /// closed.
    pub about: String,
    /// What the failure was that opened it, if it is open for one.
    pub last_failure: Option<String>,
}

impl BreakerRecord {
    /// Whether an operator holds it open.
    pub fn is_held(&self) -> bool {
        self.state == BreakerState::Open && self.until.is_none()
    }
}

/// What an operator wants of every breaker of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BreakerOrder {
    /// Goes up with each order.
    pub(crate) seq: u64,
    pub(crate) name: String,
    pub(crate) to: Override,
}

impl Store {
    /// The breakers that have changed their state, as their last change left them, in the order of their names.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn breakers(&self) -> Result<Vec<BreakerRecord>, StoreError> {
        self.read(|backend| backend.breakers()).await
    }

    /// Overrides the breakers of this name in every host that uses this store: in those that run within two seconds, in others from
    /// their start on.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn order_breaker(&self, name: &str, to: Override) -> Result<(), StoreError> {
        let order = Change::OrderBreaker {
            name: name.to_owned(),
            to,
            at: Timestamp::now(),
        };
        self.change(vec![order]).await.map(drop)
    }

    /// Writes a change of state down, some time soon.
    pub(crate) fn record_breaker(&self, record: BreakerRecord) {
        self.commit(
            vec![Change::RecordBreaker(record)],
            |result: Result<Vec<Applied>, _>| {
                if let Err(error) = result {
                    tracing::warn!(%error, "could not write the state of a breaker");
                }
            },
        );
    }

    /// The orders after this one, oldest first. With `None`, the newest alone.
    pub(crate) async fn breaker_orders(&self, after: Option<u64>) -> Result<Vec<BreakerOrder>, StoreError> {
        self.read(move |backend| backend.breaker_orders(after)).await
    }
}
