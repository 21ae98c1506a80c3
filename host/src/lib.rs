//! Cofferdam: a native host for LLM agents whose tools are untrusted WebAssembly components.
//!
//! # One run, from end to end
//!
//! [`assembly::Host`] is built once from a [`config::Config`]: it compiles the plugins' components (or takes them from the
//! cache), asks each for its tools, opens the ledger and sets up the model client. An [`agent::Session`] is one conversation;
//! [`agent::Session::run`] answers one prompt:
//!
//! 1. The agent loop sends the conversation and the tools' definitions to the **model**. [`model::ModelStack`] is the one
//!    place where the layers around an attempt are ordered: deadline, retry, breaker, budget, time-out, HTTP. Before an
//!    attempt its worst case is reserved in the [`ledger`]; afterwards what the API reported is settled.
//! 2. On any other stop reason than `tool_use` the run ends, each reason with a decision of its own ([`events::Ending`]). On
//!    `tool_use` all calls of the turn run side by side.
//! 3. Each call goes through [`tools::ToolSet::call`]: looked up, validated against the tool's JSON Schema, allowed by
//!    policy, breaker and concurrency limits, then run in the [`sandbox`]: a fresh store and instance with fuel, a deadline,
//!    a memory cap and nothing but the operator's grants. Every call ends in one of sixteen [`events::Outcome`]s, and in a
//!    result that the model can read.
//! 4. The results go back in one message, in order, and the loop starts again.
//!
//! Every step emits an [`events::Event`]; metrics, alerts, logs, the terminal and observers listen to those ([`telemetry`]),
//! so no caller can forget one of them.
//!
//! # Who may import whom
//!
//! Imports run one way: [`cli`] → [`assembly`] → [`config`] → [`agent`] → ([`model`], [`tools`]) → [`sandbox`]. [`resilience`],
//! [`ledger`] and [`telemetry`] know none of these, and [`events`] and [`money`] know nobody. [`model`] and [`tools`] don't
//! know each other: [`agent`] brings them together. A test lists every allowed edge (`tests/e2e/repository.rs`).

pub mod agent;
pub mod assembly;
pub mod cli;
pub mod config;
pub mod events;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod ledger;
pub mod model;
pub mod money;
pub mod resilience;
pub mod sandbox;
pub mod secret;
pub mod simulator;
mod sqlite;
pub mod telemetry;
pub mod tls;
mod toml_text;
pub mod tools;
mod untrusted;
