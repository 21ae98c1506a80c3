//! From the settings to the models that a host asks in turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustls::ClientConfig;

use super::error::HostError;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::model::{self, Fallback, ModelChain, ModelSettings, ModelStack, Prices, Provider};
use crate::resilience::{Breaker, RetryBudget};

/// The retry budgets of a host: one per endpoint, for all models and callers.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryBudgets(Arc<Mutex<HashMap<String, Arc<RetryBudget>>>>);

impl RetryBudgets {
    fn of(&self, endpoint: String) -> Arc<RetryBudget> {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        budgets
            .entry(endpoint)
            .or_insert_with(|| Arc::new(RetryBudget::new()))
            .clone()
    }
}

/// What the models of a host share.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Config,
    pub(super) tls: &'a ClientConfig,
    pub(super) prices: &'a Arc<Prices>,
    pub(super) ledger: &'a Ledger,
    pub(super) retry_budgets: &'a RetryBudgets,
}

/// The models in turn, and where each breaker's is.
pub(super) struct Models {
    pub(super) chain: Arc<ModelChain>,
    /// The addresses, without passwords, by the names of the breakers.
    pub(super) addresses: Vec<(String, String)>,
}

impl Shared<'_> {
    /// The configured models. `first` takes the place of the first one's provider.
    pub(super) fn models(&self, first: Option<Arc<dyn Provider>>) -> Result<Models, HostError> {
        let Config {
            model, fallback_models, ..
        } = self.config;
        let first = match first {
            Some(first) => first,
            None => model::provider_for(model, self.tls)?,
        };
        let mut addresses = Vec::new();
        let first = self.stack(model, first, &mut addresses);
        let mut fallbacks = Vec::new();
        for (settings, earlier) in fallback_models.iter().zip(0..) {
            let mut earlier = fallback_models[..earlier].iter().chain([model]);
            // As by a model that the command line names: it would fail in the same way again.
            if earlier.any(|earlier| is_same(earlier, settings)) {
                continue;
            }
            let provider = model::provider_for(settings, self.tls).map_err(|source| HostError::Fallback {
                model: settings.model.clone(),
                source,
            })?;
            fallbacks.push(Fallback {
                stack: self.stack(settings, provider, &mut addresses),
                max_tokens: settings.max_tokens,
                temperature: settings.temperature,
            });
        }
        for settings in [model].into_iter().chain(fallback_models) {
            settings
                .warnings()
                .iter()
                .for_each(|warning| tracing::warn!("{warning}"));
        }
        Ok(Models {
            chain: Arc::new(ModelChain::new(first, fallbacks)),
            addresses,
        })
    }

    /// The layers around a provider.
    fn stack(
        &self,
        settings: &ModelSettings,
        provider: Arc<dyn Provider>,
        addresses: &mut Vec<(String, String)>,
    ) -> ModelStack {
        let Config {
            budget,
            agent,
            retry,
            breaker,
            ..
        } = self.config;
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        if self.prices.find(provider.model(), today).is_none() {
            let consequence = match budget.limits(&agent.tenant).has_limit() {
                true => "the budget refuses its requests",
                false => "its cost isn't counted",
            };
            tracing::warn!(
                hint = self.prices.hint_for(provider.model()),
                "the model `{}` has no price, so {consequence}",
                provider.model()
            );
        }
        let url = &settings.base_url;
        let name = breaker_name(provider.model(), addresses);
        addresses.push((
            name.clone(),
            format!("{}{}", url.origin().ascii_serialization(), url.path()),
        ));
        ModelStack {
            breaker: Arc::new(Breaker::new(name, breaker.clone())),
            retry: retry.clone(),
            retry_budget: self.retry_budgets.of(provider.endpoint()),
            provider,
            ledger: self.ledger.clone(),
            budget: budget.clone(),
            prices: self.prices.clone(),
            attempt_timeout: settings.attempt_timeout,
        }
    }
}

/// `model:ID`, and `model:ID#2` for the same model at another address.
fn breaker_name(model: &str, taken: &[(String, String)]) -> String {
    let name = format!("model:{model}");
    let is_taken = |name: &String| taken.iter().any(|(taken, _)| taken == name);
    let numbered = (2..).map(|number| format!("{name}#{number}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !is_taken(name))
        .unwrap_or_default()
}

fn is_same(one: &ModelSettings, other: &ModelSettings) -> bool {
    let identity = |settings: &ModelSettings| {
        (
            settings.provider,
            settings.base_url.clone(),
            settings.model.clone(),
            settings.api_key_env.clone(),
        )
    };
    identity(one) == identity(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_breaker_has_a_name_of_its_own() {
        let mut taken = Vec::new();
        for expected in ["model:a", "model:a#2", "model:a#3"] {
            let name = breaker_name("a", &taken);
            assert_eq!(name, expected);
            taken.push((name, String::new()));
        }
        assert_eq!(breaker_name("b", &taken), "model:b");
    }

    #[test]
    fn callers_of_an_endpoint_share_its_retry_budget() {
        let budgets = RetryBudgets::default();
        assert!(Arc::ptr_eq(
            &budgets.of("a".to_owned()),
            &budgets.clone().of("a".to_owned())
        ));
        assert!(!Arc::ptr_eq(&budgets.of("a".to_owned()), &budgets.of("b".to_owned())));
    }
}
