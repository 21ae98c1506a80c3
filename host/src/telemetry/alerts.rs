//! Alert rules, for conditions that need a person. They are pure: an event and the session's metrics go in, an alert comes out.
//!
//! People learn to ignore an alert that repeats, so each rule fires once per window: the error rate and the cost once per
//! session, a breaker once until it closes again (however many probes fail in between), a budget once per scope, window and
//! threshold (the ledger ensures that).

use super::metrics::SessionMetrics;
use crate::events::{BreakerState, Event, EventKind};
use crate::money::NanoUsd;

/// With fewer model attempts and tool calls than this, an error rate is meaningless.
const ERROR_RATE_MINIMUM: u64 = 5;
/// One failure is no rate.
const MIN_ERRORS: u64 = 2;

/// The alert rules' thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertSettings {
    /// A session alerts above this rate of (model errors + tool errors) / (model attempts + tool calls), once there are at least
    /// five of the latter and two errors; default 0.1.
    pub error_rate: f64,
    /// A session alerts above this cost; default $1.00.
    pub session_cost_usd: NanoUsd,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            error_rate: 0.1,
            session_cost_usd: NanoUsd::from_nanos(1_000_000_000),
        }
    }
}

/// One session's rules, and which of them have fired.
#[derive(Debug)]
pub(super) struct AlertRules {
    settings: AlertSettings,
    error_rate_fired: bool,
    cost_fired: bool,
}

impl AlertRules {
    pub(super) fn new(settings: AlertSettings) -> Self {
        Self {
            settings,
            error_rate_fired: false,
            cost_fired: false,
        }
    }

    /// The alert that an event triggers, if any. The metrics already include the event. Alert events trigger none.
    pub(super) fn evaluate(&mut self, event: &Event, metrics: &SessionMetrics) -> Option<EventKind> {
        let (rule, message) = match &event.kind {
            EventKind::ModelAttempt { .. } | EventKind::ToolCallFinished(_) => {
                let total = metrics.model_attempts.saturating_add(metrics.tool_calls);
                let errors = metrics.model_errors.saturating_add(metrics.tool_errors);
                let above = errors as f64 > self.settings.error_rate * total as f64;
                let is_rate = total >= ERROR_RATE_MINIMUM && errors >= MIN_ERRORS;
                if !is_rate || !above || std::mem::replace(&mut self.error_rate_fired, true) {
                    return None;
                }
                let limit = self.settings.error_rate * 100.0;
                (
                    "error_rate",
                    format!("{errors} of {total} model attempts and tool calls failed, more than {limit} %"),
                )
            }
            // Only closed to open: a breaker that reopens from half-open has already alerted.
            EventKind::BreakerChanged {
                name,
                from: BreakerState::Closed,
                to: BreakerState::Open,
                last_failure,
                ..
            } => {
                let after = last_failure
                    .as_ref()
                    .map_or_else(String::new, |last| format!(" after {last}"));
                ("breaker_opened", format!("breaker {name} opened{after}"))
            }
            EventKind::BudgetSettled { .. } => {
                let (spent, limit) = (metrics.estimated_cost_usd, self.settings.session_cost_usd);
                if spent <= limit || std::mem::replace(&mut self.cost_fired, true) {
                    return None;
                }
                (
                    "session_cost",
                    format!("the session cost ${spent} so far, more than ${limit}"),
                )
            }
            EventKind::BudgetAlert {
                scope,
                percent,
                spent_usd,
                limit_usd,
            } => (
                "budget",
                format!("budget {scope}: {percent} % used, ${spent_usd} of ${limit_usd}"),
            ),
            _ => return None,
        };
        Some(EventKind::Alert {
            rule: rule.to_owned(),
            message,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// The names of the rules that fire for a sequence of events.
    fn fired(settings: AlertSettings, kinds: Vec<EventKind>) -> Vec<String> {
        let mut rules = AlertRules::new(settings);
        let mut metrics = SessionMetrics::default();
        let mut fired = Vec::new();
        for kind in kinds {
            let at = jiff::Timestamp::UNIX_EPOCH;
            let event = Event {
                at,
                session_id: "s".into(),
                tenant: "default".into(),
                turn: 1,
                kind,
            };
            metrics.apply(&event);
            if let Some(EventKind::Alert { rule, .. }) = rules.evaluate(&event, &metrics) {
                fired.push(rule);
            }
        }
        fired
    }

    fn attempts(failed: usize, succeeded: usize) -> Vec<EventKind> {
        let error = crate::events::ErrorInfo {
            kind: "overloaded".to_owned(),
            message: "the API is overloaded".to_owned(),
            hint: None,
            request_id: None,
        };
        let attempt = |error| EventKind::ModelAttempt {
            attempt: 1,
            model: "m".to_owned(),
            duration_ms: 1,
            time_to_first_token_ms: None,
            request_id: None,
            error,
        };
        let failures = std::iter::repeat_n(attempt(Some(error)), failed);
        failures.chain(std::iter::repeat_n(attempt(None), succeeded)).collect()
    }

    #[test]
    fn the_error_rate_needs_five_events_and_fires_once() {
        assert!(fired(AlertSettings::default(), attempts(4, 0)).is_empty());
        assert!(
            fired(AlertSettings::default(), attempts(1, 4)).is_empty(),
            "one isn't many"
        );
        assert_eq!(fired(AlertSettings::default(), attempts(4, 1)), ["error_rate"]);
        assert_eq!(fired(AlertSettings::default(), attempts(20, 0)), ["error_rate"]);
        let exactly_a_tenth = [attempts(0, 9), attempts(1, 0)].concat();
        assert!(fired(AlertSettings::default(), exactly_a_tenth).is_empty());
    }

    #[test]
    fn a_breaker_alerts_once_until_it_closes() {
        use BreakerState::{Closed, HalfOpen, Open};
        let changed = |(from, to)| EventKind::BreakerChanged {
            name: "tool:x".to_owned(),
            from,
            to,
            retry_after_ms: None,
            last_failure: None,
        };
        let changes = [
            (Closed, Open),
            (Open, HalfOpen),
            (HalfOpen, Open),
            (Open, HalfOpen),
            (HalfOpen, Closed),
        ];
        let once: Vec<_> = changes.into_iter().map(changed).collect();
        assert_eq!(fired(AlertSettings::default(), once.clone()), ["breaker_opened"]);
        assert_eq!(fired(AlertSettings::default(), [once.clone(), once].concat()).len(), 2);
    }

    #[test]
    fn cost_alerts_above_the_limit_once() {
        let settled = |nanos| EventKind::BudgetSettled {
            reservation: "r".to_owned(),
            amount_usd: NanoUsd::from_nanos(nanos),
            estimated: false,
            in_full: false,
            usage: None,
            cache_savings_usd: None,
        };
        assert!(fired(AlertSettings::default(), vec![settled(1_000_000_000)]).is_empty());
        let above_limit = vec![settled(1_000_000_000), settled(1), settled(1)];
        assert_eq!(fired(AlertSettings::default(), above_limit), ["session_cost"]);
    }

    #[test]
    fn every_budget_threshold_alerts() {
        let crossed = |percent| EventKind::BudgetAlert {
            scope: "session".to_owned(),
            percent,
            spent_usd: NanoUsd::ZERO,
            limit_usd: NanoUsd::ZERO,
        };
        assert_eq!(
            fired(AlertSettings::default(), vec![crossed(50), crossed(75)]),
            ["budget", "budget"]
        );
    }

    #[test]
    fn an_alert_event_triggers_no_alert() {
        let alert = EventKind::Alert {
            rule: "budget".to_owned(),
            message: String::new(),
        };
        assert!(
            fired(
                AlertSettings {
                    error_rate: 0.0,
                    ..AlertSettings::default()
                },
                vec![alert]
            )
            .is_empty()
        );
    }
}
