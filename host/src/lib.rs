//! Cofferdam: a native host for LLM agents whose tools are untrusted WebAssembly components.
//!
//! # One run, from end to end
//!
//! [`assembly::Host`] is built once from a [`config::Config`]: it compiles the plugins' components (or loads them from the
//! cache), lists each plugin's tools, opens the ledger and sets up the model client. An [`agent::Session`] is one
//! conversation; [`agent::Session::run`] answers one prompt:
//!
//! 1. The agent loop sends the conversation and the tool definitions to the **model**. [`model::ModelChain`] asks the models in
//!    turn; around each attempt, [`model::ModelStack`] orders the layers in one place: deadline, retry, breaker, rate limits, budget, timeout,
//!    HTTP. It reserves an attempt's maximum cost in the [`ledger`] before the attempt, and settles the cost that the API
//!    reported afterwards.
//! 2. On `tool_use`, all calls of the turn run concurrently. On any other stop reason the run ends, and each reason maps to its
//!    own [`events::Ending`].
//! 3. Each call goes through [`tools::ToolSet::call`]: it looks the tool up, validates the input against the tool's JSON
//!    Schema, and checks the policy, the breaker and the concurrency limits. Then it runs the call in the [`sandbox`]: a fresh
//!    store and instance with fuel, a deadline, a memory cap and only the operator's grants. Every call ends in one of sixteen
//!    [`events::Outcome`]s, with a result that the model can read.
//! 4. The results go back in one message, in order, and the loop starts again.
//!
//! Every step emits an [`events::Event`]. Metrics, alerts, logs, the terminal and observers subscribe to these events
//! ([`telemetry`]), so no caller has to update each of them.
//!
//! # Allowed imports
//!
//! Imports run one way: [`cli`] → [`assembly`] → [`config`] → [`agent`] → ([`model`], [`tools`]) → [`sandbox`]. [`resilience`],
//! [`ledger`], [`store`] and [`telemetry`] import none of these, [`events`] imports [`money`] alone, and [`money`] nothing. [`model`] and [`tools`] don't
//! import each other: [`agent`] connects them. A test lists every allowed edge (`tests/e2e/repository.rs`).

pub mod agent;
pub mod assembly;
pub mod author;
mod causes;
mod chat_api;
pub mod cli;
pub mod config;
pub mod events;
/// Types of other libraries in the interface of this one, in the versions that it uses.
pub mod external {
    pub use bytes::Bytes;
    pub use jiff::Timestamp;
    pub use rustls::ClientConfig;
    pub use tokio_util::sync::CancellationToken;
    pub use url::Url;
}
#[cfg(not(feature = "fault-points"))]
mod fault;
#[cfg(feature = "fault-points")]
#[doc(hidden)]
pub mod fault;
mod file_identity;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod json_text;
pub mod ledger;
pub mod mcp;
mod messages_api;
pub mod model;
pub mod money;
mod near;
mod panics;
mod regular_file;
pub mod resilience;
pub mod sandbox;
pub mod secret;
pub mod session;
mod sha256;
pub mod simulator;
mod sqlite;
pub mod store;
pub mod telemetry;
pub mod tls;
mod toml_text;
pub mod tools;
pub mod transcript;
pub mod untrusted;
