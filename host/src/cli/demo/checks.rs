//! Checks against the report that the demo has shown each feature.

use super::script::{CRASHING, LOOPING};
use crate::agent::RunReport;
use crate::events::{Ending, Outcome};

/// The breaker that must open.
const BREAKER: &str = "tool:get_weather";

/// A feature of the demo, and whether the run showed it.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    pub what: &'static str,
    pub passed: bool,
}

pub fn check_report(report: &RunReport) -> Vec<Check> {
    let metrics = &report.metrics;
    let times = |tool: &str, outcomes: &[Outcome]| -> u64 {
        let counted = metrics.tools.get(tool).map(|tool| &tool.outcomes);
        outcomes.iter().filter_map(|outcome| counted?.get(outcome)).sum()
    };
    let weather = metrics.tools.get("get_weather");
    let opened = report
        .breakers
        .iter()
        .any(|breaker| breaker.name == BREAKER && breaker.opened_count > 0);
    [
        (
            "an overloaded (529) and a rate-limited (429) response of the API were retried",
            metrics.retries >= 2,
        ),
        ("two sandboxed tools answered the question", {
            times("calculate", &[Outcome::Ok]) > 0 && times("get_weather", &[Outcome::Ok]) > 0
        }),
        ("a tool that loops forever was stopped by its limit", {
            times(LOOPING, &[Outcome::Timeout, Outcome::OutOfFuel]) > 0
        }),
        (
            "a tool that crashes was contained",
            times(CRASHING, &[Outcome::Trapped]) > 0,
        ),
        ("the breaker of a tool whose service is down opened", opened),
        (
            "the fallback replaced its result",
            weather.is_some_and(|tool| tool.degraded > 0),
        ),
        ("the run completed, and the answer contains 425", {
            report.outcome == Ending::Completed && report.answer.contains("425")
        }),
    ]
    .map(|(what, passed)| Check { what, passed })
    .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::summary::tests::{breaker, report, tool};
    use crate::events::BreakerState;

    fn passing_report() -> RunReport {
        let mut report = report();
        report.metrics.tools = [
            ("calculate", tool(1, 1, &[(Outcome::Ok, 1)])),
            (
                "get_weather",
                tool(
                    6,
                    1,
                    &[(Outcome::Ok, 1), (Outcome::Unavailable, 3), (Outcome::BreakerOpen, 2)],
                ),
            ),
            (LOOPING, tool(1, 0, &[(Outcome::Timeout, 1)])),
            (CRASHING, tool(1, 0, &[(Outcome::Trapped, 1)])),
        ]
        .map(|(name, metrics)| (name.to_owned(), metrics))
        .into();
        report.breakers = vec![breaker(BREAKER, BreakerState::Open)];
        report
    }

    fn failed_checks(report: &RunReport) -> Vec<&'static str> {
        check_report(report)
            .into_iter()
            .filter(|check| !check.passed)
            .map(|check| check.what)
            .collect()
    }

    #[test]
    fn a_good_run_passes_every_check() {
        assert_eq!(failed_checks(&passing_report()), Vec::<&str>::new());
    }

    #[test]
    fn each_check_can_fail() {
        let mutations: [fn(&mut RunReport); 7] = [
            |report| report.metrics.retries = 1,
            |report| drop(report.metrics.tools.remove("calculate")),
            |report| report.metrics.tools.get_mut(LOOPING).unwrap().outcomes.clear(),
            |report| drop(report.metrics.tools.remove(CRASHING)),
            |report| report.breakers.clear(),
            |report| report.metrics.tools.get_mut("get_weather").unwrap().degraded = 0,
            |report| report.answer = "I do not know".into(),
        ];
        for (index, mutate) in mutations.into_iter().enumerate() {
            let mut report = passing_report();
            mutate(&mut report);
            assert_eq!(failed_checks(&report), [check_report(&report)[index].what]);
        }
    }
}
