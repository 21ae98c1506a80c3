//! What each model accepts, as one table. It decides which requests are refused, and `GET /v1/models` publishes it.
//!
//! Source: the vendor's model pages and release notes, and the model list of its SDKs, November 2026. Where a page says
//! nothing about a model, the request is accepted. Messages with the role `system` are known to be accepted by Sonnet 5.5
//! and not by Sonnet 5, so the table assumes that the models since then accept them. From how many tokens on Fable 5.2 and
//! Haiku 5.5 cache a prompt isn't known either; it assumes the same as for the model before.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::ApiError;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) id: &'static str,
    /// Another name of the same model.
    alias: Option<&'static str>,
    name: &'static str,
    line: &'static str,
    /// `1970-01-01` if unknown, as the API does.
    released: &'static str,
    lifecycle: Lifecycle,
    /// The scheduled end of a deprecated model, or the end of a retired one.
    retires: Option<&'static str>,
    max_input_tokens: u64,
    pub(super) max_output_tokens: u64,
    /// A shorter prefix isn't cached.
    pub(super) min_cached_tokens: u64,
    pub(super) thinking: Thinking,
    pub(super) accepts: Accepts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifecycle {
    Active,
    Deprecated,
    Retired,
}

/// The values of `thinking.type` that a model accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thinking {
    pub(super) adaptive: bool,
    pub(super) between_tools: bool,
    pub(super) disabled: bool,
    pub(super) enabled: bool,
}

/// What else a model accepts. A request for it gets a 400 from any other model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepts {
    /// `output_config.effort`.
    pub(super) effort: bool,
    /// `tool_choice` of type `any` or `tool`.
    pub(super) forced_tool: bool,
    /// Sampling parameters other than the defaults.
    pub(super) sampling: bool,
    /// A last message of the assistant, which the model continues.
    pub(super) prefill: bool,
    /// Messages with the role `system`, and the changes of tools in them.
    pub(super) system_messages: bool,
}

const ALWAYS_THINKS: Thinking = thinking(true, false, false, false);
const ADAPTIVE_OR_DISABLED: Thinking = thinking(true, false, true, false);
const ADAPTIVE_OR_BETWEEN: Thinking = thinking(true, true, false, false);
const ADAPTIVE_OR_BUDGET: Thinking = thinking(true, false, true, true);
const BUDGET_ONLY: Thinking = thinking(false, false, true, true);

const NEWEST: Accepts = accepts(false, false, false, true);
const SINCE_5: Accepts = accepts(true, false, false, true);
const SINCE_4_7: Accepts = accepts(true, false, false, false);
const SINCE_4_6: Accepts = accepts(true, true, false, false);
const BEFORE_4_6: Accepts = accepts(true, true, true, false);
const HAIKU_4_5: Accepts = Accepts {
    effort: false,
    ..BEFORE_4_6
};

/// Newest first, as the API lists them.
#[rustfmt::skip]
pub(super) const MODELS: [Model; 20] = [
    active("claude-fable-5-2", "Claude Fable 5.2", "fable", "2026-11-09", ALWAYS_THINKS, NEWEST).caching_from(512),
    active("claude-mythos-5-2", "Claude Mythos 5.2", "mythos", "2026-11-09", ALWAYS_THINKS, NEWEST).caching_from(512),
    // Its list of breaking changes doesn't name a forced tool choice.
    active("claude-haiku-5-5", "Claude Haiku 5.5", "haiku", "2026-10-07", ADAPTIVE_OR_DISABLED, SINCE_5).caching_from(4_096),
    active("claude-sonnet-5-5", "Claude Sonnet 5.5", "sonnet", "2026-09-28", ADAPTIVE_OR_BETWEEN, NEWEST).caching_from(512),
    active("claude-opus-5-5", "Claude Opus 5.5", "opus", UNKNOWN, ALWAYS_THINKS, NEWEST).caching_from(512),
    active("claude-fable-5-1", "Claude Fable 5.1", "fable", "2026-09-01", ALWAYS_THINKS, NEWEST).caching_from(512),
    active("claude-mythos-5-1", "Claude Mythos 5.1", "mythos", "2026-09-01", ALWAYS_THINKS, NEWEST).caching_from(512),
    active("claude-opus-5", "Claude Opus 5", "opus", "2026-07-24", ADAPTIVE_OR_DISABLED, SINCE_5).caching_from(512),
    active("claude-sonnet-5", "Claude Sonnet 5", "sonnet", "2026-06-30", ADAPTIVE_OR_DISABLED, SINCE_4_7),
    active("claude-fable-5", "Claude Fable 5", "fable", "2026-06-09", ALWAYS_THINKS, SINCE_5).caching_from(512),
    active("claude-mythos-5", "Claude Mythos 5", "mythos", "2026-06-09", ALWAYS_THINKS, SINCE_5).caching_from(512),
    active("claude-opus-4-8", "Claude Opus 4.8", "opus", UNKNOWN, ADAPTIVE_OR_DISABLED, SINCE_5),
    active("claude-opus-4-7", "Claude Opus 4.7", "opus", UNKNOWN, ADAPTIVE_OR_DISABLED, SINCE_4_7).caching_from(2_048),
    active("claude-opus-4-6", "Claude Opus 4.6", "opus", UNKNOWN, ADAPTIVE_OR_BUDGET, SINCE_4_6).caching_from(4_096),
    active("claude-sonnet-4-6", "Claude Sonnet 4.6", "sonnet", UNKNOWN, ADAPTIVE_OR_BUDGET, SINCE_4_6),
    active("claude-haiku-4-5-20251001", "Claude Haiku 4.5", "haiku", "2025-10-01", BUDGET_ONLY, HAIKU_4_5)
        .also("claude-haiku-4-5").with_tokens(200_000, 64_000).caching_from(4_096),
    active("claude-opus-4-5-20251101", "Claude Opus 4.5", "opus", "2025-11-01", BUDGET_ONLY, BEFORE_4_6)
        .also("claude-opus-4-5").caching_from(4_096).ending(Lifecycle::Deprecated, "2027-01-22"),
    active("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", "sonnet", "2025-09-29", BUDGET_ONLY, BEFORE_4_6)
        .also("claude-sonnet-4-5").ending(Lifecycle::Deprecated, "2026-11-30"),
    active("claude-mythos-preview", "Claude Mythos Preview", "mythos", UNKNOWN, ALWAYS_THINKS, SINCE_4_7)
        .caching_from(4_096).ending(Lifecycle::Retired, "2026-06-30"),
    ANY_MODEL,
];

/// Any other name, such as that of a test or of a gateway. It accepts everything and isn't listed.
const ANY_MODEL: Model = active(
    "",
    "",
    "",
    UNKNOWN,
    thinking(true, true, true, true),
    accepts(true, true, true, true),
)
.with_tokens(u64::MAX, u64::MAX);

const UNKNOWN: &str = "1970-01-01";

const fn active(
    id: &'static str,
    name: &'static str,
    line: &'static str,
    released: &'static str,
    thinking: Thinking,
    accepts: Accepts,
) -> Model {
    Model {
        id,
        alias: None,
        name,
        line,
        released,
        lifecycle: Lifecycle::Active,
        retires: None,
        max_input_tokens: 1_000_000,
        max_output_tokens: 128_000,
        min_cached_tokens: 1_024,
        thinking,
        accepts,
    }
}

const fn thinking(adaptive: bool, between_tools: bool, disabled: bool, enabled: bool) -> Thinking {
    Thinking {
        adaptive,
        between_tools,
        disabled,
        enabled,
    }
}

const fn accepts(forced_tool: bool, sampling: bool, prefill: bool, system_messages: bool) -> Accepts {
    Accepts {
        effort: true,
        forced_tool,
        sampling,
        prefill,
        system_messages,
    }
}

impl Model {
    const fn also(self, alias: &'static str) -> Self {
        Self {
            alias: Some(alias),
            ..self
        }
    }

    const fn with_tokens(self, max_input_tokens: u64, max_output_tokens: u64) -> Self {
        Self {
            max_input_tokens,
            max_output_tokens,
            ..self
        }
    }

    const fn caching_from(self, min_cached_tokens: u64) -> Self {
        Self {
            min_cached_tokens,
            ..self
        }
    }

    const fn ending(self, lifecycle: Lifecycle, retires: &'static str) -> Self {
        Self {
            lifecycle,
            retires: Some(retires),
            ..self
        }
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.id == name || self.alias == Some(name)
    }

    /// In seconds since 1970.
    pub(super) fn released_at(&self) -> i64 {
        let released: Result<Timestamp, _> = time(self.released).parse();
        released.map_or(0, Timestamp::as_second)
    }

    pub(super) fn is_retired(&self) -> bool {
        self.lifecycle == Lifecycle::Retired
    }

    /// The model as `GET /v1/models/{id}` describes it.
    fn describe(&self) -> Value {
        let supported = |supported: bool| json!({ "supported": supported });
        let types = self.thinking;
        json!({
            "type": "model",
            "id": self.id,
            "display_name": self.name,
            "line": self.line,
            "created_at": time(self.released),
            "lifecycle": self.lifecycle.name(),
            "deprecated_at": null,
            "retires_at": self.retires.map(time),
            "max_input_tokens": self.max_input_tokens,
            "max_tokens": self.max_output_tokens,
            "capabilities": {
                "batch": supported(true),
                "citations": supported(true),
                "code_execution": supported(true),
                "context_management": {
                    "supported": true,
                    "clear_thinking_20251015": supported(true),
                    "clear_tool_uses_20250919": supported(true),
                    "compact_20260112": supported(true),
                },
                "effort": {
                    "supported": self.accepts.effort,
                    "low": supported(self.accepts.effort),
                    "medium": supported(self.accepts.effort),
                    "high": supported(self.accepts.effort),
                    "xhigh": supported(self.accepts.effort),
                    "max": supported(self.accepts.effort),
                },
                "image_input": supported(true),
                "pdf_input": supported(true),
                "server_tools": {
                    "supported": true,
                    "web_search": supported(true),
                    "code_execution": supported(true),
                },
                "structured_outputs": supported(true),
                "thinking": {
                    "supported": true,
                    "types": {
                        "adaptive": supported(types.adaptive),
                        "between_tools": supported(types.between_tools),
                        "disabled": supported(types.disabled),
                        "enabled": supported(types.enabled),
                    },
                },
            },
        })
    }
}

fn time(date: &str) -> String {
    format!("{date}T00:00:00Z")
}

impl Lifecycle {
    const ALL: [Self; 3] = [Self::Active, Self::Deprecated, Self::Retired];

    const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Retired => "retired",
        }
    }
}

/// The row for a model's name. A date behind a known name is ignored.
pub(super) fn model(name: &str) -> &'static Model {
    let undated = name
        .rsplit_once('-')
        .filter(|(_, date)| date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(name, |(undated, _)| undated);
    let known = listed().find(|model| model.is_named(name) || model.is_named(undated));
    known.unwrap_or(&ANY_MODEL)
}

/// The models that aren't retired.
pub(super) fn available() -> impl Iterator<Item = &'static Model> {
    listed().filter(|model| !model.is_retired())
}

fn listed() -> impl Iterator<Item = &'static Model> {
    MODELS.iter().filter(|model| !model.id.is_empty())
}

/// The answer to `GET /v1/models/{id}`.
pub(super) fn one(name: &str) -> Result<Value, ApiError> {
    let found = listed().find(|model| model.is_named(name));
    found
        .map(Model::describe)
        .ok_or_else(|| ApiError::new(404, format!("model: {name}")))
}

/// The answer to `GET /v1/models`, one page of the list.
pub(super) fn list(query: &str) -> Result<Value, ApiError> {
    let mut limit = 20_usize;
    let (mut after, mut before) = (None, None);
    let mut lifecycles = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "limit" => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=1000).contains(limit))
                    .ok_or_else(|| ApiError::invalid("limit: Input should be from 1 to 1000"))?;
            }
            "after_id" => after = Some(value.into_owned()),
            "before_id" => before = Some(value.into_owned()),
            "lifecycle" | "lifecycle[]" => {
                let lifecycle = Lifecycle::ALL.into_iter().find(|lifecycle| lifecycle.name() == value);
                lifecycles.push(lifecycle.ok_or_else(|| {
                    ApiError::invalid("lifecycle: Input should be 'active', 'deprecated' or 'retired'")
                })?);
            }
            _ => {}
        }
    }
    if lifecycles.is_empty() {
        lifecycles = vec![Lifecycle::Active, Lifecycle::Deprecated];
    }
    let all: Vec<_> = listed().filter(|model| lifecycles.contains(&model.lifecycle)).collect();
    let position = |id: &str, field: &str| {
        let found = all.iter().position(|model| model.id == id);
        found.ok_or_else(|| ApiError::invalid(format!("{field}: no model has the id {id}")))
    };
    let (page, has_more) = match (&before, &after) {
        (Some(before), _) => {
            let end = position(before, "before_id")?;
            let start = end.saturating_sub(limit);
            (all.get(start..end), start > 0)
        }
        (None, after) => {
            let start = match after {
                Some(after) => position(after, "after_id")?.saturating_add(1),
                None => 0,
            };
            let end = start.saturating_add(limit).min(all.len());
            (all.get(start..end), end < all.len())
        }
    };
    let page = page.unwrap_or_default();
    Ok(json!({
        "data": page.iter().map(|model| model.describe()).collect::<Vec<_>>(),
        "has_more": has_more,
        "first_id": page.first().map(|model| model.id),
        "last_id": page.last().map(|model| model.id),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_model_is_found_by_any_of_its_names() {
        for (name, id) in [
            ("claude-sonnet-5-5", "claude-sonnet-5-5"),
            ("claude-opus-5-20260801", "claude-opus-5"),
            ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
            ("claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
            ("claude-opus-4-5-20251101", "claude-opus-4-5-20251101"),
            ("claude-3-5-sonnet-20241022", ""),
            ("simulated", ""),
            ("", ""),
        ] {
            assert_eq!(model(name).id, id, "{name}");
        }
        assert_eq!(one("claude-sonnet-4-5").unwrap()["id"], "claude-sonnet-4-5-20250929");
        for unlisted in ["", "simulated", "claude-opus-5-20260801"] {
            assert_eq!(one(unlisted).unwrap_err().status, 404, "{unlisted}");
        }
    }

    #[test]
    fn the_list_comes_in_pages() {
        let ids = |query: &str| {
            let page = list(query).unwrap();
            let ids = page["data"].as_array().unwrap().iter();
            let ids: Vec<_> = ids.map(|model| model["id"].as_str().unwrap().to_owned()).collect();
            assert_eq!(page["first_id"].as_str(), ids.first().map(String::as_str), "{query}");
            assert_eq!(page["last_id"].as_str(), ids.last().map(String::as_str), "{query}");
            (ids, page["has_more"] == true)
        };
        let (all, more) = ids("");
        assert_eq!((all.len(), more), (MODELS.len() - 2, false), "without the retired one");
        assert_eq!(ids("limit=2"), (all[..2].to_vec(), true));
        assert_eq!(ids("limit=2&after_id=claude-mythos-5-2"), (all[2..4].to_vec(), true));
        assert_eq!(
            ids(&format!("after_id={}", all[all.len() - 2])),
            (vec![all[all.len() - 1].clone()], false)
        );
        assert_eq!(ids("limit=1&before_id=claude-haiku-5-5"), (vec![all[1].clone()], true));
        assert_eq!(ids("before_id=claude-haiku-5-5"), (all[..2].to_vec(), false));
        assert_eq!(ids("lifecycle%5B%5D=retired").0, ["claude-mythos-preview"]);
        assert_eq!(ids("lifecycle[]=deprecated&lifecycle[]=retired").0.len(), 3);
        for wrong in ["limit=0", "limit=1001", "limit=x", "after_id=x", "lifecycle=gone"] {
            assert_eq!(list(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }

    #[test]
    fn a_retired_model_says_so() {
        let retired = one("claude-mythos-preview").unwrap();
        assert_eq!(
            (&retired["lifecycle"], &retired["retires_at"]),
            (&json!("retired"), &json!("2026-06-30T00:00:00Z"))
        );
    }
}
