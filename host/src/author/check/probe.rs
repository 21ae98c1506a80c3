//! Calls tools the way a host does, counts the calls, and stops when the check's time is over.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::{AlertSettings, Emitter, EventBus};
use crate::tools::{ToolCall, ToolContext, ToolResult, ToolSet};
use crate::transcript::ToolInput;

/// The tenant that the calls are made for. It has nothing in common with those of a host.
const TENANT: &str = "check";

/// Makes the calls of one check.
#[derive(Debug)]
pub(super) struct Probe {
    emitter: Emitter,
    cancel: CancellationToken,
    end: Instant,
    pub(super) calls: u64,
}

impl Probe {
    pub(super) fn new(time: Duration, cancel: CancellationToken) -> Self {
        let id = uuid::Uuid::now_v7().to_string();
        Self {
            emitter: Emitter::new(&EventBus::new(), &id, TENANT, AlertSettings::default()),
            cancel,
            end: Instant::now() + time,
            calls: 0,
        }
    }

    /// Whether the time is over or the user interrupted the check.
    pub(super) fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || Instant::now() >= self.end
    }

    /// Calls a tool. `None` if the check is over; a call that it cut short says nothing about the tool.
    pub(super) async fn call(&mut self, tools: &ToolSet, name: &str, input: &Value) -> Option<ToolResult> {
        if self.is_over() {
            return None;
        }
        self.calls += 1;
        let call = ToolCall {
            id: format!("check-{}", self.calls),
            name: name.to_owned(),
            input: ToolInput::read(&input.to_string()),
        };
        let context = ToolContext {
            emitter: &self.emitter,
            deadline: self.end,
            cancel: &self.cancel,
        };
        let result = tools.call(call, &context).await;
        (!self.is_over()).then_some(result)
    }
}
