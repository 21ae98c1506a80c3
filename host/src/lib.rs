//! Cofferdam: a native host for LLM agents whose tools are untrusted WebAssembly components.
//!
//! # One run, told from end to end
//!
//! A [`agent::Host`] is built once from a [`config::Config`]: it compiles the plugins' components (or takes them from the
//! cache), asks each for its tools, opens the ledger and sets up the model client. A [`agent::Session`] is one
//! conversation; [`agent::Session::run`] answers one prompt:
//!
//! 1. The agent loop sends the conversation and the tools' definitions to the **model**. [`model::ModelStack`] is the one
//!    place where the layers around an attempt are ordered: deadline, retry, breaker, budget, time-out, HTTP. Before an
//!    attempt its worst case is reserved in the [`ledger`]; afterwards what the API reported is settled.
//! 2. On any other stop reason than `tool_use` the run ends, each reason with a decision of its own
//!    ([`agent::Ending`]). On `tool_use` all calls of the turn run side by side.
//! 3. Each call goes through [`tools::ToolSet::call`]: looked up, validated against the tool's JSON Schema, allowed by
//!    policy, breaker and concurrency limits, then run in the [`sandbox`]: a fresh store and instance with fuel, a deadline,
//!    a memory cap and nothing but the operator's grants. Whatever happens is one of sixteen [`tools::Outcome`]s, and a
//!    result that the model can read.
//! 4. The results go back in one message, in order, and the loop starts again.
//!
//! Every step emits an event ([`telemetry`]); metrics, alerts, logs, the terminal and observers listen to those, so nothing
//! can be forgotten by a caller.
//!
//! # Who may know whom
//!
//! Imports run one way: [`cli`] → [`agent`] → ([`model`], [`tools`]) → [`sandbox`]. [`resilience`], [`ledger`] and
//! [`telemetry`] know none of these but the plain words that events and prices are made of. [`model`] and [`tools`] do not
//! know each other: [`agent`] brings them together. What was said is kept in the neutral types of [`transcript`], which
//! imports nothing of ours. A test holds this (`tests/e2e/repository.rs`).

pub mod agent;
pub mod cli;
pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod ledger;
mod messages_api;
pub mod model;
pub mod resilience;
pub mod sandbox;
pub mod secret;
mod shown;
pub mod simulator;
mod sqlite;
pub mod telemetry;
pub mod tls;
mod toml_text;
pub mod tools;
pub mod transcript;
