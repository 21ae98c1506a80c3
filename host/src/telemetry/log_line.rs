//! Writes an event as one log line with its level, message and fields.
//!
//! Field names are the same in every line (`event`, `session`, `tenant`, `turn`, `tool`, `request_id`, `outcome`, …), so that
//! logs can be searched by them. Text from users, models and tools is logged only if contents are enabled.

use tracing::Level;

use crate::events::{ErrorInfo, Event, EventKind, Outcome, ToolCallFinished, reversal_hint};

/// The target of all event lines. It starts with the crate's own target, so the crate's level applies.
const TARGET: &str = "cofferdam::event";

/// The target of the lines that begin and end a run. A console whose reader gets a report of the run can leave them out.
pub const RUNS: &str = "cofferdam::event::run";

/// Adds the fields that every line has. A macro, because `tracing` needs level, message and field names at compile time.
macro_rules! line {
    ($level:ident, $event:ident, $message:literal $(, $($fields:tt)+)?) => {
        line!(TARGET; $level, $event, $message $(, $($fields)+)?)
    };
    ($target:expr; $level:ident, $event:ident, $message:literal $(, $($fields:tt)+)?) => {
        tracing::event!(
            target: $target,
            Level::$level,
            event = $event.kind.name(),
            $($($fields)+,)?
            session = &*$event.session_id,
            tenant = &*$event.tenant,
            turn = $event.turn,
            $message
        )
    };
}

/// Writes the event to the process's `tracing` subscriber.
pub(super) fn write(event: &Event, contents: bool) {
    let if_enabled = |text| contents.then_some(text);
    match &event.kind {
        EventKind::SessionStarted {
            agent,
            model,
            tools,
            prompt,
            ..
        } => {
            let (agent, model, prompt) = (agent.as_str(), model.as_str(), if_enabled(prompt.as_str()));
            line!(
                RUNS; INFO,
                event,
                "session started",
                agent,
                model,
                tools = tools.len(),
                prompt
            );
        }
        EventKind::TurnStarted {} => line!(DEBUG, event, "turn started"),
        EventKind::ModelWaiting { retry_after_ms, error } => line!(
            INFO,
            event,
            "model waiting",
            retry_after_ms,
            error_kind = error.kind.as_str(),
            error = error.message.as_str()
        ),
        EventKind::ModelFallback { from, to, error } => line!(
            WARN,
            event,
            "model falls back",
            from = from.as_str(),
            to = to.as_str(),
            error_kind = error.kind.as_str(),
            error = error.message.as_str()
        ),
        EventKind::HistoryTrimmed {
            reason,
            results,
            bytes,
            images,
            files,
        } => line!(
            WARN,
            event,
            "history trimmed",
            reason = reason.as_str(),
            results,
            bytes,
            images,
            files = files.len()
        ),
        EventKind::ModelAttempt {
            attempt,
            model,
            duration_ms,
            time_to_first_token_ms,
            request_id,
            error,
        } => {
            let (model, request_id) = (model.as_str(), request_id.as_deref());
            match error {
                None => line!(
                    DEBUG,
                    event,
                    "model answered",
                    attempt,
                    model,
                    duration_ms,
                    time_to_first_token_ms,
                    request_id
                ),
                // What its caller wanted is nothing to warn of, and the end of the run says so as well.
                Some(error) if error.is_cancellation() => line!(
                    DEBUG,
                    event,
                    "model attempt cancelled",
                    attempt,
                    model,
                    duration_ms,
                    request_id
                ),
                Some(ErrorInfo {
                    kind, message, hint, ..
                }) => line!(
                    WARN,
                    event,
                    "model attempt failed",
                    error_kind = kind.as_str(),
                    error = message.as_str(),
                    hint = hint.as_deref(),
                    attempt,
                    model,
                    duration_ms,
                    request_id
                ),
            }
        }
        EventKind::ModelRetry {
            attempt,
            max_attempts,
            delay_ms,
            error,
        } => line!(
            // The attempt that failed was a warning.
            DEBUG,
            event,
            "retrying the model",
            attempt,
            max_attempts,
            delay_ms,
            error_kind = error.kind.as_str(),
            request_id = error.request_id.as_deref()
        ),
        EventKind::ModelResponse {
            model,
            stop_reason,
            usage,
            duration_ms,
            request_id,
            text,
        } => line!(
            DEBUG,
            event,
            "model response",
            model = model.as_str(),
            stop_reason = stop_reason.as_str(),
            input_tokens = usage.input_tokens,
            output_tokens = usage.output_tokens,
            cache_creation_input_tokens = usage.cache_creation_input_tokens(),
            cache_read_input_tokens = usage.cache_read_input_tokens,
            duration_ms,
            request_id = request_id.as_deref(),
            text = if_enabled(text.as_str())
        ),
        EventKind::TextDelta { text } => {
            line!(
                TRACE,
                event,
                "text",
                bytes = text.len(),
                text = if_enabled(text.as_str())
            );
        }
        EventKind::ApprovalRequested {
            approval,
            call_id,
            tool,
            plugin,
            expires_at,
            input,
        } => {
            let input = contents.then(|| tracing::field::display(input));
            line!(
                WARN,
                event,
                "approval requested",
                approval = approval.as_str(),
                call_id = call_id.as_str(),
                tool = tool.as_str(),
                plugin = plugin.as_str(),
                expires_at = %expires_at,
                input
            );
        }
        EventKind::ApprovalDecided {
            approval,
            call_id,
            tool,
            decision,
        } => line!(
            INFO,
            event,
            "approval decided",
            approval = approval.as_str(),
            call_id = call_id.as_str(),
            tool = tool.as_str(),
            decision = decision.as_str()
        ),
        EventKind::ToolCallStarted {
            call_id,
            tool,
            plugin,
            input,
        } => {
            let input = contents.then(|| tracing::field::display(input));
            line!(
                DEBUG,
                event,
                "tool started",
                tool = tool_name(tool, plugin, contents),
                call_id = call_id.as_str(),
                input
            );
        }
        EventKind::ToolCallFinished(finished) => tool_finished(event, finished, contents),
        EventKind::BreakerChanged {
            name,
            from,
            to,
            retry_after_ms,
            last_failure,
        } => line!(
            DEBUG,
            event,
            "breaker changed",
            breaker = name.as_str(),
            from = from.name(),
            to = to.name(),
            retry_after_ms,
            last_failure = last_failure.as_deref()
        ),
        EventKind::BudgetReserved {
            reservation,
            amount_usd,
        } => line!(
            DEBUG, event, "budget reserved", reservation = reservation.as_str(), amount_usd = %amount_usd
        ),
        // Somebody may want to take it back, and needs the id for it.
        EventKind::BudgetSettled {
            reservation,
            amount_usd,
            in_full: true,
            ..
        } => line!(
            WARN, event, "charged in full: usage unknown", hint = reversal_hint(reservation),
            reservation = reservation.as_str(), amount_usd = %amount_usd
        ),
        EventKind::BudgetSettled {
            reservation,
            amount_usd,
            estimated,
            in_full,
            usage: _,
            cache_savings_usd,
        } => line!(
            DEBUG, event, "budget settled", reservation = reservation.as_str(), amount_usd = %amount_usd, estimated,
            in_full, cache_savings_usd = cache_savings_usd.map(tracing::field::display)
        ),
        EventKind::BudgetReleased {
            reservation,
            amount_usd,
        } => line!(
            DEBUG, event, "budget released", reservation = reservation.as_str(), amount_usd = %amount_usd
        ),
        // Only `DEBUG`, because the alert that follows logs the warning.
        EventKind::BudgetAlert {
            scope,
            percent,
            spent_usd,
            limit_usd,
        } => line!(
            DEBUG, event, "budget threshold", scope = scope.as_str(), percent, spent_usd = %spent_usd,
            limit_usd = %limit_usd
        ),
        EventKind::Alert { rule, message } => {
            line!(WARN, event, "alert", rule = rule.as_str(), alert = message.as_str());
        }
        EventKind::SessionFinished {
            outcome,
            duration_ms,
            error,
            answer,
        } => {
            let (outcome, answer) = (outcome.name(), if_enabled(answer.as_str()));
            match error.as_ref().filter(|error| !error.is_cancellation()) {
                None => line!(RUNS; INFO, event, "session finished", outcome, duration_ms, answer),
                Some(ErrorInfo {
                    kind,
                    message,
                    hint,
                    request_id,
                }) => line!(
                    RUNS; WARN,
                    event,
                    "session finished",
                    outcome,
                    duration_ms,
                    error_kind = kind.as_str(),
                    error = message.as_str(),
                    hint = hint.as_deref(),
                    request_id = request_id.as_deref(),
                    answer
                ),
            }
        }
    }
}

/// The tool's name. For an unknown tool the name is the model's text, and so is logged only if contents are enabled.
fn tool_name<'a>(tool: &'a str, plugin: &str, contents: bool) -> &'a str {
    match plugin.is_empty() && !contents {
        true => "(unknown)",
        false => tool,
    }
}

fn tool_finished(event: &Event, finished: &ToolCallFinished, contents: bool) {
    let ToolCallFinished {
        call_id,
        tool,
        plugin,
        outcome,
        degraded,
        tries,
        duration_ms,
        fuel,
        peak_memory_bytes,
        host_calls,
        http_requests,
        bytes_sent,
        bytes_received,
        log_bytes_dropped,
        detail,
        output,
        replaced_output,
        log,
    } = finished;
    macro_rules! finished {
        ($level:ident) => {
            line!(
                $level,
                event,
                "tool finished",
                tool = tool_name(tool, plugin, contents),
                outcome = outcome.name(),
                duration_ms,
                fuel,
                peak_memory_bytes,
                tries,
                degraded,
                detail = detail.as_deref(),
                plugin = plugin.as_str(),
                call_id = call_id.as_str(),
                host_calls,
                http_requests,
                bytes_sent,
                bytes_received,
                log_bytes_dropped,
                output = contents.then_some(output.as_str()),
                replaced_output = contents.then_some(replaced_output.as_deref()).flatten(),
                log = contents.then_some(log.as_str())
            )
        };
    }
    match outcome {
        Outcome::Ok | Outcome::Cancelled => finished!(INFO),
        _ => finished!(WARN),
    }
}

#[cfg(test)]
#[path = "log_line_tests.rs"]
mod tests;
