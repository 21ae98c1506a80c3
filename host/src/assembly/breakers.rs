//! Breakers beyond the life of a process: their changes are written down, a new host begins where the last one was, and what an
//! operator orders reaches the hosts that run.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::agent::{Agent, WeakAgent};
use crate::events::{BreakerState, Event, EventKind};
use crate::store::{BreakerRecord, Store, WeakStore};

/// How often a host looks for orders.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is behind the breakers of a host.
#[derive(Debug)]
pub(super) struct Dependencies {
    /// The addresses of the models' APIs, without a password, by the names of their breakers.
    models: HashMap<String, String>,
    /// The digests of the tools' components, by the names of their breakers.
    components: HashMap<String, String>,
}

impl Dependencies {
    pub(super) fn new(models: Vec<(String, String)>, agent: &Agent) -> Self {
        let tools = agent.tools().tools();
        Self {
            models: models.into_iter().collect(),
            components: tools
                .map(|tool| (format!("tool:{}", tool.name), tool.digest()))
                .collect(),
        }
    }

    fn of(&self, breaker: &str) -> &str {
        let mut known = [&self.components, &self.models].into_iter();
        known.find_map(|known| known.get(breaker)).map_or("", String::as_str)
    }

    fn record(&self, event: &Event) -> Option<BreakerRecord> {
        let EventKind::BreakerChanged {
            name,
            to,
            retry_after_ms,
            ..
        } = &event.kind
        else {
            return None;
        };
        let is_of_tool = self.components.contains_key(name);
        Some(BreakerRecord {
            name: name.clone(),
            // All tenants share the model's.
            tenant: is_of_tool.then(|| event.tenant.to_string()),
            state: *to,
            since: event.at,
            until: retry_after_ms.and_then(|wait| event.at.checked_add(Duration::from_millis(wait)).ok()),
            about: self.of(name).to_owned(),
        })
    }
}

/// Opens the breakers that were open when their last host ended. Returns the number of the last order, which is part of that.
pub(super) async fn restore(store: &Store, agent: &Agent, dependencies: &Dependencies) -> Option<u64> {
    let (last, records) = match (store.breaker_orders(None).await, store.breakers().await) {
        (Ok(last), Ok(records)) => (last, records),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "can't read how breakers were left, so all of them begin closed");
            return None;
        }
    };
    let now = Timestamp::now();
    for record in records {
        let is_same = record.is_held() || record.about == dependencies.of(&record.name);
        // A half-open one has let a probe through that has not failed: its host ended before the next.
        if record.state != BreakerState::Open || !is_same {
            continue;
        }
        let left = match record.is_held() {
            true => None,
            // What has passed is over, and the next call is a probe.
            false => Some(record.until.map_or(Duration::ZERO, |until| {
                Duration::try_from(until.duration_since(now)).unwrap_or_default()
            })),
        };
        if agent.restore_breaker(&record.name, record.tenant.as_deref(), left) {
            tracing::info!(breaker = record.name, since = %record.since, "a breaker is open, as it was left");
        }
    }
    Some(last.last().map_or(0, |order| order.seq))
}

/// Writes every change of a breaker of this host down.
pub(super) fn record(store: WeakStore, agent: &Agent, dependencies: Dependencies) {
    agent.events().on_breaker_change(move |event| {
        if let (Some(store), Some(record)) = (store.upgrade(), dependencies.record(event)) {
            store.record_breaker(record);
        }
    });
}

/// Follows the orders after this one, as long as the host lives.
pub(super) async fn follow_orders(store: WeakStore, agent: WeakAgent, mut after: u64) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(store) = store.upgrade() else { return };
        let orders = store.breaker_orders(Some(after)).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "can't read the orders to breakers");
            Vec::new()
        });
        // Not held any longer than for one look, so that neither outlives its host for it.
        drop(store);
        let Some(agent) = agent.upgrade() else { return };
        for order in orders {
            after = order.seq;
            if agent.override_breaker(&order.name, order.to) {
                tracing::info!(
                    breaker = order.name,
                    order = order.to.name(),
                    "an operator overrides a breaker"
                );
            }
        }
    }
}
