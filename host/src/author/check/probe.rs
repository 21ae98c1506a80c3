//! Calls tools the way a host does, counts the calls, and stops when the check's time is over.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fixture::Fixture;
use super::upstream::{FakeUpstream, Sent};
use crate::telemetry::{AlertSettings, Emitter, EventBus};
use crate::tools::{ToolCall, ToolContext, ToolResult};
use crate::transcript::ToolInput;

/// Makes the calls of one check.
#[derive(Debug)]
pub(super) struct Probe {
    events: EventBus,
    session: String,
    cancel: CancellationToken,
    end: Instant,
    pub(super) calls: u64,
    tenants: u64,
}

/// A call that ended.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) result: ToolResult,
    /// The requests that it sent.
    pub(super) sent: Vec<Sent>,
}

impl Probe {
    pub(super) fn new(time: Duration, cancel: CancellationToken) -> Self {
        Self {
            events: EventBus::new(),
            session: uuid::Uuid::now_v7().to_string(),
            cancel,
            end: Instant::now() + time,
            calls: 0,
            tenants: 0,
        }
    }

    /// Whether the time is over or the user interrupted the check.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    pub(super) fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || Instant::now() >= self.end
    }

    /// A tenant for whom nothing is kept yet.
    pub(super) fn new_tenant(&mut self) -> String {
        self.tenants += 1;
        format!("check-{}", self.tenants)
    }

    /// Calls a tool. `None` if the check is over; a call that it cut short says nothing about the tool.
    pub(super) async fn call(&mut self, fixture: &Fixture, tenant: &str, name: &str, input: &Value) -> Option<Called> {
        if self.is_over() {
            return None;
        }
        self.calls += 1;
        let call = ToolCall {
            id: format!("check-{}", self.calls),
            name: name.to_owned(),
            input: ToolInput::read(&input.to_string()),
        };
        let emitter = Emitter::new(&self.events, &self.session, tenant, AlertSettings::default());
        let context = ToolContext {
            emitter: &emitter,
            deadline: self.end,
            cancel: &self.cancel,
        };
        let result = fixture.tools.call(call, &context).await;
        let sent = fixture
            .upstream
            .as_ref()
            .map(FakeUpstream::take_sent)
            .unwrap_or_default();
        (!self.is_over()).then_some(Called { result, sent })
    }

    /// Calls a tool on behalf of a tenant for whom nothing is kept yet.
    pub(super) async fn call_once(&mut self, fixture: &Fixture, name: &str, input: &Value) -> Option<Called> {
        let tenant = self.new_tenant();
        self.call(fixture, &tenant, name, input).await
    }
}
