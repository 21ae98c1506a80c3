//! The trait that a vendor implements: one attempt at one request, without retries or limits.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use url::{Host, Url};

use super::{BoxFuture, ModelError, ModelRequest, ModelResponse};
use crate::events::Usage;
use crate::secret::Secret;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// The Anthropic Messages API.
    Anthropic,
    /// The same API served by the simulator, only on this machine and without the key.
    Simulated,
}

/// Whether requests to `url` stay on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// `[model]` of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    pub provider: ProviderKind,
    pub model: String,
    /// Not used with [`ProviderKind::Simulated`].
    pub api_key: Option<Secret>,
    /// Without the path `/v1/messages`.
    pub base_url: Url,
    /// Maximum tokens of one answer; default 4096.
    pub max_tokens: u32,
    pub stream: bool,
    /// Default 5 s.
    pub connect_timeout: Duration,
    /// The longest silence within an answer, default 60 s. It doesn't bound a server that keeps sending.
    pub idle_timeout: Duration,
    /// The longest duration of one attempt, default 5 min.
    pub attempt_timeout: Duration,
    /// Unset by default, because the newest models refuse it.
    pub temperature: Option<f64>,
}

impl ModelSettings {
    /// Warnings about settings that work but are risky.
    pub fn warnings(&self) -> Vec<String> {
        let Self { provider, base_url, .. } = self;
        let is_unencrypted =
            *provider == ProviderKind::Anthropic && base_url.scheme() == "http" && !is_loopback(base_url);
        let warning = is_unencrypted.then(|| {
            format!("the API key goes to {base_url} unencrypted, so others on the network can read it; use https")
        });
        warning.into_iter().collect()
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            provider: ProviderKind::Anthropic,
            model: "claude-sonnet-5-5".to_owned(),
            api_key: None,
            base_url: default_base_url(),
            max_tokens: 4_096,
            stream: true,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(300),
            temperature: None,
        }
    }
}

#[allow(clippy::expect_used)] // A constant, checked by the test below.
fn default_base_url() -> Url {
    Url::parse("https://api.anthropic.com").expect("the default base URL is a URL")
}

/// A request ready to be sent. All attempts of a turn share its body.
#[derive(Clone, Debug)]
pub struct PreparedRequest<'a> {
    pub request: &'a ModelRequest<'a>,
    pub body: Bytes,
}

/// One vendor's API. An implementation makes exactly one attempt per call. [`ModelStack`](super::ModelStack) adds retries,
/// time-outs, budget and breaker. Dropping the future must stop the attempt.
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// The model's id, as requests name it.
    fn model(&self) -> &str;

    /// The URL of requests, for messages: without user part and query.
    fn endpoint(&self) -> String;

    /// Serialises a request. Called once per turn, before any attempt. The prompt's tokens are estimated from the body's
    /// length, so return the body as sent.
    ///
    /// # Errors
    ///
    /// The request has no serialised form. Nothing was sent.
    fn serialize(&self, request: &ModelRequest<'_>) -> Result<Bytes, ModelError>;

    /// Makes one attempt. Reports usage, text and the request id to `progress` as they arrive, because it outlives an attempt
    /// that is cut short.
    fn attempt<'a>(
        &'a self,
        request: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>>;
}

/// What is known about an attempt's usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measured {
    /// The attempt never started, so nothing was sent.
    #[default]
    NotStarted,
    /// The request may have been sent, and the API has reported no usage.
    NoUsage,
    /// The usage reported so far.
    Partial(Usage),
    /// The API's final usage.
    Complete(Usage),
}

/// The progress of one attempt.
pub struct Progress<'a> {
    on_text: Box<dyn Fn(&str) + Send + Sync + 'a>,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    measured: Measured,
    request_id: Option<String>,
    time_to_first_token: Option<Duration>,
    text_shown: bool,
}

impl<'a> Progress<'a> {
    /// `on_text` gets every piece of the answer's text as it arrives.
    pub fn new(on_text: impl Fn(&str) + Send + Sync + 'a) -> Self {
        Self {
            on_text: Box::new(on_text),
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Call before sending: from here on the request may reach the API and be billed.
    pub fn begin(&self) {
        self.state().measured = Measured::NoUsage;
    }

    /// Records a piece of a streamed answer that isn't text: thinking, the input of a tool call.
    pub fn token(&self) {
        self.state()
            .time_to_first_token
            .get_or_insert_with(|| self.started.elapsed());
    }

    /// Records a piece of a streamed answer's text.
    pub fn text(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.token();
        self.state().text_shown = true;
        (self.on_text)(text);
    }

    pub fn usage_so_far(&self, usage: Usage) {
        self.state().measured = Measured::Partial(usage);
    }

    pub fn final_usage(&self, usage: Usage) {
        self.state().measured = Measured::Complete(usage);
    }

    pub fn set_request_id(&self, id: &str) {
        self.state().request_id = Some(id.to_owned());
    }

    pub fn measured(&self) -> Measured {
        self.state().measured
    }

    pub fn request_id(&self) -> Option<String> {
        self.state().request_id.clone()
    }

    pub fn time_to_first_token(&self) -> Option<Duration> {
        self.state().time_to_first_token
    }

    pub fn text_shown(&self) -> bool {
        self.state().text_shown
    }

    /// The time since this value was created.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A panic can't leave this plain data inconsistent, so a poisoned lock is still usable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("state", &*self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_default_base_url_parses() {
        assert_eq!(ModelSettings::default().base_url.as_str(), "https://api.anthropic.com/");
    }

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        let loopback = |url: &&str| is_loopback(&Url::parse(url).unwrap());
        let here = [
            "http://127.0.0.1:8080/v1",
            "http://127.8.9.1",
            "http://[::1]:1",
            "https://LOCALHOST",
            "http://0x7f.1",
        ];
        let elsewhere = [
            "https://api.anthropic.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://0.0.0.0",
            "http://[::]",
            "http://192.168.0.1",
            "file:///",
        ];
        assert!(here.iter().all(loopback));
        assert!(!elsewhere.iter().any(loopback));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_token_is_the_first_of_any_kind() {
        let progress = Progress::new(|_| ());
        tokio::time::advance(Duration::from_millis(200)).await;
        progress.token();
        tokio::time::advance(Duration::from_millis(100)).await;
        progress.text("hello");
        assert_eq!(progress.time_to_first_token(), Some(Duration::from_millis(200)));
        assert!(progress.text_shown());
    }
}
