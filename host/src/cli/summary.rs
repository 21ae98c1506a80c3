//! The summary at the end of a run. Pure functions from metrics to text.

use std::cmp::Ordering;
use std::fmt::Write as _;

use clap::ValueEnum;

use super::budget::limits::{self, BudgetLine};
use super::format;
use super::table::{Column, Table};
use crate::agent::RunReport;
use crate::events::BreakerState;
use crate::ledger::Scope;
use crate::money::NanoUsd;
use crate::resilience::BreakerStats;
use crate::telemetry::SessionMetrics;

/// The maximum width of a tool's name, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The maximum width of a model's name, in characters. A server chooses it.
const MAX_MODEL_CHARS: usize = 80;

/// How much is said of a run at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Detail {
    /// Tables of the tools, breakers and budgets
    Full,
    /// One or two lines
    Short,
    None,
}

/// The summary in this detail, for a terminal of this width. `None` if there is none.
pub fn summary(report: &RunReport, detail: Detail, width: Option<usize>) -> Option<String> {
    let summary = match detail {
        Detail::Full => full(report, width),
        Detail::Short => short(report),
        Detail::None => return None,
    };
    Some(summary.trim_end().to_owned())
}

/// The whole summary: overview, tools, breakers and budgets.
fn full(report: &RunReport, width: Option<usize>) -> String {
    let mut sections = vec![overview(report)];
    if !report.metrics.tools.is_empty() {
        sections.push(tools(&report.metrics, width));
    }
    if !report.breakers.is_empty() {
        sections.push(breakers(report, width));
    }
    if !report.budget.is_empty() {
        let lines = BudgetLine::of_run(&report.budget);
        sections.push(limits::table(&lines, width));
    }
    sections.join("\n")
}

/// The line that ends a run: how it ended, what it took, and the session.
fn short(report: &RunReport) -> String {
    let metrics = &report.metrics;
    let degraded = if report.degraded { " (degraded)" } else { "" };
    let cached = metrics
        .cache_creation_input_tokens
        .saturating_add(metrics.cache_read_input_tokens);
    let prompt_tokens = metrics.input_tokens.saturating_add(cached);
    let unanswered: String = [(metrics.model_errors, "failed"), (metrics.model_cancelled, "cancelled")]
        .into_iter()
        .filter(|(attempts, _)| *attempts > 0)
        .map(|(attempts, what)| format!(", {} {what}", format::counted(attempts, "model attempt")))
        .collect();
    format!(
        "{}{degraded}: {}{unanswered}{}, {} tokens in, {} out, {}{}{}, {}\nsession {}",
        report.outcome,
        format::counted(report.iterations.into(), "iteration"),
        answered_by(metrics).map_or_else(String::new, |models| format!(", answered by {models}")),
        format::count(prompt_tokens),
        format::count(metrics.output_tokens),
        cost(report),
        caching_in_brackets(metrics),
        uncertain_charges(metrics.charged_in_full, metrics.charged_by_estimate),
        format::millis(metrics.duration_ms as f64),
        report.session_id,
    )
}

/// One line after an answer in a conversation: what the session has cost so far, by whichever process. `before` is the report of the
/// run before, whose uncertain charges are known already.
pub fn brief(report: &RunReport, before: Option<&RunReport>) -> String {
    let known = before.map(|before| (before.metrics.charged_in_full, before.metrics.charged_by_estimate));
    let (in_full, by_estimate) = known.unwrap_or_default();
    let new = uncertain_charges(
        report.metrics.charged_in_full.saturating_sub(in_full),
        report.metrics.charged_by_estimate.saturating_sub(by_estimate),
    );
    format!(
        "{}: {}, ${} so far{}{}",
        report.outcome,
        format::counted(report.iterations.into(), "iteration"),
        cost_of_session(report),
        caching_in_brackets(&report.metrics),
        new
    )
}

/// What the session has cost in all processes.
fn cost_of_session(report: &RunReport) -> NanoUsd {
    let of_session = report.budget.iter().find(|status| status.scope == Scope::Session);
    of_session.map_or(report.metrics.estimated_cost_usd, |status| status.spent_usd)
}

/// What it cost in this process, and in all if others had a part in it, or a person took something back.
fn cost(report: &RunReport) -> String {
    let (here, in_all) = (report.metrics.estimated_cost_usd, cost_of_session(report));
    match in_all.cmp(&here) {
        Ordering::Equal => format!("${here}"),
        Ordering::Greater => format!("${here} of the session's ${in_all}"),
        Ordering::Less => format!("${here}, of which ${} was taken back", here.saturating_sub(in_all)),
    }
}

/// Who answered how often, if it wasn't always the configured model.
fn answered_by(metrics: &SessionMetrics) -> Option<String> {
    if metrics.fallbacks == 0 || metrics.answers.is_empty() {
        return None;
    }
    let answers = metrics.answers.iter();
    let answers: Vec<_> = answers
        .map(|(model, answers)| format!("{} ({answers})", format::one_line(model, MAX_MODEL_CHARS)))
        .collect();
    Some(answers.join(", "))
}

/// What prompt caching saved or cost. `None` if nothing was cached.
fn caching(metrics: &SessionMetrics) -> Option<String> {
    let is_cached = metrics.cache_creation_input_tokens > 0 || metrics.cache_read_input_tokens > 0;
    is_cached.then(|| {
        let savings = metrics.cache_savings_usd.to_string();
        match savings.strip_prefix('-') {
            None => format!("saved ${savings}"),
            Some(extra) => format!("cost ${extra} more than it saved"),
        }
    })
}

fn caching_in_brackets(metrics: &SessionMetrics) -> String {
    caching(metrics)
        .map(|caching| format!(" (the cache {caching})"))
        .unwrap_or_default()
}

/// Why the cost may be above what the tokens explain.
fn uncertain_charges(in_full: u64, by_estimate: u64) -> String {
    let reasons: Vec<String> = [
        (in_full, "charged in full: usage unknown"),
        (by_estimate, "cut short: output estimated, with a margin"),
    ]
    .into_iter()
    .filter(|(attempts, _)| *attempts > 0)
    .map(|(attempts, why)| format!("{} {why}", format::counted(attempts, "attempt")))
    .collect();
    match reasons.is_empty() {
        true => String::new(),
        false => format!(" ({})", reasons.join("; ")),
    }
}

fn overview(report: &RunReport) -> String {
    let metrics = &report.metrics;
    let mut out = String::new();
    let mut line = |label: &str, text: String| {
        let _ = writeln!(out, "{label:<10}  {text}");
    };
    let degraded = if report.degraded {
        " (degraded: a fallback replaced a tool's result)"
    } else {
        ""
    };
    line("outcome", format!("{}{degraded}", report.outcome));
    line("session", report.session_id.clone());
    line("model", format::escape(&report.model).into_owned());
    if let Some(models) = answered_by(metrics) {
        line("answers", models);
    }
    let cancelled = match metrics.model_cancelled {
        0 => String::new(),
        attempts => format!(", {attempts} cancelled"),
    };
    line(
        "iterations",
        format!(
            "{} ({}, {} failed{cancelled}, retries: {})",
            report.iterations,
            format::counted(metrics.model_attempts, "model attempt"),
            metrics.model_errors,
            metrics.retries
        ),
    );
    line(
        "tokens",
        format!(
            "{} input, {} output, {} cache write, {} cache read",
            format::count(metrics.input_tokens),
            format::count(metrics.output_tokens),
            format::count(metrics.cache_creation_input_tokens),
            format::count(metrics.cache_read_input_tokens)
        ),
    );
    line(
        "cost",
        format!(
            "{}{}",
            cost(report),
            uncertain_charges(metrics.charged_in_full, metrics.charged_by_estimate)
        ),
    );
    if let Some(caching) = caching(metrics) {
        line("cache", caching);
    }
    let first_token = metrics
        .time_to_first_token_ms
        .map(|wait| format!(", first token after {}", format::millis(wait as f64)))
        .unwrap_or_default();
    line(
        "duration",
        format!(
            "{} ({} in the model{first_token})",
            format::millis(metrics.duration_ms as f64),
            format::millis(metrics.model_duration_ms as f64)
        ),
    );
    out
}

fn tools(metrics: &SessionMetrics, width: Option<usize>) -> String {
    let mut table = Table::new([
        Column::Left("tool"),
        Column::Right("calls"),
        Column::Right("ok"),
        Column::Right("failed"),
        Column::Right("degraded"),
        Column::Right("avg time"),
        Column::Right("fuel"),
        Column::Right("peak memory"),
        Column::Left("outcomes"),
    ]);
    for (name, tool) in &metrics.tools {
        let outcomes: Vec<String> = tool
            .outcomes
            .iter()
            .map(|(outcome, times)| format!("{outcome} {times}"))
            .collect();
        table.row([
            format::one_line(name, MAX_NAME_CHARS),
            format::count(tool.calls),
            format::count(tool.successes),
            format::count(tool.failures),
            format::count(tool.degraded),
            format::millis(tool.avg_duration_ms),
            format::count(tool.fuel),
            format::bytes(tool.peak_memory_bytes),
            outcomes.join(", "),
        ]);
    }
    table.render_within(width)
}

/// The breakers that this session used, and those with any failure or state change. Other breakers are only counted, because
/// a host can have many.
fn breakers(report: &RunReport, width: Option<usize>) -> String {
    let used = |name: &str| {
        name.strip_prefix("tool:")
            .is_none_or(|tool| report.metrics.tools.contains_key(tool))
    };
    let untouched = |breaker: &BreakerStats| {
        breaker.state == BreakerState::Closed && breaker.failure_count == 0 && breaker.opened_count == 0
    };
    let (hidden, shown): (Vec<_>, Vec<_>) = report
        .breakers
        .iter()
        .partition(|breaker| untouched(breaker) && !used(&breaker.name));
    let mut table = Table::new([
        Column::Left("breaker"),
        Column::Left("state"),
        Column::Right("failures"),
        Column::Right("opened"),
        Column::Right("rejected"),
        Column::Right("next probe"),
    ]);
    for breaker in shown {
        table.row([
            format::one_line(&breaker.name, MAX_NAME_CHARS),
            breaker.state.to_string(),
            match &breaker.window {
                Some(window) => format!("{} of {} calls", window.failures, window.calls),
                None => format!("{} of {}", breaker.failure_count, breaker.failure_threshold),
            },
            breaker.opened_count.to_string(),
            breaker.rejected_count.to_string(),
            breaker
                .time_until_retry_seconds
                .map(|wait| format!("in {}", format::seconds((wait * 1000.0) as u64)))
                .unwrap_or_default(),
        ]);
    }
    let mut out = table.render_within(width);
    if !hidden.is_empty() {
        let _ = writeln!(
            out,
            "and {} closed, unused",
            format::counted(hidden.len() as u64, "breaker")
        );
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::events::Ending;
    use crate::events::Outcome;
    use crate::ledger::BudgetStatus;
    use crate::telemetry::ToolMetrics;

    fn usd(text: &str) -> NanoUsd {
        text.parse().unwrap()
    }

    pub(crate) fn tool(calls: u64, successes: u64, outcomes: &[(Outcome, u64)]) -> ToolMetrics {
        ToolMetrics {
            calls,
            successes,
            failures: calls - successes,
            degraded: calls - successes,
            success_rate: successes as f64 / calls as f64,
            avg_duration_ms: 0.42,
            fuel: 81_234 * calls,
            peak_memory_bytes: 1_114_112,
            outcomes: outcomes.iter().copied().collect(),
        }
    }

    pub(crate) fn breaker(name: &str, state: BreakerState) -> BreakerStats {
        let open = state == BreakerState::Open;
        BreakerStats {
            name: name.to_owned(),
            state,
            failure_count: if open { 3 } else { 0 },
            success_count: 0,
            failure_threshold: 3,
            window: None,
            success_threshold: 2,
            open_for_seconds: 60.0,
            opened_at: None,
            opened_count: u64::from(open),
            time_until_retry_seconds: open.then_some(59.2),
            rejected_count: if open { 5 } else { 0 },
            last_failure: None,
        }
    }

    pub(crate) fn report() -> RunReport {
        RunReport {
            session_id: "0193".into(),
            tenant: "default".into(),
            outcome: Ending::Completed,
            answer: "25 * 17 = 425.".into(),
            partial_text: None,
            model: "claude-sonnet-5-5".into(),
            iterations: 2,
            cost_usd: NanoUsd::ZERO,
            degraded: true,
            metrics: SessionMetrics {
                input_tokens: 1700,
                output_tokens: 52,
                model_attempts: 4,
                model_errors: 2,
                retries: 2,
                estimated_cost_usd: usd("0.00392"),
                duration_ms: 1830,
                model_duration_ms: 1790,
                time_to_first_token_ms: Some(210),
                tools: [
                    ("calculate".to_owned(), tool(1, 1, &[(Outcome::Ok, 1)])),
                    (
                        "get_weather".to_owned(),
                        tool(6, 1, &[(Outcome::Ok, 1), (Outcome::BreakerOpen, 5)]),
                    ),
                ]
                .into(),
                ..SessionMetrics::default()
            },
            breakers: vec![
                breaker("model:claude-sonnet-5-5", BreakerState::Closed),
                breaker("tool:get_weather", BreakerState::Open),
                breaker("tool:never_called", BreakerState::Closed),
            ],
            budget: vec![
                BudgetStatus {
                    scope: Scope::Session,
                    tenant: None,
                    limit_usd: Some(usd("1")),
                    spent_usd: usd("0.00392"),
                    reserved_usd: NanoUsd::ZERO,
                    remaining_usd: Some(usd("0.99608")),
                },
                BudgetStatus {
                    scope: Scope::HostDay,
                    tenant: None,
                    limit_usd: None,
                    spent_usd: usd("0.00392"),
                    reserved_usd: NanoUsd::ZERO,
                    remaining_usd: None,
                },
            ],
            left_out: Vec::new(),
            unsaved: None,
            error: None,
        }
    }

    #[test]
    fn the_summary_of_a_whole_run() {
        insta::assert_snapshot!(full(&report(), None), @"
        outcome     completed (degraded: a fallback replaced a tool's result)
        session     0193
        model       claude-sonnet-5-5
        iterations  2 (4 model attempts, 2 failed, retries: 2)
        tokens      1,700 input, 52 output, 0 cache write, 0 cache read
        cost        $0.003920
        duration    1.8 s (1.8 s in the model, first token after 210 ms)

        tool         calls  ok  failed  degraded  avg time     fuel  peak memory  outcomes
        calculate        1   1       0         0   0.42 ms   81,234      1.1 MiB  ok 1
        get_weather      6   1       5         5   0.42 ms  487,404      1.1 MiB  ok 1, breaker_open 5

        breaker                  state   failures  opened  rejected  next probe
        model:claude-sonnet-5-5  closed    0 of 3       0         0
        tool:get_weather         open      3 of 3       1         5   in 59.2 s
        and 1 breaker closed, unused

        budget        limit      spent   reserved  remaining
        session   $1.000000  $0.003920  $0.000000  $0.996080
        host_day  unlimited  $0.003920  $0.000000  unlimited
        ");
    }

    #[test]
    fn the_short_summary_has_two_lines() {
        insta::assert_snapshot!(short(&report()), @"
        completed (degraded): 2 iterations, 2 model attempts failed, 1,700 tokens in, 52 out, $0.003920, 1.8 s
        session 0193
        ");
        let mut report = report();
        report.metrics.model_errors = 0;
        report.degraded = false;
        assert!(
            short(&report).starts_with("completed: 2 iterations, 1,700 tokens in,"),
            "{}",
            short(&report)
        );
    }

    #[test]
    fn each_detail_has_its_summary() {
        let summary = |detail| summary(&report(), detail, Some(200));
        assert_eq!(summary(Detail::None), None);
        assert_eq!(summary(Detail::Short).unwrap(), short(&report()));
        assert_eq!(summary(Detail::Full).unwrap(), full(&report(), None).trim_end());
    }

    #[test]
    fn a_narrow_terminal_can_show_the_tables() {
        let text = full(&report(), Some(40));
        let tables = text.split_once("\n\n").unwrap().1;
        assert!(tables.lines().all(|line| line.chars().count() <= 40), "{tables}");
        assert!(tables.contains("outcomes     ok 1, breaker_open 5\n"), "{tables}");
    }

    #[test]
    fn a_charge_of_unknown_usage_is_explained() {
        let mut report = report();
        report.metrics.charged_in_full = 2;
        let says = "$0.003920 (2 attempts charged in full: usage unknown)";
        assert!(full(&report, None).contains(says), "{}", full(&report, None));
        assert!(short(&report).contains(says), "{}", short(&report));
        assert_eq!(
            brief(&report, None),
            "completed: 2 iterations, $0.003920 so far (2 attempts charged in full: usage unknown)"
        );
        assert_eq!(
            brief(&report, Some(&report)),
            "completed: 2 iterations, $0.003920 so far",
            "said before"
        );
        report.budget[0].spent_usd = usd("0.5");
        let says = "$0.003920 of the session's $0.500000 (2 attempts";
        assert!(full(&report, None).contains(says), "{}", full(&report, None));
        assert!(short(&report).contains(says), "{}", short(&report));
        let mut reversed = report.clone();
        reversed.budget[0].spent_usd = usd("0.001");
        let says = "$0.003920, of which $0.002920 was taken back (2 attempts";
        assert!(short(&reversed).contains(says), "{}", short(&reversed));
        let so_far = brief(&report, None);
        assert!(
            so_far.contains("$0.500000 so far"),
            "with what other processes spent: {so_far}"
        );
    }

    #[test]
    fn what_the_cache_saved_or_cost_is_said() {
        let mut report = report();
        report.metrics.cache_creation_input_tokens = 2_000;
        report.metrics.cache_savings_usd = NanoUsd::ZERO.minus(usd("0.001"));
        assert!(
            full(&report, None)
                .contains("0 cache read\ncost        $0.003920\ncache       cost $0.001000 more than it saved\n"),
            "{}",
            full(&report, None)
        );
        let says = "$0.003920 (the cache cost $0.001000 more than it saved)";
        assert!(short(&report).contains(says), "{}", short(&report));
        report.metrics.cache_read_input_tokens = 8_000;
        report.metrics.cache_savings_usd = usd("0.0142").minus(NanoUsd::ZERO);
        assert!(
            full(&report, None).contains("\ncache       saved $0.014200\n"),
            "{}",
            full(&report, None)
        );
        let says = "$0.003920 (the cache saved $0.014200)";
        assert!(short(&report).contains(says), "{}", short(&report));
        assert_eq!(
            brief(&report, None),
            "completed: 2 iterations, $0.003920 so far (the cache saved $0.014200)"
        );
    }

    #[test]
    fn a_cancelled_attempt_is_no_failure_and_its_charge_is_explained() {
        let mut report = report();
        report.metrics.model_errors = 0;
        report.metrics.model_cancelled = 1;
        report.metrics.charged_by_estimate = 1;
        let says = "$0.003920 (1 attempt cut short: output estimated, with a margin)";
        let (full, short, brief) = (full(&report, None), short(&report), brief(&report, None));
        assert!(
            full.contains(says) && full.contains("4 model attempts, 0 failed, 1 cancelled,"),
            "{full}"
        );
        assert!(
            short.contains(says) && short.contains(": 2 iterations, 1 model attempt cancelled, 1,700 tokens in"),
            "{short}"
        );
        assert_eq!(
            brief,
            "completed: 2 iterations, $0.003920 so far (1 attempt cut short: output estimated, with a margin)"
        );
        report.metrics.charged_in_full = 2;
        let both = "(2 attempts charged in full: usage unknown; 1 attempt cut short: output estimated, with a margin)";
        assert!(super::short(&report).contains(both));
    }

    #[test]
    fn a_run_without_tools_has_no_empty_tables() {
        let mut report = report();
        report.metrics.tools.clear();
        report.breakers.clear();
        report.budget.clear();
        report.degraded = false;
        let text = full(&report, None);
        assert!(
            !text.contains("tool ") && !text.contains("breaker") && !text.contains("budget"),
            "{text}"
        );
        assert!(text.starts_with("outcome     completed\n"), "{text}");
    }

    #[test]
    fn a_hostile_tool_name_is_escaped() {
        let mut report = report();
        report.metrics.tools = [("a\u{1b}[2J\nb".to_owned(), tool(1, 1, &[(Outcome::Ok, 1)]))].into();
        assert!(full(&report, None).contains("a\\u{1b}[2J b"));
    }
}
