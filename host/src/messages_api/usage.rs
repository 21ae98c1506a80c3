//! Token usage as an answer reports it.

use serde::Serialize;
use serde_json::Value;

/// Any figure may be missing. `input_tokens` counts only the uncached tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input_tokens: Option<u64>,
    /// The sum of [`CacheCreation`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_creation_input_tokens: Option<u64>,
    /// Only at the start of a stream and in whole answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_creation: Option<CacheCreation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_read_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_tokens: Option<u64>,
    /// Only at the start of a stream and in whole answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_tier: Option<&'static str>,
    /// The parts that are billed by themselves, if several models or steps of the API made the answer.
    #[serde(skip)]
    pub(crate) iterations: Vec<Iteration>,
}

/// An entry of `usage.iterations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Iteration {
    /// `None`: the model of the request.
    pub(crate) model: Option<String>,
    /// Whether the totals leave it out, as they do with compaction.
    pub(crate) is_extra: bool,
    pub(crate) usage: Usage,
}

impl Iteration {
    fn read(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        Self {
            model: text("model").map(str::to_owned),
            is_extra: text("type") == Some("compaction"),
            usage: Usage::read_figures(value),
        }
    }
}

/// Tokens written to the cache, by their lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct CacheCreation {
    pub(crate) ephemeral_5m_input_tokens: u64,
    pub(crate) ephemeral_1h_input_tokens: u64,
}

impl Usage {
    /// The largest of all figures, those of the parts included.
    pub(crate) fn largest_figure(&self) -> u64 {
        let CacheCreation {
            ephemeral_5m_input_tokens,
            ephemeral_1h_input_tokens,
        } = self.cache_creation.unwrap_or_default();
        let of_all = [
            self.input_tokens,
            self.cache_creation_input_tokens,
            self.cache_read_input_tokens,
            self.output_tokens,
            Some(ephemeral_5m_input_tokens),
            Some(ephemeral_1h_input_tokens),
        ];
        let of_parts = self.iterations.iter().map(|part| part.usage.largest_figure());
        of_all.into_iter().flatten().chain(of_parts).max().unwrap_or(0)
    }

    /// Reads the figures, but not the service tier, because nothing depends on it.
    pub(crate) fn read(value: &Value) -> Self {
        let iterations = value.get("iterations").and_then(Value::as_array);
        Self {
            iterations: iterations.into_iter().flatten().map(Iteration::read).collect(),
            ..Self::read_figures(value)
        }
    }

    fn read_figures(value: &Value) -> Self {
        let figure = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64);
        let split = value.get("cache_creation").map(|split| CacheCreation {
            ephemeral_5m_input_tokens: figure(split, "ephemeral_5m_input_tokens").unwrap_or(0),
            ephemeral_1h_input_tokens: figure(split, "ephemeral_1h_input_tokens").unwrap_or(0),
        });
        Self {
            input_tokens: figure(value, "input_tokens"),
            cache_creation_input_tokens: figure(value, "cache_creation_input_tokens"),
            cache_creation: split,
            cache_read_input_tokens: figure(value, "cache_read_input_tokens"),
            output_tokens: figure(value, "output_tokens"),
            service_tier: None,
            iterations: Vec::new(),
        }
    }
}
