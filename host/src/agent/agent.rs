//! The state that all sessions of a host share: the model, the tools and the ledger.

use std::sync::Arc;

use super::session::Session;
use super::settings::AgentSettings;
use super::tenant::{self, DEFAULT_TENANT, TenantNameError};
use crate::ledger::{BudgetSettings, Ledger};
use crate::model::{Model, ToolDefinition, ToolDefinitions};
use crate::resilience::{BreakerStats, Override};
use crate::telemetry::{AlertSettings, Emitter, EventBus};
use crate::tools::ToolSet;

/// A model with tools, from which sessions are opened. Cheap to clone: clones share everything.
#[derive(Clone, Debug)]
pub struct Agent {
    shared: Arc<Shared>,
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
}

impl Agent {
    pub fn new(parts: AgentParts) -> Self {
        let definitions = definitions(&parts.tools);
        Self {
            shared: Arc::new(Shared { parts, definitions }),
        }
    }

    /// The same agent with another model. It shares everything else with this one.
    #[must_use]
    pub fn with_model(&self, model: Arc<dyn Model>) -> Self {
        let Shared { parts, definitions } = &*self.shared;
        let parts = AgentParts {
            settings: parts.settings.clone(),
            max_tokens: parts.max_tokens,
            temperature: parts.temperature,
            model,
            tools: parts.tools.clone(),
            ledger: parts.ledger.clone(),
            budget: parts.budget.clone(),
            alerts: parts.alerts.clone(),
            events: parts.events.clone(),
        };
        let definitions = definitions.clone();
        Self {
            shared: Arc::new(Shared { parts, definitions }),
        }
    }

    /// Opens a conversation for the default tenant.
    pub fn session(&self) -> Session {
        Session::new(self.clone(), DEFAULT_TENANT)
    }

    /// Opens a conversation for a tenant.
    ///
    /// # Errors
    ///
    /// If the tenant name is invalid.
    pub fn session_for(&self, tenant: &str) -> Result<Session, TenantNameError> {
        tenant::check(tenant)?;
        Ok(Session::new(self.clone(), tenant))
    }

    pub fn tools(&self) -> &ToolSet {
        &self.shared.parts.tools
    }

    pub fn ledger(&self) -> &Ledger {
        &self.shared.parts.ledger
    }

    pub fn events(&self) -> &EventBus {
        &self.shared.parts.events
    }

    pub(super) fn parts(&self) -> &AgentParts {
        &self.shared.parts
    }

    pub(super) fn definitions(&self) -> &ToolDefinitions {
        &self.shared.definitions
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

fn definitions(tools: &ToolSet) -> ToolDefinitions {
    tools
        .tools()
        .map(|tool| ToolDefinition {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input_schema: Arc::clone(tool.input_schema()),
        })
        .collect()
}
