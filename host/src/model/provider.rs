//! The trait that a vendor implements: one attempt at one request, without retries or limits.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Notify;
use tokio::time::Instant;
use url::{Host, Url};

use super::http::{ClientError, ProxySetting};
use super::{BoxFuture, ModelError, ModelRequest, ModelResponse, ToolDefinition};
use crate::events::Usage;
use crate::fault::{self, Point};
use crate::messages_api::{CacheTtl, Effort, Thinking, headers};
use crate::resilience::AnnouncedLimit;
use crate::secret::Secret;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// The Anthropic Messages API.
    Anthropic,
    /// OpenAI's Chat Completions API, and the servers that follow it. Set [`ModelSettings::auth`] to
    /// [`AuthHeader::Bearer`] for it.
    OpenAi,
    /// The same API served by the simulator, only on this machine and without the key.
    Simulated,
}

/// The version of the Messages API that requests name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiVersion {
    /// Refuses sampling parameters on every model.
    #[default]
    V2026_10_21,
    /// For models and gateways that don't know the newer one.
    V2023_06_01,
}

impl ApiVersion {
    /// As in the header `anthropic-version`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2026_10_21 => headers::VERSION_2026_10_21,
            Self::V2023_06_01 => headers::VERSION_2023_06_01,
        }
    }

    /// Whether a request can have a `temperature`.
    pub const fn takes_sampling(self) -> bool {
        matches!(self, Self::V2023_06_01)
    }
}

/// The header that carries the API key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthHeader {
    /// `x-api-key: KEY`, the header that the vendor documents for HTTP. The API accepts it with every version, and every
    /// gateway made for the Messages API reads it, because it was the only one until October 2026.
    #[default]
    XApiKey,
    /// `Authorization: Bearer KEY`, as the vendor's SDKs send it since October 2026. Servers that also speak other APIs, such
    /// as vLLM and OpenRouter, read only this one.
    Bearer,
}

impl AuthHeader {
    /// The header with this key, marked as sensitive.
    pub(super) fn header(self, key: &Secret) -> Result<(HeaderName, HeaderValue), ClientError> {
        if !key.is_visible_ascii() {
            return Err(ClientError::BadApiKey);
        }
        let (name, value) = match self {
            Self::XApiKey => (headers::API_KEY, key.expose().to_owned()),
            Self::Bearer => (headers::AUTHORIZATION, format!("{}{}", headers::BEARER, key.expose())),
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| ClientError::BadApiKey)?;
        value.set_sensitive(true);
        Ok((HeaderName::from_static(name), value))
    }
}

/// The field of a request to a server of the Chat Completions API that bounds the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxTokensField {
    /// `max_tokens`, which almost every server reads.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`, which OpenAI's newer models require instead.
    MaxCompletionTokens,
}

impl MaxTokensField {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
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
    /// The environment variable that the key comes from, for messages. Default `ANTHROPIC_API_KEY`. `None`: requests have no key,
    /// which only [`ProviderKind::OpenAi`] can do without.
    pub api_key_env: Option<String>,
    /// The path `/v1/messages` follows. Where the URL already ends in `/v1` or `/v1/messages`, that part isn't repeated.
    ///
    /// With [`ProviderKind::OpenAi`], `/chat/completions` follows, and `/v1` before it if the URL has no path.
    pub base_url: Url,
    /// Not used with [`ProviderKind::OpenAi`].
    pub api_version: ApiVersion,
    pub auth: AuthHeader,
    /// Not used with [`ProviderKind::Simulated`].
    pub proxy: ProxySetting,
    /// Maximum tokens of one answer; default 4096.
    pub max_tokens: u32,
    /// Used only with [`ProviderKind::OpenAi`].
    pub max_tokens_field: MaxTokensField,
    pub stream: bool,
    /// Whether requests wait while the rate limits that the server announces would have it refuse them. Default true.
    pub follow_rate_limits: bool,
    /// Whether the API caches the prompt, so that the next request pays only for what is new in it. Default true. Servers of
    /// [`ProviderKind::OpenAi`] decide that themselves.
    pub prompt_cache: bool,
    pub prompt_cache_ttl: CacheTtl,
    /// Default 5 s.
    pub connect_timeout: Duration,
    /// The longest silence, default 60 s: while a request is sent, before a streamed answer begins, and within an answer. It
    /// doesn't bound a server that keeps sending.
    pub idle_timeout: Duration,
    /// The longest duration of one attempt, default 5 min.
    pub attempt_timeout: Duration,
    /// Unset by default. [`ApiVersion::V2026_10_21`] of the Messages API refuses it.
    pub temperature: Option<f64>,
    /// Unset by default: the model's own. With [`ProviderKind::OpenAi`] it is sent as `reasoning_effort`.
    pub effort: Option<Effort>,
    /// Unset by default: the model's own. Not with [`ProviderKind::OpenAi`].
    pub thinking: Option<Thinking>,
    /// Default [`ToolSearch::Auto`].
    pub tool_search: ToolSearch,
    /// Default [`ToolChanges::Auto`].
    pub tool_changes: ToolChanges,
}

/// Whether tools that change in the middle of a conversation are announced there. Then the list of tools stays as the conversation began,
/// so that its prompt stays cached. Otherwise requests list the tools of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolChanges {
    /// At Anthropic's own server or the simulator, if the vendor's page names the model. In November 2026 these were Claude Fable 5 and
    /// 5.1, Mythos 5 and 5.1, Opus 4.8, 5 and 5.5, Sonnet 5.5 and Haiku 5.5. The API itself doesn't say it.
    #[default]
    Auto,
    /// Not with [`ProviderKind::OpenAi`], whose API has no such messages.
    Always,
    Never,
}

/// Whether the model searches for tools, instead of reading all of their definitions with every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolSearch {
    /// If the definitions that it needn't always read have more than an estimated 10,000 tokens, at Anthropic's own server or the
    /// simulator. Claude Sonnet 4, Opus 4, Haiku 4.5 and newer models can search, which are all that Anthropic served in November
    /// 2026; other servers with its API often can't.
    #[default]
    Auto,
    /// Not with [`ProviderKind::OpenAi`], whose API has no such tool.
    Always,
    Never,
}

impl ModelSettings {
    /// Warnings about settings that are risky, or have no effect.
    pub fn warnings(&self) -> Vec<String> {
        let Self {
            provider,
            base_url,
            api_key,
            max_tokens_field,
            ..
        } = self;
        let sends_key = match provider {
            ProviderKind::Anthropic => true,
            ProviderKind::OpenAi => api_key.is_some(),
            ProviderKind::Simulated => false,
        };
        let is_unencrypted = sends_key && base_url.scheme() == "http" && !is_loopback(base_url);
        let warning = is_unencrypted.then(|| {
            format!("the API key goes to {base_url} unencrypted, so others on the network can read it; use https")
        });
        let is_unused = *provider != ProviderKind::OpenAi && *max_tokens_field != MaxTokensField::default();
        let unused = is_unused.then(|| {
            "`[model] max_tokens_field` has no effect without `provider = \"openai\"`; leave it out, or set the provider"
                .to_owned()
        });
        warning.into_iter().chain(unused).collect()
    }
}

impl ModelSettings {
    /// How long the API keeps what requests write to its prompt cache. `None`: they ask for no cache.
    pub fn cache_writes(&self) -> Option<CacheTtl> {
        (self.provider != ProviderKind::OpenAi && self.prompt_cache).then_some(self.prompt_cache_ttl)
    }

    /// Whether requests can have a `temperature`.
    pub fn takes_sampling(&self) -> bool {
        self.provider == ProviderKind::OpenAi || self.api_version.takes_sampling()
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            provider: ProviderKind::Anthropic,
            model: "claude-sonnet-5-5".to_owned(),
            api_key: None,
            api_key_env: Some("ANTHROPIC_API_KEY".to_owned()),
            base_url: default_base_url(),
            api_version: ApiVersion::default(),
            auth: AuthHeader::default(),
            proxy: ProxySetting::default(),
            max_tokens: 4_096,
            max_tokens_field: MaxTokensField::default(),
            stream: true,
            follow_rate_limits: true,
            prompt_cache: true,
            prompt_cache_ttl: CacheTtl::default(),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(300),
            temperature: None,
            effort: None,
            thinking: None,
            tool_search: ToolSearch::default(),
            tool_changes: ToolChanges::default(),
        }
    }
}

#[allow(clippy::expect_used)] // A constant, checked by the test below.
pub(super) fn default_base_url() -> Url {
    Url::parse("https://api.anthropic.com").expect("the default base URL is a URL")
}

/// A request ready to be sent. All attempts of a turn share its body.
#[derive(Clone, Debug)]
pub struct PreparedRequest<'a> {
    pub request: &'a ModelRequest<'a>,
    pub body: Bytes,
    /// Headers that not every request has.
    pub headers: HeaderMap,
    /// What of the body the model doesn't read.
    pub deferred: DeferredTools,
    /// Bytes of definitions that the model reads although it no longer has these tools, because a cached prompt has them.
    pub outdated_bytes: u64,
}

impl<'a> PreparedRequest<'a> {
    /// Without headers of its own, and with a body that the model reads as a whole.
    pub fn new(request: &'a ModelRequest<'a>, body: Bytes) -> Self {
        Self {
            request,
            body,
            headers: HeaderMap::new(),
            deferred: DeferredTools::default(),
            outdated_bytes: 0,
        }
    }
}

/// Definitions in a request's body that the model doesn't read, because it has to search for them first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeferredTools {
    /// Bytes of those that no search has found yet.
    pub bytes: u64,
    /// How many of these the searches of the answer may add to its prompt.
    pub findable_bytes: u64,
    /// How many searches these are. For each, the API reads the prompt once more.
    pub searches: u64,
}

/// One vendor's API. An implementation makes exactly one attempt per call. [`ModelStack`](super::ModelStack) adds retries,
/// time-outs, budget and breaker. Dropping the future must stop the attempt.
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// The model's id, as requests name it.
    fn model(&self) -> &str;

    /// The URL of requests, for messages: without user part and query.
    fn endpoint(&self) -> String;

    /// Where requests go, for messages: the endpoint, and a proxy in front of it.
    fn route(&self) -> String {
        self.endpoint()
    }

    /// Serialises a request. Called once per turn, before any attempt. The prompt's tokens are estimated from the body's
    /// length, so return the body as sent.
    ///
    /// # Errors
    ///
    /// The request has no serialised form. Nothing was sent.
    fn prepare<'a>(&self, request: &'a ModelRequest<'a>) -> Result<PreparedRequest<'a>, ModelError>;

    /// Another form of a request, if the error may be a refusal of the form that it has. `None`, the default: there is none.
    ///
    /// # Errors
    ///
    /// Like [`Self::prepare`].
    fn prepare_otherwise<'a>(
        &self,
        _request: &PreparedRequest<'a>,
        _error: &ModelError,
    ) -> Result<Option<PreparedRequest<'a>>, ModelError> {
        Ok(None)
    }

    /// The API has answered what [`Self::prepare_otherwise`] returned for this error, so [`Self::prepare`] can choose that form.
    fn accepts_otherwise(&self, _error: &ModelError) {}

    /// The tools whose definitions a conversation must keep, so that its later requests can say what changed. `None`, the default: no
    /// request says it.
    fn kept_tools<'t>(&self, _tools: &'t [ToolDefinition]) -> Option<Vec<&'t ToolDefinition>> {
        None
    }

    /// Asks the API how many tokens the prompt has, which must cost nothing. `None`, the default: it can't say. The caller bounds the
    /// time.
    fn count_tokens<'a>(&'a self, _request: &'a PreparedRequest<'a>) -> BoxFuture<'a, Option<u64>> {
        Box::pin(std::future::ready(None))
    }

    /// How long the API keeps what requests write to its prompt cache. `None`, the default: they write nothing that costs more than plain
    /// input.
    fn cache_writes(&self) -> Option<CacheTtl> {
        None
    }

    /// Makes one attempt. Reports the head of the answer, usage, output and the request id to `progress` as they arrive, because
    /// it outlives an attempt that is cut short.
    fn attempt<'a>(
        &'a self,
        request: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>>;
}

/// What is known about an attempt's usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measured {
    /// The API has not received the whole request, so there is nothing to bill: the attempt never started, its request was
    /// not sent to the end, or no server received it.
    #[default]
    NotStarted,
    /// The request may have been sent, and the API has reported no usage.
    NoUsage,
    /// The usage reported so far.
    Partial(Usage),
    /// The API's final usage.
    Complete(Usage),
}

/// A part of an answer that is billed by itself: by the price of its own model, and by the length of its own prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledPart {
    /// `None`: the model of the request.
    pub model: Option<String>,
    /// Whether the totals that the API reports leave it out.
    pub is_extra: bool,
    pub usage: Usage,
}

/// Whether and when a request was sent to its end. The connection reports it, possibly from another task.
#[derive(Clone, Debug, Default)]
pub struct Upload(Arc<OnceLock<Instant>>);

impl Upload {
    /// The last byte is sent.
    pub fn complete(&self) {
        // Only the first report counts.
        let _ = self.0.set(Instant::now());
    }

    pub fn completed_at(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}

/// How much of a streamed answer has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputSeen {
    Bytes(u64),
    /// The answer is longer than what arrived of it.
    PartlyHidden,
}

impl Default for OutputSeen {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

impl OutputSeen {
    const fn add(&mut self, bytes: usize) {
        if let Self::Bytes(seen) = self {
            *seen = seen.saturating_add(bytes as u64);
        }
    }
}

/// The progress of one attempt.
pub struct Progress<'a> {
    on_text: Box<dyn Fn(&str) + Send + Sync + 'a>,
    started: Instant,
    state: Mutex<State>,
    head_arrived: Notify,
}

#[derive(Clone, Debug, Default)]
struct State {
    measured: Measured,
    parts: Vec<BilledPart>,
    upload: Option<Upload>,
    head: Option<u16>,
    announced_limits: Vec<AnnouncedLimit>,
    output: OutputSeen,
    request_id: Option<String>,
    time_to_first_token: Option<Duration>,
    text: String,
}

impl<'a> Progress<'a> {
    /// `on_text` gets every piece of the answer's text as it arrives.
    pub fn new(on_text: impl Fn(&str) + Send + Sync + 'a) -> Self {
        Self {
            on_text: Box::new(on_text),
            started: Instant::now(),
            state: Mutex::default(),
            head_arrived: Notify::new(),
        }
    }

    /// Call before sending: from here on the request may reach the API and be billed.
    pub fn begin(&self) {
        self.state().measured = Measured::NoUsage;
    }

    /// Narrows [`Progress::begin`]: until `upload` is complete, no server has the whole request, and nothing can be billed.
    pub fn uploading(&self, upload: &Upload) {
        self.state().upload = Some(upload.clone());
    }

    /// Call if no model read the request after all, for example because the server doesn't speak HTTP.
    pub fn nothing_to_bill(&self) {
        self.state().measured = Measured::NotStarted;
    }

    /// Records the rate limits that the server announces. Call before [`Progress::head`], which is when they are looked at.
    pub fn announced_limits(&self, limits: Vec<AnnouncedLimit>) {
        self.state().announced_limits = limits;
    }

    pub(super) fn limits_announced(&self) -> Vec<AnnouncedLimit> {
        self.state().announced_limits.clone()
    }

    /// Records the HTTP status of the answer, as soon as its head has arrived. It decides a probe of the breaker.
    pub fn head(&self, status: u16) {
        fault::passes(Point::HeadArrived);
        self.state().head = Some(status);
        self.head_arrived.notify_waiters();
    }

    /// Waits for the head of the answer, and returns its status.
    pub(super) async fn head_arrived(&self) -> u16 {
        loop {
            // Before the state is read, so that no head is missed.
            let arrived = self.head_arrived.notified();
            // Copied, so that no lock is held while waiting.
            let head = self.state().head;
            match head {
                Some(status) => return status,
                None => arrived.await,
            }
        }
    }

    /// Records bytes of a streamed answer as the model wrote them, other than text: the input of a tool call.
    pub fn output(&self, bytes: usize) {
        self.state().output.add(bytes);
    }

    /// Records that the answer has parts that aren't shown in full, such as thinking. Their tokens are billed, but what arrives
    /// says nothing about how many they are.
    pub fn hidden_output(&self) {
        self.state().output = OutputSeen::PartlyHidden;
    }

    pub(super) fn output_seen(&self) -> OutputSeen {
        self.state().output
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
        self.output(text.len());
        self.state().text.push_str(text);
        (self.on_text)(text);
    }

    pub fn usage_so_far(&self, usage: Usage) {
        self.state().measured = Measured::Partial(usage);
    }

    pub fn final_usage(&self, usage: Usage) {
        self.state().measured = Measured::Complete(usage);
    }

    /// Records how the final usage is billed, if not as a whole.
    pub fn billed_in_parts(&self, parts: &[BilledPart]) {
        self.state().parts = parts.to_vec();
    }

    /// Empty if the usage is billed as a whole.
    pub fn parts(&self) -> Vec<BilledPart> {
        self.state().parts.clone()
    }

    pub fn set_request_id(&self, id: &str) {
        self.state().request_id = Some(id.to_owned());
    }

    pub fn measured(&self) -> Measured {
        let state = self.state();
        let is_incomplete = |upload: &Upload| upload.completed_at().is_none();
        match state.measured {
            Measured::NoUsage if state.upload.as_ref().is_some_and(is_incomplete) => Measured::NotStarted,
            measured => measured,
        }
    }

    pub fn request_id(&self) -> Option<String> {
        self.state().request_id.clone()
    }

    pub fn time_to_first_token(&self) -> Option<Duration> {
        self.state().time_to_first_token
    }

    pub fn text_shown(&self) -> bool {
        !self.state().text.is_empty()
    }

    /// The answer's text so far.
    pub fn text_so_far(&self) -> String {
        self.state().text.clone()
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

    #[test]
    fn a_setting_without_effect_is_reported() {
        for (provider, max_tokens_field, expected) in [
            (ProviderKind::Anthropic, MaxTokensField::MaxCompletionTokens, 1),
            (ProviderKind::Anthropic, MaxTokensField::MaxTokens, 0),
            (ProviderKind::OpenAi, MaxTokensField::MaxCompletionTokens, 0),
        ] {
            let settings = ModelSettings {
                provider,
                max_tokens_field,
                ..ModelSettings::default()
            };
            let warnings = settings.warnings();
            assert_eq!(warnings.len(), expected, "{warnings:?}");
            assert!(
                warnings
                    .iter()
                    .all(|warning| warning.contains("`[model] max_tokens_field` has no effect"))
            );
        }
    }

    #[tokio::test]
    async fn nothing_is_billed_until_the_request_is_sent_to_its_end() {
        let progress = Progress::new(|_| ());
        assert_eq!(progress.measured(), Measured::NotStarted);
        progress.begin();
        assert_eq!(progress.measured(), Measured::NoUsage);
        let upload = Upload::default();
        progress.uploading(&upload);
        assert_eq!(progress.measured(), Measured::NotStarted);
        upload.complete();
        assert_eq!(progress.measured(), Measured::NoUsage);
        progress.nothing_to_bill();
        assert_eq!(progress.measured(), Measured::NotStarted);
        // What the API reported counts in any case.
        progress.uploading(&Upload::default());
        progress.usage_so_far(Usage::default());
        assert_eq!(progress.measured(), Measured::Partial(Usage::default()));
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
        progress.text(" again");
        assert_eq!(progress.text_so_far(), "hello again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_noticed_whenever_it_arrives() {
        let progress = Progress::new(|_| ());
        let arrives = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            progress.head(529);
        };
        assert_eq!(tokio::join!(progress.head_arrived(), arrives).0, 529);
        assert_eq!(progress.head_arrived().await, 529, "it is there already");
    }
}
