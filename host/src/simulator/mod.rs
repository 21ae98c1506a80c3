//! A scripted model over real HTTP, behind the Messages API and the Chat Completions API, for the demo, for tests and for any
//! client, and a simulated weather service.
//!
//! The simulator validates each request as the real API does (`check`), picks the script's next answer (`cursor`) and
//! sends it, intact or with a fault (`answer`, `plan`, `body`, `connection`). `docs/simulator.md` describes the format of a
//! script file. The simulator binds loopback addresses only, so nothing leaves the machine.

mod answer;
mod body;
mod chat;
mod check;
mod connection;
mod cursor;
mod dialect;
mod error;
mod format;
mod gzip;
mod json;
mod message;
mod models;
mod piece;
mod placeholder;
mod plan;
mod prompt_cache;
mod rate_limits;
mod record;
mod request;
mod route;
mod script;
mod server;
mod socket;
mod sse;
mod tool_search;
mod validate;
mod weather;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

pub use format::{ScriptError, ScriptProblem};
pub use rate_limits::RateLimitOptions;
pub use record::{ReceivedRequest, Watcher};
pub use script::{
    After, Answer, AnswerKind, ContentItem, ErrorAnswer, EventNames, Fault, FaultKind, FaultPoint, Insertion, ItemKind,
    LineEnding, MessageAnswer, RawAnswer, Repeat, Script, StreamOptions, ToolCall, ToolInput, UsageAnswer,
    UsageFigures, When,
};
pub use weather::{WeatherMode, WeatherService};

use connection::Server;
use server::Api;

/// The address and the limits of a simulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatorOptions {
    /// A loopback address. Default `127.0.0.1:0`: any free port.
    pub address: SocketAddr,
    /// Maximum concurrent connections, at least 1, default 256. Further ones wait in the kernel's accept queue.
    pub max_connections: usize,
    /// Requests kept for [`Simulator::requests`] and [`Simulator::watch`], default 1000. Together they hold at most
    /// 64 MiB of unparsed bytes.
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

/// Port 0 on the loopback interface: any free port.
fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// The error with which the simulator answers a request for a message with this body, of the newest version.
#[cfg(test)]
pub(crate) fn check_request(body: &serde_json::Value) -> Result<(), String> {
    check_request_with(body, "")
}

/// The same for a request with these betas.
#[cfg(test)]
pub(crate) fn check_request_with(body: &serde_json::Value, betas: &'static str) -> Result<(), String> {
    let betas = http::HeaderValue::from_static(betas);
    let headers = http::HeaderMap::from_iter([(http::HeaderName::from_static("anthropic-beta"), betas)]);
    let script = check::ScriptFacts::default();
    let rules = check::Rules::new(check::Purpose::Run, check::Version::Current, &headers, body, &script);
    check::body(body, &rules).map_err(|error| error.message)
}

/// The signature that the simulator gives to thinking.
#[cfg(test)]
pub(crate) fn signature_of(thinking: &str) -> String {
    message::thinking_signature(thinking)
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
    /// `InvalidInput` if the address isn't loopback, if `max_connections` is out of range, or if the script is invalid (the
    /// message lists every problem). Otherwise the error from binding the address, or from the missing runtime.
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

    /// The newest requests, oldest first. A request is listed before its answer is sent. Every call parses the stored
    /// bodies again; a body of many small values takes many times its size once parsed.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.api.requests()
    }

    /// Yields every request from now on, as it is answered. A slow watcher misses requests that were evicted meanwhile.
    pub fn watch(&self) -> Watcher {
        self.api.watch()
    }

    /// Stops listening and closes every connection.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}
