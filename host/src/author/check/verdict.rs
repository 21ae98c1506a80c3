//! What the result of a call says about a tool.

use super::report::Finding;
use crate::events::Outcome;
use crate::tools::ToolResult;

/// Whether no input may lead to this.
pub(super) fn is_failing(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Trapped
            | Outcome::StackOverflow
            | Outcome::Timeout
            | Outcome::OutOfFuel
            | Outcome::OutOfMemory
            | Outcome::InvalidOutput
            | Outcome::HostError
    )
}

/// What no input may lead to.
pub(super) fn failure(result: &ToolResult) -> Option<Finding> {
    let detail = result
        .finished
        .detail
        .as_deref()
        .and_then(|detail| detail.lines().next());
    let reason = detail.map_or_else(String::new, |detail| format!(": {detail}"));
    let finding = match result.outcome {
        Outcome::Trapped | Outcome::StackOverflow => Finding::failure("crash", format!("it crashes{reason}")),
        Outcome::Timeout | Outcome::OutOfFuel | Outcome::OutOfMemory => {
            Finding::failure("limit", format!("it runs into a limit: {}", result.outcome.name()))
        }
        Outcome::InvalidOutput => Finding::failure("invalid_output", format!("its output is invalid{reason}")),
        Outcome::HostError => Finding::failure("host_error", format!("the host failed{reason}")),
        _ => return None,
    };
    Some(finding.with_printed(&result.finished.log))
}

/// Whether two equal calls did the same. How often a guest asks whether a server or a disk is ready depends on the time that they
/// take, so fuel is compared only between calls that asked the host equally often.
pub(super) fn is_repeated(first: &ToolResult, second: &ToolResult) -> bool {
    let (one, other) = (&first.finished, &second.finished);
    let is_same_work = one.host_calls != other.host_calls || one.fuel == other.fuel;
    first.outcome == second.outcome && one.output == other.output && is_same_work
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::ToolCall;
    use crate::transcript::ToolInput;

    fn result(output: &str, fuel: u64, host_calls: u64) -> ToolResult {
        let call = ToolCall {
            id: "1".to_owned(),
            name: "t".to_owned(),
            input: ToolInput::read("{}"),
        };
        let mut result = ToolResult::host_error(call, "");
        result.finished.output = output.to_owned();
        (result.finished.fuel, result.finished.host_calls) = (fuel, host_calls);
        result
    }

    #[test]
    fn fuel_that_depends_on_a_wait_is_no_difference() {
        let first = result("a", 10, 5);
        assert!(is_repeated(&first, &result("a", 10, 5)));
        assert!(is_repeated(&first, &result("a", 11, 6)));
        assert!(!is_repeated(&first, &result("a", 11, 5)));
        assert!(!is_repeated(&first, &result("b", 10, 5)));
    }
}
