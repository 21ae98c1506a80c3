//! A scripted Messages API on loopback, over real HTTP, for the demo, for tests and for anybody's client; and a
//! simulated weather service beside it.
//!
//! The simulator checks what it receives as the real API does (`check`), takes the script's next answer for it
//! (`cursor`) and sends that, well or badly (`answer`, `body`, `connection`). The format of a script file is told in
//! `docs/simulator.md`. Nothing here leaves the machine: only loopback addresses are bound.

mod answer;
mod body;
mod check;
mod connection;
mod cursor;
mod error;
mod format;
mod placeholder;
mod record;
mod request;
mod script;
mod server;
mod sse;
mod validate;
mod weather;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

pub use format::{ScriptError, ScriptProblem};
pub use record::{ReceivedRequest, Watcher};
pub use script::{
    After, Answer, AnswerKind, ErrorAnswer, Fault, FaultKind, FaultPoint, MessageAnswer, RawAnswer, Repeat, Script,
    StreamOptions, ToolCall, ToolInput, UsageAnswer, UsageFigures, When,
};
pub use weather::{WeatherMode, WeatherService};

use connection::Server;
use server::Api;

/// How a simulator runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatorOptions {
    /// A loopback address; default `127.0.0.1:0`, any free port.
    pub address: SocketAddr,
    /// Connections served at once, from 1, default 256; more wait in the system's queue.
    pub max_connections: usize,
    /// Requests kept for [`Simulator::requests`] and [`Simulator::watch`], default 1000; together at most 64 MiB, as
    /// they came.
    pub keep_requests: usize,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            address: any_port(),
            max_connections: 256,
            keep_requests: 1_000,
        }
    }
}

/// Any free port of the loopback interface.
fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A running simulator. Dropping it stops it.
#[derive(Debug)]
pub struct Simulator {
    api: Arc<Api>,
    server: Server,
}

impl Simulator {
    /// Starts a simulator on the current tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput`: the address is not loopback, no connection may be served, or the script breaks a rule (all of them
    /// are named). Otherwise what binding the address failed with, or that there is no runtime.
    pub fn start(script: Script, options: SimulatorOptions) -> io::Result<Self> {
        let violations = validate::validate(&script);
        if !violations.is_empty() {
            let lines = violations.into_iter().map(|violation| match violation.answer {
                Some(index) => format!("answer {}: {}", index.saturating_add(1), violation.message),
                None => violation.message,
            });
            let problem = lines.collect::<Vec<_>>().join("; ");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let api = Arc::new(Api::new(script, options.keep_requests));
        let server = Server::start(options.address, options.max_connections, Arc::clone(&api))?;
        Ok(Self { api, server })
    }

    /// The base URL, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The newest requests, oldest first. A request is here before its answer is sent. Every call parses anew the bodies
    /// that are kept: one of many small values becomes many times as large, and that is the caller's.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.api.requests()
    }

    /// Every request from now on, as it is answered. Who falls behind the requests that are kept misses the oldest.
    pub fn watch(&self) -> Watcher {
        self.api.watch()
    }

    /// Stops listening and ends every connection.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}
