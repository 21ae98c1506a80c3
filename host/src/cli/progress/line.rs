//! The texts of progress lines: what a person reads of an event.

use anstyle::{AnsiColor, Style};

use crate::cli::{attach, format};
use crate::events::{ApprovalDecided, BreakerState, EventKind, Outcome, ToolCallFinished, TrimReason, reversal_hint};

/// The maximum length of an input, an output or a reason in a progress line, in characters.
const MAX_TEXT_CHARS: usize = 100;

/// The most lines of what a failed tool printed.
const MAX_PRINTED_LINES: usize = 5;

const PLAIN: Style = Style::new();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();
const LABEL: Style = AnsiColor::Cyan.on_default().bold();

/// One progress line: a label and a text.
#[derive(Debug)]
pub struct ProgressLine {
    label: &'static str,
    style: Style,
    text: String,
}

impl ProgressLine {
    pub fn new(label: &'static str, text: impl Into<String>) -> Self {
        Self {
            label,
            style: PLAIN,
            text: text.into(),
        }
    }

    const fn styled(mut self, style: Style) -> Self {
        self.style = style;
        self
    }

    /// The line with its styles, which the sink strips if they are not wanted.
    pub fn render(&self) -> String {
        let (style, text) = (self.style, &self.text);
        format!("{LABEL}{:>8}{LABEL:#}  {style}{text}{style:#}", self.label)
    }
}

/// The progress line for an event; `None` for events that another event already covers. `last_failure` is why the last attempt
/// failed, which isn't repeated.
pub fn progress_line(event: &EventKind, last_failure: Option<&str>) -> Option<ProgressLine> {
    Some(match event {
        EventKind::SessionStarted { model, tools, .. } => {
            let names = format::one_line(&tools.join(", "), MAX_TEXT_CHARS);
            let model = format::escape(model);
            let text = match tools.len() {
                0 => format!("model {model}, no tools"),
                count => format!("model {model}, {}: {names}", format::counted(count as u64, "tool")),
            };
            ProgressLine::new("session", text)
        }
        EventKind::ModelRetry {
            attempt,
            max_attempts,
            delay_ms,
            error,
        } => ProgressLine::new(
            "retry",
            format!(
                "attempt {attempt} of {max_attempts} failed{}; next attempt in {}",
                match last_failure == Some(&*error.message) {
                    true => " in the same way".to_owned(),
                    false => {
                        let reason = format::one_line(&error.message, MAX_TEXT_CHARS);
                        format!(": {}", reason.trim_end_matches('.'))
                    }
                },
                format::seconds(*delay_ms)
            ),
        )
        .styled(WARN),
        EventKind::ModelResponse {
            stop_reason,
            usage,
            duration_ms,
            ..
        } => ProgressLine::new(
            "model",
            format!(
                "{} after {}, {} tokens in, {} out",
                format::one_line(stop_reason, MAX_TEXT_CHARS),
                format::millis(*duration_ms as f64),
                format::count(usage.prompt_tokens()),
                format::count(usage.output_tokens)
            ),
        ),
        EventKind::ToolCallStarted { tool, input, .. } => ProgressLine::new(
            "tool",
            format!(
                "{} {}",
                format::escape(tool),
                format::one_line(&input.to_string(), MAX_TEXT_CHARS)
            ),
        ),
        EventKind::ApprovalRequested { tool, .. } => {
            ProgressLine::new("approval", format!("{} waits for a person", format::escape(tool))).styled(WARN)
        }
        EventKind::ApprovalDecided { tool, decision, .. } => {
            let decision = match decision {
                ApprovalDecided::Approved => "approved",
                ApprovalDecided::ApprovedForSession => "approved for this session",
                ApprovalDecided::Denied => "denied",
                ApprovalDecided::Expired => "not made: nobody decided in time",
                ApprovalDecided::GivenUp => "is given up: the call that was asked about isn't made",
            };
            ProgressLine::new("approval", format!("{} {decision}", format::escape(tool)))
        }
        EventKind::ToolCallFinished(finished) => tool_finished(finished),
        EventKind::BreakerChanged {
            name,
            from,
            to,
            retry_after_ms,
            ..
        } => {
            let then = retry_after_ms
                .map(|delay| format!("; next probe in {}", format::seconds(delay)))
                .unwrap_or_default();
            let style = if *to == BreakerState::Closed { GOOD } else { WARN };
            ProgressLine::new(
                "breaker",
                format!("{} went from {from} to {to}{then}", format::escape(name)),
            )
            .styled(style)
        }
        EventKind::Alert { rule, message } => ProgressLine::new(
            "alert",
            format!("{rule}: {}", format::one_line(message, MAX_TEXT_CHARS)),
        )
        .styled(WARN),
        EventKind::HistoryTrimmed {
            reason,
            results,
            bytes,
            images,
            files,
        } => {
            let crowded_out = attach::crowded_out();
            let why = match reason {
                TrimReason::CrowdedOut => &crowded_out,
                TrimReason::TooLong => "the conversation is too long for the model",
                TrimReason::Budget => "the budget doesn't cover the whole conversation",
                TrimReason::Images => "the API refused the request, perhaps because of its images",
                TrimReason::VendorBlocks => {
                    "the API refused the request, perhaps because of the model's thinking in it"
                }
            };
            let until = match reason {
                TrimReason::Budget => "of this request",
                _ => "from now on",
            };
            let mut what: Vec<String> = files.iter().map(attach::left_out).collect();
            for (count, one) in [(*results, "tool result"), (*images, "image")] {
                if count > 0 {
                    what.push(format::counted(u64::from(count), one));
                }
            }
            let what = match what.is_empty() {
                true => "the thinking".to_owned(),
                false => what.join(", "),
            };
            let bytes = format::bytes(*bytes);
            ProgressLine::new("model", format!("{why}: left out {until}: {what} ({bytes} in all)")).styled(WARN)
        }
        EventKind::ModelWaiting { retry_after_ms, error } => {
            let what = format::one_line(&error.message, MAX_TEXT_CHARS);
            // First, because a terminal may cut the rest off.
            let time = retry_after_ms.map_or_else(String::new, |delay| format!(" {}", format::seconds(delay)));
            ProgressLine::new("model", format!("waiting{time}: {what}")).styled(WARN)
        }
        EventKind::ModelFallback { from, to, error } => {
            let why = format::one_line(&error.message, MAX_TEXT_CHARS);
            let (from, to) = (format::escape(from), format::escape(to));
            ProgressLine::new("model", format!("{from} has no answer, so {to} is asked: {why}")).styled(WARN)
        }
        EventKind::BudgetSettled {
            reservation,
            amount_usd,
            in_full: true,
            ..
        } => ProgressLine::new(
            "budget",
            format!(
                "${amount_usd} charged in full: usage unknown; {}",
                reversal_hint(reservation)
            ),
        )
        .styled(WARN),
        // Every budget alert is followed by an `Alert` event with the same content.
        EventKind::BudgetAlert { .. }
        | EventKind::TurnStarted {}
        | EventKind::ModelAttempt { .. }
        | EventKind::TextDelta { .. }
        | EventKind::BudgetReserved { .. }
        | EventKind::BudgetSettled { .. }
        | EventKind::BudgetReleased { .. }
        | EventKind::SessionFinished { .. } => return None,
    })
}

fn tool_finished(call: &ToolCallFinished) -> ProgressLine {
    let (link, text) = match call.outcome {
        Outcome::Ok => (" ->", call.output.as_str()),
        _ => (":", reason(call)),
    };
    let text = format!(
        "{}{link} {}",
        outcome_and_metrics(call),
        format::one_line(text, MAX_TEXT_CHARS)
    );
    ProgressLine::new("tool", text).styled(style(call))
}

/// What else a person wants to know of a call that failed: what the model reads in place of the failure, and the end of what the tool
/// printed, where toolchains put the message of a panic or an exception.
pub fn failure_lines(call: &ToolCallFinished) -> Vec<ProgressLine> {
    let mut lines = Vec::new();
    if call.outcome == Outcome::Ok {
        return lines;
    }
    let printed: Vec<&str> = call.log.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = printed.len().saturating_sub(MAX_PRINTED_LINES);
    lines.extend(
        printed
            .iter()
            .skip(tail)
            .map(|line| ProgressLine::new("printed", format::one_line(line, MAX_TEXT_CHARS))),
    );
    // The tool's own words are the reason. What the host knows of its requests stands beside them.
    if let Some(detail) = call.detail.as_deref().filter(|_| has_own_words(call.outcome)) {
        lines.push(ProgressLine::new("detail", format::one_line(detail, MAX_TEXT_CHARS)));
    }
    if call.degraded {
        lines.push(ProgressLine::new(
            "instead",
            format::one_line(&call.output, MAX_TEXT_CHARS),
        ));
    }
    lines
}

/// The outcome and metrics of a tool call, without its output.
pub fn metrics_line(call: &ToolCallFinished) -> ProgressLine {
    let mut text = outcome_and_metrics(call);
    if call.peak_memory_bytes > 0 {
        text += &format!(", peak memory {}", format::bytes(call.peak_memory_bytes));
    }
    ProgressLine::new("tool", text).styled(style(call))
}

fn style(call: &ToolCallFinished) -> Style {
    if call.outcome == Outcome::Ok { GOOD } else { BAD }
}

fn outcome_and_metrics(call: &ToolCallFinished) -> String {
    let mut text = format!("{} {}", format::escape(&call.tool), outcome_in_words(call));
    if call.tries > 0 {
        text += &format!(
            " after {}, fuel {}",
            format::millis(call.duration_ms),
            format::count(call.fuel)
        );
    }
    if call.tries > 1 {
        text += &format!(", {} tries", call.tries);
    }
    text
}

/// Why a call failed: the first line, because a backtrace follows its cause. A fallback has replaced the output.
fn reason(call: &ToolCallFinished) -> &str {
    let output = call.replaced_output.as_deref().unwrap_or(&call.output);
    let detail = call.detail.as_deref().filter(|_| !has_own_words(call.outcome));
    let mut lines = detail.unwrap_or(output).lines();
    lines.find(|line| !line.trim().is_empty()).unwrap_or_default()
}

/// Whether the tool itself said what failed.
const fn has_own_words(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Failed | Outcome::Unavailable)
}

/// The outcome in words, followed by its name if that differs.
fn outcome_in_words(call: &ToolCallFinished) -> String {
    let outcome = call.outcome;
    let words = match outcome {
        Outcome::Timeout => "stopped by its time limit",
        Outcome::OutOfFuel => "stopped by its fuel limit",
        Outcome::OutOfMemory => "stopped by its memory limit",
        Outcome::StackOverflow => "stopped by the stack limit",
        Outcome::Trapped => "crashed in its sandbox",
        Outcome::BreakerOpen if call.tries == 0 => "not run, its breaker is open",
        Outcome::BreakerOpen => "not tried again, its breaker is open",
        _ => return outcome.name().to_owned(),
    };
    format!("{words} ({outcome})")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::super::tests::response;
    use super::*;
    use crate::events::ErrorInfo;

    fn finished(outcome: Outcome) -> ToolCallFinished {
        ToolCallFinished {
            call_id: "toolu_1".into(),
            tool: "get_weather".into(),
            plugin: "weather".into(),
            outcome,
            degraded: false,
            tries: 1,
            duration_ms: 12.4,
            fuel: 81_234,
            peak_memory_bytes: 1 << 20,
            host_calls: 3,
            http_requests: 0,
            bytes_sent: 0,
            bytes_received: 0,
            log_bytes_dropped: 0,
            detail: None,
            output: "said".into(),
            replaced_output: None,
            log: String::new(),
        }
    }

    fn rendered(kind: EventKind) -> String {
        progress_line(&kind, None)
            .map(|line| anstream::adapter::strip_str(&line.render()).to_string())
            .unwrap_or_default()
    }

    #[test]
    fn events_have_progress_lines() {
        let error = ErrorInfo {
            kind: "overloaded".into(),
            message: "try later.".into(),
            hint: None,
            request_id: None,
        };
        let retry = EventKind::ModelRetry {
            attempt: 1,
            max_attempts: 3,
            delay_ms: 500,
            error,
        };
        assert_eq!(
            rendered(retry.clone()),
            "   retry  attempt 1 of 3 failed: try later; next attempt in 0.5 s"
        );
        let again = progress_line(&retry, Some("try later.")).unwrap().text;
        assert_eq!(again, "attempt 1 of 3 failed in the same way; next attempt in 0.5 s");
        let mut error = retry.clone();
        let error = error.error_mut().unwrap();
        error.message = "the rate limit of https://api.anthropic.com is reached".into();
        let waiting = |retry_after_ms| EventKind::ModelWaiting {
            retry_after_ms,
            error: error.clone(),
        };
        assert_eq!(
            rendered(waiting(Some(12_000))),
            "   model  waiting 12 s: the rate limit of https://api.anthropic.com is reached"
        );
        assert_eq!(
            rendered(waiting(None)),
            "   model  waiting: the rate limit of https://api.anthropic.com is reached"
        );
        assert_eq!(
            rendered(response("x").kind),
            "   model  end_turn after 640 ms, 1,200 tokens in, 52 out"
        );
        assert_eq!(
            rendered(EventKind::ToolCallStarted {
                call_id: "c".into(),
                tool: "get_weather".into(),
                plugin: "weather".into(),
                input: json!({ "location": "Boston" }).into(),
            }),
            "    tool  get_weather {\"location\":\"Boston\"}"
        );
        assert_eq!(
            rendered(EventKind::BreakerChanged {
                name: "tool:get_weather".into(),
                from: BreakerState::Closed,
                to: BreakerState::Open,
                retry_after_ms: Some(60_000),
                last_failure: None,
            }),
            " breaker  tool:get_weather went from closed to open; next probe in 60 s"
        );
    }

    #[test]
    fn tool_outcomes_are_shown_with_their_metrics() {
        let rendered = |call| rendered(EventKind::ToolCallFinished(Box::new(call)));
        assert_eq!(
            rendered(finished(Outcome::Ok)),
            "    tool  get_weather ok after 12 ms, fuel 81,234 -> said"
        );
        let detail = Some("limit of 1 s\n  0: weather::fetch at 0x7f\n  1: main at 0x2a".to_owned());
        assert_eq!(
            rendered(ToolCallFinished {
                detail,
                ..finished(Outcome::Timeout)
            }),
            "    tool  get_weather stopped by its time limit (timeout) after 12 ms, fuel 81,234: limit of 1 s"
        );
        assert_eq!(
            rendered(ToolCallFinished {
                tries: 3,
                degraded: true,
                replaced_output: Some("no answer".to_owned()),
                ..finished(Outcome::Unavailable)
            }),
            "    tool  get_weather unavailable after 12 ms, fuel 81,234, 3 tries: no answer"
        );
        assert_eq!(
            rendered(ToolCallFinished {
                tries: 0,
                ..finished(Outcome::BreakerOpen)
            }),
            "    tool  get_weather not run, its breaker is open (breaker_open): said"
        );
        assert_eq!(
            rendered(ToolCallFinished {
                tries: 2,
                ..finished(Outcome::BreakerOpen)
            }),
            "    tool  get_weather not tried again, its breaker is open (breaker_open) after 12 ms, fuel 81,234, 2 tries: said"
        );
    }

    #[test]
    fn a_failure_comes_with_what_was_printed_and_what_the_model_reads() {
        let call = ToolCallFinished {
            degraded: true,
            log: (1..8).map(|line| format!("line {line}\u{1b}\n\n")).collect(),
            ..finished(Outcome::Trapped)
        };
        let lines: Vec<String> = failure_lines(&call)
            .iter()
            .map(|line| anstream::adapter::strip_str(&line.render()).to_string())
            .collect();
        assert_eq!(lines.len(), MAX_PRINTED_LINES + 1);
        assert_eq!(lines[0], " printed  line 3\\u{1b}");
        assert_eq!(lines[5], " instead  said");
        assert!(failure_lines(&finished(Outcome::Ok)).is_empty());
    }

    #[test]
    fn control_characters_from_tools_are_escaped() {
        let call = ToolCallFinished {
            tool: "a\u{1b}[2J".into(),
            output: "\u{1b}]0;x".into(),
            ..finished(Outcome::Ok)
        };
        let line = progress_line(&EventKind::ToolCallFinished(Box::new(call)), None).unwrap();
        assert!(
            line.text.contains("a\\u{1b}[2J") && line.text.contains("\\u{1b}]0;x"),
            "{}",
            line.text
        );
    }
}
