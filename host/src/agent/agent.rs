//! The state that all sessions of a host share: the model, the tools and the ledger.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::session::Session;
use super::settings::AgentSettings;
use super::tenant::{self, DEFAULT_TENANT, SessionNameError, TenantNameError};
use crate::ledger::{BudgetSettings, Ledger};
use crate::model::{Model, ToolDefinition, ToolDefinitions};
use crate::resilience::{BreakerStats, Override};
use crate::sha256::sha256;
use crate::store::{BreakerRecord, Store, StoreError};
use crate::telemetry::{AlertSettings, Emitter, EventBus};
use crate::tools::ToolSet;

/// A model with tools, from which sessions are opened. Cheap to clone: clones share everything.
#[derive(Clone, Debug)]
pub struct Agent {
    shared: Arc<Shared>,
}

/// An agent that somebody else keeps.
#[derive(Clone, Debug)]
pub(crate) struct WeakAgent(Weak<Shared>);

impl WeakAgent {
    pub(crate) fn upgrade(&self) -> Option<Agent> {
        self.0.upgrade().map(|shared| Agent { shared })
    }
}

/// The parts of an [`Agent`].
#[derive(Debug)]
pub struct AgentParts {
    pub settings: AgentSettings,
    /// The maximum tokens of one answer.
    pub max_tokens: u32,
    pub temperature: Option<f64>,
    pub model: Arc<dyn Model>,
    pub tools: Arc<ToolSet>,
    pub ledger: Ledger,
    /// Where sessions are kept; `None`: they are not.
    pub store: Option<Store>,
    /// The limits that reports compare the ledger with.
    pub budget: BudgetSettings,
    pub alerts: AlertSettings,
    pub events: EventBus,
}

#[derive(Debug)]
struct Shared {
    parts: AgentParts,
    /// The tool definitions sent to the model.
    definitions: ToolDefinitions,
    system_sha256: String,
}

impl Agent {
    pub fn new(parts: AgentParts) -> Self {
        let definitions = definitions(&parts.tools);
        Self::with_definitions(parts, definitions)
    }

    fn with_definitions(parts: AgentParts, definitions: ToolDefinitions) -> Self {
        let system_sha256 = sha256(&parts.settings.system);
        Self {
            shared: Arc::new(Shared {
                parts,
                definitions,
                system_sha256,
            }),
        }
    }

    /// The same agent with another model. It shares everything else with this one.
    #[must_use]
    pub fn with_model(&self, model: Arc<dyn Model>) -> Self {
        let Shared { parts, definitions, .. } = &*self.shared;
        let parts = AgentParts {
            settings: parts.settings.clone(),
            max_tokens: parts.max_tokens,
            temperature: parts.temperature,
            model,
            tools: parts.tools.clone(),
            ledger: parts.ledger.clone(),
            store: parts.store.clone(),
            budget: parts.budget.clone(),
            alerts: parts.alerts.clone(),
            events: parts.events.clone(),
        };
        Self::with_definitions(parts, definitions.clone())
    }

    /// Opens a conversation for the tenant of the [settings](AgentSettings::tenant).
    pub fn session(&self) -> Session {
        Session::new(self.clone(), &self.parts().settings.tenant)
    }

    /// Opens a conversation for a tenant.
    ///
    /// # Errors
    ///
    /// If the tenant name is invalid.
    pub fn session_for(&self, tenant: &str) -> Result<Session, TenantNameError> {
        tenant::check_tenant(tenant)?;
        Ok(Session::new(self.clone(), tenant))
    }

    /// Opens a conversation for a tenant, with an id that others can name it by.
    ///
    /// # Errors
    ///
    /// If the tenant name or the id is invalid. That the id is taken shows when the session is first written: the report of its first run
    /// has `session_exists`, or `session_in_use` while somebody drives it. To open a session or go on with it, [`Self::reopen`] it, and open
    /// it where that says [`Unknown`](crate::session::SessionError::Unknown).
    ///
    /// An id is one session's, whatever its tenant. If tenants choose ids, begin them with the tenant's name and a colon, which no name of a
    /// tenant has: otherwise one could take another one's ids, and find out which there are.
    pub fn session_named(&self, tenant: &str, id: &str) -> Result<Session, SessionNameError> {
        tenant::check_tenant(tenant)?;
        tenant::check_session_id(id)?;
        Ok(Session::named(self.clone(), tenant, id.to_owned()))
    }

    /// Takes a kept session of a tenant over, to go on with it. What differs from when it was last driven is written down in it, and
    /// returned by [`Session::changes`].
    ///
    /// # Errors
    ///
    /// There is no such session, a process that lives drives it, or it can't be read. Without a store, there is none.
    pub async fn reopen(&self, tenant: &str, id: &str) -> Result<Session, StoreError> {
        Session::reopen(self.clone(), tenant, id).await
    }

    pub fn tools(&self) -> &ToolSet {
        &self.shared.parts.tools
    }

    pub fn ledger(&self) -> &Ledger {
        &self.shared.parts.ledger
    }

    /// Where sessions are kept; `None`: they are not.
    pub fn store(&self) -> Option<&Store> {
        self.shared.parts.store.as_ref()
    }

    pub fn events(&self) -> &EventBus {
        &self.shared.parts.events
    }

    /// The id of the model that is asked first.
    pub fn model(&self) -> &str {
        self.parts().model.model()
    }

    pub(super) fn parts(&self) -> &AgentParts {
        &self.shared.parts
    }

    /// The digest of the system prompt, in hexadecimal.
    pub(super) fn system_sha256(&self) -> &str {
        &self.shared.system_sha256
    }

    pub(super) fn definitions(&self) -> &ToolDefinitions {
        &self.shared.definitions
    }

    /// For somebody who doesn't keep it.
    pub(crate) fn downgrade(&self) -> WeakAgent {
        WeakAgent(Arc::downgrade(&self.shared))
    }

    /// Opens a breaker as another process left it, of a tenant or, without one, of all. Returns false if there is none of this name. See
    /// [`Breaker::restore`](crate::resilience::Breaker::restore).
    pub(crate) fn restore_breaker(&self, left: &BreakerRecord, open_for: Option<Duration>) -> bool {
        let last_failure = left.last_failure.as_deref();
        let of_model = self.parts().model.breakers();
        if let Some(breaker) = of_model.iter().find(|breaker| breaker.name() == left.name) {
            breaker.restore(open_for, last_failure);
            return true;
        }
        self.tools()
            .restore_breaker(&left.name, left.tenant.as_deref(), open_for, last_failure)
    }

    /// The breakers that a tenant's calls go through: the model's, which all tenants share, and the tenant's own for each tool.
    pub fn breakers(&self, tenant: &str) -> Vec<BreakerStats> {
        let of_model = self.parts().model.breakers();
        let of_model = of_model.iter().map(|breaker| breaker.stats());
        of_model.chain(self.tools().breakers(tenant)).collect()
    }

    /// Overrides the state of the breaker with this name, for all tenants, and emits an event. Returns false if no breaker has
    /// this name.
    pub fn override_breaker(&self, name: &str, to: Override) -> bool {
        let AgentParts {
            model,
            tools,
            alerts,
            events,
            ..
        } = &self.shared.parts;
        let of_model = model.breakers().into_iter().find(|breaker| breaker.name() == name);
        let of_model = of_model.map(|breaker| {
            let transition = breaker.apply_override(to);
            transition
                .map(|transition| (DEFAULT_TENANT.into(), transition))
                .into_iter()
                .collect()
        });
        let Some(moved) = of_model.or_else(|| tools.override_breaker(DEFAULT_TENANT, name, to)) else {
            return false;
        };
        for (tenant, transition) in moved {
            // The empty session id: this event belongs to no session.
            Emitter::new(events, "", &tenant, alerts.clone()).emit(transition.into());
        }
        true
    }
}

/// The tools as the model reads them.
pub fn definitions(tools: &ToolSet) -> ToolDefinitions {
    tools
        .tools()
        .map(|tool| ToolDefinition {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input_schema: Arc::clone(tool.input_schema()),
            always_load: tool.always_load,
        })
        .collect()
}
