//! What tool calls used: what a bill could be made of.

use serde::{Deserialize, Serialize};

/// What one call used, over all its tries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallUsage {
    /// The plugin that serves the tool; empty for an unknown tool.
    pub plugin: String,
    /// How often the tool ran; 0 if it never did.
    pub tries: u32,
    /// From the start of the call to its end, waiting for permits included.
    pub duration_ms: u64,
    pub fuel: u64,
    pub peak_memory_bytes: u64,
    pub http_requests: u32,
    /// Bodies of requests.
    pub bytes_sent: u64,
    /// Bodies of responses.
    pub bytes_received: u64,
}

/// What the calls of a tool used together, on one day, for one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UsageRow {
    /// `2026-11-29`, UTC: when the calls ended.
    pub day: String,
    pub tenant: String,
    pub plugin: String,
    pub tool: String,
    pub calls: u64,
    /// Calls whose outcome isn't `ok`.
    pub failed: u64,
    pub duration_ms: u64,
    pub fuel: u64,
    /// The highest peak of all calls.
    pub peak_memory_bytes: u64,
    pub http_requests: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

impl UsageRow {
    /// Adds another row.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.calls, other.calls),
            (&mut self.failed, other.failed),
            (&mut self.duration_ms, other.duration_ms),
            (&mut self.fuel, other.fuel),
            (&mut self.http_requests, other.http_requests),
            (&mut self.bytes_sent, other.bytes_sent),
            (&mut self.bytes_received, other.bytes_received),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
    }
}
