//! Breakers beyond the life of a process: their changes are written down, a new host begins where the last one was, and what an
//! operator orders reaches the hosts that run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::models::ModelGuards;
use crate::agent::{Agent, WeakAgent};
use crate::events::{BreakerState, Event, EventKind};
use crate::store::{BreakerRecord, Store, WeakStore};
use crate::telemetry::redact::scrub;

/// How often a host looks for orders.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The breakers of a host and of [those with another model](super::Host::with_model) that share its tools.
#[derive(Clone, Debug)]
pub(super) struct Breakers {
    pub(super) models: ModelGuards,
    dependencies: Arc<Dependencies>,
    store: WeakStore,
    /// Those that an order is for.
    agents: Arc<Mutex<Vec<WeakAgent>>>,
}

impl Breakers {
    /// Begins with the breakers as they were left, and from then on writes their changes down and follows orders.
    pub(super) async fn connect(store: Store, agent: &Agent, models: ModelGuards) -> Self {
        let breakers = Self {
            dependencies: Arc::new(Dependencies::new(models.clone(), agent)),
            models,
            store: store.downgrade(),
            agents: Arc::new(Mutex::new(vec![agent.downgrade()])),
        };
        if let Some(last_order) = restore(&store, agent, &breakers.dependencies, |_| true).await {
            tokio::spawn(follow_orders(
                breakers.store.clone(),
                breakers.agents.clone(),
                last_order,
            ));
        }
        record(breakers.store.clone(), agent, breakers.dependencies.clone());
        breakers
    }

    /// The same for an agent with another model, some of whose breakers are new.
    pub(super) async fn join(&self, agent: &Agent, new: &[String]) {
        if let Some(store) = self.store.upgrade() {
            restore(&store, agent, &self.dependencies, |name| {
                new.iter().any(|new| new == name)
            })
            .await;
        }
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.retain(|agent| agent.upgrade().is_some());
        agents.push(agent.downgrade());
    }
}

/// What is behind the breakers of a host.
#[derive(Debug)]
struct Dependencies {
    models: ModelGuards,
    /// The digests of the tools' components, by the names of their breakers.
    components: HashMap<String, String>,
}

impl Dependencies {
    fn new(models: ModelGuards, agent: &Agent) -> Self {
        let tools = agent.tools().tools();
        Self {
            models,
            components: tools
                .map(|tool| (format!("tool:{}", tool.name), tool.digest()))
                .collect(),
        }
    }

    fn of(&self, breaker: &str) -> String {
        let digest = self.components.get(breaker).cloned();
        digest.or_else(|| self.models.address(breaker)).unwrap_or_default()
    }

    fn record(&self, event: &Event) -> Option<BreakerRecord> {
        let EventKind::BreakerChanged {
            name,
            to,
            retry_after_ms,
            last_failure,
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
            about: self.of(name),
            last_failure: last_failure.as_deref().map(|failure| scrub(failure).into_owned()),
        })
    }
}

/// Opens the chosen breakers that were open when their last host ended. Returns the number of the last order, which is part of that.
async fn restore(
    store: &Store,
    agent: &Agent,
    dependencies: &Dependencies,
    is_chosen: impl Fn(&str) -> bool,
) -> Option<u64> {
    let (last, records) = match (store.breaker_orders(None).await, store.breakers().await) {
        (Ok(last), Ok(records)) => (last, records),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "can't read how breakers were left, so all of them begin closed");
            return None;
        }
    };
    let now = Timestamp::now();
    for record in records.into_iter().filter(|record| is_chosen(&record.name)) {
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
        if agent.restore_breaker(&record, left) {
            let last_failure = record.last_failure.as_deref();
            tracing::info!(breaker = record.name, since = %record.since, last_failure, "a breaker is open, as it was left");
        }
    }
    Some(last.last().map_or(0, |order| order.seq))
}

/// Writes every change of a breaker of this host down.
fn record(store: WeakStore, agent: &Agent, dependencies: Arc<Dependencies>) {
    agent.events().on_breaker_change(move |event| {
        if let (Some(store), Some(record)) = (store.upgrade(), dependencies.record(event)) {
            store.record_breaker(record);
        }
    });
}

/// Follows the orders after this one, as long as an agent lives.
async fn follow_orders(store: WeakStore, agents: Arc<Mutex<Vec<WeakAgent>>>, mut after: u64) {
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
        let agents: Vec<Agent> = {
            let agents = agents.lock().unwrap_or_else(PoisonError::into_inner);
            agents.iter().filter_map(WeakAgent::upgrade).collect()
        };
        if agents.is_empty() {
            return;
        }
        for order in orders {
            after = order.seq;
            // They share breakers, and an order that was followed changes nothing the second time.
            let followed = agents
                .iter()
                .filter(|agent| agent.override_breaker(&order.name, order.to));
            if followed.count() > 0 {
                tracing::info!(
                    breaker = order.name,
                    order = order.to.name(),
                    "an operator overrides a breaker"
                );
            }
        }
    }
}
