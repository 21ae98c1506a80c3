//! From the settings to the models that a host asks in turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustls::ClientConfig;
use url::Url;

use super::error::HostError;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::model::{self, Fallback, ModelChain, ModelSettings, ModelStack, Prices, Provider, ProviderKind};
use crate::resilience::{Breaker, BreakerSettings, RateLimits, RetryBudget};

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

/// The breakers and the rate limits of a host's models: one per model, address and key, as long as the host lives.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelGuards(Arc<Mutex<Vec<Known>>>);

#[derive(Debug)]
struct Known {
    identity: Identity,
    address: String,
    breaker: Arc<Breaker>,
    rate_limits: Arc<RateLimits>,
}

/// What guards the calls of a model.
pub(super) struct Guards {
    breaker: Arc<Breaker>,
    rate_limits: Arc<RateLimits>,
    /// Whether the host had none for this model before.
    are_new: bool,
}

/// What distinguishes models.
type Identity = (ProviderKind, Url, String, Option<String>);

fn identity(settings: &ModelSettings) -> Identity {
    (
        settings.provider,
        settings.base_url.clone(),
        settings.model.clone(),
        settings.api_key_env.clone(),
    )
}

impl Known {
    fn guards(&self, are_new: bool) -> Guards {
        Guards {
            breaker: self.breaker.clone(),
            rate_limits: self.rate_limits.clone(),
            are_new,
        }
    }
}

impl ModelGuards {
    /// The guards of a model. `home` is the address of the configured model: the breakers of models elsewhere have their host in the
    /// name.
    fn of(&self, identity: Identity, id: &str, home: &Url, of_breaker: &BreakerSettings) -> Guards {
        let mut known = self.lock();
        if let Some(known) = known.iter().find(|known| known.identity == identity) {
            return known.guards(false);
        }
        let (_, url, ..) = &identity;
        let host = url.host_str().unwrap_or_default();
        let name = match (url.origin() == home.origin(), url.port()) {
            (true, _) => format!("model:{id}"),
            (false, None) => format!("model:{id}@{host}"),
            (false, Some(port)) => format!("model:{id}@{host}:{port}"),
        };
        // Another key, or another path of the same server.
        let numbered = (2..).map(|number| format!("{name}#{number}"));
        let is_free = |name: &String| known.iter().all(|known| known.breaker.name() != name);
        let name = std::iter::once(name.clone())
            .chain(numbered)
            .find(is_free)
            .unwrap_or(name);
        let new = Known {
            address: format!("{}{}", url.origin().ascii_serialization(), url.path()),
            identity,
            breaker: Arc::new(Breaker::new(name, of_breaker.clone())),
            rate_limits: Arc::default(),
        };
        let guards = new.guards(true);
        known.push(new);
        guards
    }

    /// The address behind a breaker, without a password.
    pub(super) fn address(&self, name: &str) -> Option<String> {
        let known = self.lock();
        let known = known.iter().find(|known| known.breaker.name() == name)?;
        Some(known.address.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the models of a host share.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Config,
    pub(super) tls: &'a ClientConfig,
    pub(super) prices: &'a Arc<Prices>,
    pub(super) ledger: &'a Ledger,
    pub(super) retry_budgets: &'a RetryBudgets,
    pub(super) guards: &'a ModelGuards,
}

/// The models in turn, and the names of those of their breakers that are new.
pub(super) struct Models {
    pub(super) chain: Arc<ModelChain>,
    pub(super) new_breakers: Vec<String>,
}

impl Shared<'_> {
    /// The configured models. `first` takes the place of the first one's provider.
    pub(super) fn models(&self, first: Option<Arc<dyn Provider>>) -> Result<Models, HostError> {
        let Config {
            model, fallback_models, ..
        } = self.config;
        let (first, of_first) = match first {
            // Another one than the configured model, which can stand in for it.
            Some(own) => {
                let name = format!("{} of this program", own.model());
                (own, (model.provider, model.base_url.clone(), name, None))
            }
            None => (model::provider_for(model, self.tls)?, identity(model)),
        };
        let mut new_breakers = Vec::new();
        let mut earlier = vec![of_first.clone()];
        let first = self.stack(model, of_first, first, false, &mut new_breakers);
        let mut fallbacks = Vec::new();
        for settings in fallback_models {
            let of_fallback = identity(settings);
            // As by a model that the command line names: it would fail in the same way again.
            if earlier.contains(&of_fallback) {
                continue;
            }
            earlier.push(of_fallback.clone());
            let provider = model::provider_for(settings, self.tls).map_err(|source| HostError::Fallback {
                model: settings.model.clone(),
                source,
            })?;
            fallbacks.push(Fallback {
                stack: self.stack(settings, of_fallback, provider, true, &mut new_breakers),
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
            new_breakers,
        })
    }

    /// The layers around a provider.
    fn stack(
        &self,
        settings: &ModelSettings,
        identity: Identity,
        provider: Arc<dyn Provider>,
        is_fallback: bool,
        new_breakers: &mut Vec<String>,
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
        let home = &self.config.model.base_url;
        let guards = self.guards.of(identity, provider.model(), home, breaker);
        if guards.are_new {
            new_breakers.push(guards.breaker.name().to_owned());
        }
        ModelStack {
            breaker: guards.breaker,
            rate_limits: settings.follow_rate_limits.then_some(guards.rate_limits),
            retry: retry.clone(),
            retry_budget: self.retry_budgets.of(provider.endpoint()),
            provider,
            ledger: self.ledger.clone(),
            budget: budget.clone(),
            prices: self.prices.clone(),
            attempt_timeout: settings.attempt_timeout,
            is_fallback,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_models_breaker_is_named_by_id_and_by_server_where_that_differs() {
        let known = ModelGuards::default();
        let settings = |url: &str, key: &str| ModelSettings {
            model: "a".to_owned(),
            base_url: Url::parse(url).unwrap(),
            api_key_env: Some(key.to_owned()),
            ..ModelSettings::default()
        };
        let home = Url::parse("https://home.example").unwrap();
        for (url, key, name) in [
            ("https://other.example/v1", "K", "model:a@other.example"),
            ("https://home.example/v1", "K", "model:a"),
            ("http://127.0.0.1:11434/v1", "K", "model:a@127.0.0.1:11434"),
            ("https://home.example/v1", "L", "model:a#2"),
        ] {
            let guards = || known.of(identity(&settings(url, key)), "a", &home, &BreakerSettings::default());
            let first = guards();
            assert_eq!((first.breaker.name(), first.are_new), (name, true));
            let again = guards();
            assert!(Arc::ptr_eq(&first.breaker, &again.breaker) && !again.are_new);
            assert!(
                Arc::ptr_eq(&first.rate_limits, &again.rate_limits),
                "all calls of a key share them"
            );
        }
        let address = known.address("model:a@other.example");
        assert_eq!(address.as_deref(), Some("https://other.example/v1"));
        assert_eq!(known.address("model:b"), None);
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
