//! From a configuration to what it describes: the one place where the parts are put together. [`load_tools`] makes what
//! serves tools, [`Host::builder`] puts model and money on top.

mod builder;
mod error;
mod host;
mod tools;

pub use builder::HostBuilder;
pub use error::HostError;
pub use host::Host;
pub use tools::{load_tools, open_sandbox};
