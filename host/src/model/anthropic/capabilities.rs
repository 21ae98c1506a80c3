//! Asks the API what a model takes, before anything is sent that it would refuse.

use std::time::Duration;

use rustls::ClientConfig;
use serde_json::Value;
use thiserror::Error;

use super::AnthropicClient;
use crate::messages_api::{Effort, Thinking};
use crate::model::http::ClientError;
use crate::model::{ModelSettings, ProviderKind};

/// The longest wait for the answer. Nothing depends on it but an earlier and clearer error.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why effort and thinking of the settings can't be used, or nobody knows whether they can.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CapabilityError {
    #[error("the model `{model}` doesn't take {setting}: {taken}")]
    Refused {
        model: String,
        /// The key, and its value.
        setting: String,
        /// What the model takes instead.
        taken: String,
    },
    #[error("{endpoint} didn't say what the model `{model}` takes: {reason}")]
    Unknown {
        endpoint: String,
        model: String,
        reason: String,
    },
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Checks that the model takes the effort and the thinking of the settings. Sends nothing if neither is set, or with
/// [`ProviderKind::OpenAi`], whose API can't be asked.
///
/// # Errors
///
/// The model doesn't take one of them, the API didn't say, or no client can be built from the settings.
pub async fn check_capabilities(settings: &ModelSettings, tls: &ClientConfig) -> Result<(), CapabilityError> {
    let has_any = settings.effort.is_some() || settings.thinking.is_some();
    if !has_any || settings.provider == ProviderKind::OpenAi {
        return Ok(());
    }
    let client = AnthropicClient::new(settings, tls)?;
    let asked = tokio::time::timeout(ANSWER_TIMEOUT, client.describe_model()).await;
    let described = asked.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())));
    let described = described.map_err(|reason| CapabilityError::Unknown {
        endpoint: client.http.endpoint().to_owned(),
        model: settings.model.clone(),
        reason,
    })?;
    let capabilities = &described["capabilities"];
    let refused = settings
        .effort
        .and_then(|effort| refused_effort(effort, &capabilities["effort"]))
        .or_else(|| refused_thinking(settings.thinking?, &capabilities["thinking"]["types"]));
    match refused {
        None => Ok(()),
        Some((setting, taken)) => Err(CapabilityError::Refused {
            model: settings.model.clone(),
            setting,
            taken,
        }),
    }
}

/// Bytes of what an API says of a model. As a value, they take many times as much.
const MAX_DESCRIPTION_BYTES: usize = 64 * 1024;

impl AnthropicClient {
    /// The answer to `GET /v1/models/ID`, or why there is none.
    async fn describe_model(&self) -> Result<Value, String> {
        let explain = |error| self.http.scrub(error).to_string();
        let reply = self.http.get(&["v1", "models", &self.model]).await.map_err(explain)?;
        if !reply.is_success() {
            return Err(format!("it answered with HTTP {}", reply.status()));
        }
        let body = reply.whole_within(MAX_DESCRIPTION_BYTES).await.map_err(explain)?;
        serde_json::from_slice(&body).map_err(|error| format!("its answer isn't JSON: {error}"))
    }
}

/// By the vendor's definition, `false` means that a request with it gets a 400. What isn't there isn't known.
fn is_refused(capability: &Value) -> bool {
    capability["supported"] == false
}

fn refused_effort(effort: Effort, capability: &Value) -> Option<(String, String)> {
    let refuses = |effort: Effort| is_refused(capability) || is_refused(&capability[effort.as_str()]);
    refuses(effort).then(|| {
        let taken = Effort::ALL
            .into_iter()
            .filter(|effort| !refuses(*effort))
            .map(Effort::as_str);
        let setting = format!("`[model] effort` = \"{}\"", effort.as_str());
        (setting, takes(taken.collect(), "no effort"))
    })
}

fn refused_thinking(thinking: Thinking, types: &Value) -> Option<(String, String)> {
    let known = [
        (Thinking::Adaptive, "\"adaptive\""),
        (Thinking::BetweenTools, "\"between_tools\""),
        (Thinking::Off, "\"off\""),
        (Thinking::Budget { budget_tokens: 0 }, "a `thinking_budget`"),
    ];
    let refuses = |thinking: Thinking| is_refused(&types[thinking.kind()]);
    refuses(thinking).then(|| {
        let taken = known
            .iter()
            .filter(|(thinking, _)| !refuses(*thinking))
            .map(|(_, name)| *name);
        let own = known.iter().find(|(known, _)| known.kind() == thinking.kind());
        let setting = match (thinking, own) {
            (Thinking::Budget { budget_tokens }, _) => format!("`[model] thinking_budget` = {budget_tokens}"),
            (_, own) => format!("`[model] thinking` = {}", own.map_or("", |(_, name)| name)),
        };
        (setting, takes(taken.collect(), "nothing that can be set"))
    })
}

fn takes(values: Vec<&str>, nothing: &str) -> String {
    match values[..] {
        [] => format!("it takes {nothing}"),
        _ => format!("it takes {}", values.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn supported(names: &[&str], all: &[&str]) -> Value {
        let fields = all
            .iter()
            .map(|name| ((*name).to_owned(), json!({ "supported": names.contains(name) })));
        Value::Object(fields.collect())
    }

    #[test]
    fn only_a_definite_no_refuses() {
        for unknown in [
            Value::Null,
            json!({}),
            json!({ "supported": true }),
            json!({ "low": 7 }),
            json!([]),
        ] {
            for effort in Effort::ALL {
                assert_eq!(refused_effort(effort, &unknown), None, "{unknown}");
            }
            for thinking in [Thinking::Adaptive, Thinking::Off, Thinking::Budget { budget_tokens: 1 }] {
                assert_eq!(refused_thinking(thinking, &unknown), None, "{unknown}");
            }
        }
    }

    #[test]
    fn an_error_names_what_the_model_takes() {
        let levels = ["low", "medium", "high", "xhigh", "max"];
        let some = supported(&levels[..3], &levels);
        assert_eq!(refused_effort(Effort::High, &some), None);
        let (setting, taken) = refused_effort(Effort::Max, &some).unwrap_or_default();
        assert_eq!(
            (&*setting, &*taken),
            ("`[model] effort` = \"max\"", "it takes low, medium, high")
        );
        let (_, taken) = refused_effort(Effort::Low, &json!({ "supported": false })).unwrap_or_default();
        assert_eq!(taken, "it takes no effort");

        let types = ["adaptive", "between_tools", "disabled", "enabled"];
        for (thinking, takes, setting, taken) in [
            (
                Thinking::Off,
                &types[..2],
                "`[model] thinking` = \"off\"",
                "it takes \"adaptive\", \"between_tools\"",
            ),
            (
                Thinking::Adaptive,
                &types[2..],
                "`[model] thinking` = \"adaptive\"",
                "it takes \"off\", a `thinking_budget`",
            ),
            (
                Thinking::Budget { budget_tokens: 2_048 },
                &types[..1],
                "`[model] thinking_budget` = 2048",
                "it takes \"adaptive\"",
            ),
            (
                Thinking::BetweenTools,
                &[],
                "`[model] thinking` = \"between_tools\"",
                "it takes nothing that can be set",
            ),
        ] {
            let found = refused_thinking(thinking, &supported(takes, &types));
            assert_eq!(found, Some((setting.to_owned(), taken.to_owned())));
        }
    }
}
