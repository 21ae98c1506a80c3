//! Builds everything that a configuration describes, in one place. [`load_tools`] builds the tools; [`Host::builder`] adds the
//! model, the ledger and the agent.

mod breakers;
mod builder;
mod error;
mod host;
mod models;
mod tools;

pub use builder::HostBuilder;
pub use error::HostError;
pub use host::Host;
pub use tools::{load_tools, load_tools_in, open_sandbox};
