//! What an operator decides about a model: the server, its vendor, and the form of requests.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::{Host, Url};

use super::http::{ClientError, ProxySetting};
use crate::messages_api::{CacheTtl, Effort, Thinking, headers};
use crate::secret::Secret;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
}
