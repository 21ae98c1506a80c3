//! What the demo promises to show, checked against the report of its run, so that it cannot boast.

use super::script::{CRASHING, LOOPING};
use crate::agent::RunReport;
use crate::events::Ending;
use crate::events::Outcome;

/// The breaker that has to open.
const BREAKER: &str = "tool:get_weather";

/// One thing that the demo shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Promise {
    pub what: &'static str,
    pub kept: bool,
}

pub fn promises(report: &RunReport) -> Vec<Promise> {
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
            "an overloaded (529) and a rate-limited (429) answer of the API were retried",
            metrics.retries >= 2,
        ),
        ("two sandboxed tools answered the question", {
            times("calculate", &[Outcome::Ok]) > 0 && times("get_weather", &[Outcome::Ok]) > 0
        }),
        ("a tool that loops for ever was stopped by its limit", {
            times(LOOPING, &[Outcome::Timeout, Outcome::OutOfFuel]) > 0
        }),
        (
            "a tool that crashes was contained",
            times(CRASHING, &[Outcome::Trapped]) > 0,
        ),
        ("the breaker of a tool whose service is down opened", opened),
        (
            "the fallback stood in for it",
            weather.is_some_and(|tool| tool.degraded > 0),
        ),
        ("the run completed, and the answer holds 425", {
            report.outcome == Ending::Completed && report.answer.contains("425")
        }),
    ]
    .map(|(what, kept)| Promise { what, kept })
    .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::summary::tests::{breaker, report, tool};
    use crate::events::BreakerState;

    fn good() -> RunReport {
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

    fn broken(report: &RunReport) -> Vec<&'static str> {
        promises(report)
            .into_iter()
            .filter(|promise| !promise.kept)
            .map(|promise| promise.what)
            .collect()
    }

    #[test]
    fn a_good_run_keeps_every_promise() {
        assert_eq!(broken(&good()), Vec::<&str>::new());
    }

    #[test]
    fn each_promise_can_be_broken() {
        let breakages: [fn(&mut RunReport); 7] = [
            |report| report.metrics.retries = 1,
            |report| drop(report.metrics.tools.remove("calculate")),
            |report| report.metrics.tools.get_mut(LOOPING).unwrap().outcomes.clear(),
            |report| drop(report.metrics.tools.remove(CRASHING)),
            |report| report.breakers.clear(),
            |report| report.metrics.tools.get_mut("get_weather").unwrap().degraded = 0,
            |report| report.answer = "I do not know".into(),
        ];
        for (index, breakage) in breakages.into_iter().enumerate() {
            let mut report = good();
            breakage(&mut report);
            assert_eq!(broken(&report), [promises(&report)[index].what]);
        }
    }
}
