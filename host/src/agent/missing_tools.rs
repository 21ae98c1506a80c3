//! Calls that wait for a person, or that a person approved, and whose tools aren't there. To go on would lose the decision: the model
//! would only read that there is no such tool.

use super::decisions::Decisions;
use crate::events::ErrorInfo;
use crate::session::{ApprovalState, OpenApproval, State, Verdict};
use crate::tools::ToolSet;
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// The approvals of these calls, with the positions of the calls. A call that was denied, or that nobody can decide about any more, needs
/// no tool.
pub(super) async fn missing_tools(state: &State, tools: &ToolSet, decisions: &Decisions) -> Vec<(u32, OpenApproval)> {
    let mut missing = Vec::new();
    for (position, asked) in state
        .unused_approvals()
        .filter(|(_, asked)| tools.get(&asked.tool).is_none())
    {
        let mut asked = asked.clone();
        if asked.verdict == Verdict::Pending {
            // Somebody may have decided meanwhile. What can't be read may have been approved.
            match decisions.find(&asked.id).await.ok().flatten().map(|kept| kept.state) {
                Some(ApprovalState::Denied | ApprovalState::Expired) => continue,
                Some(ApprovalState::Approved) => asked.verdict = Verdict::Approved,
                _ => {}
            }
        }
        missing.push((position, asked));
    }
    missing
}

/// Why a run can't go on without the tool of a call. Nothing has changed.
pub(super) fn refusal(asked: &OpenApproval, session: &str) -> ErrorInfo {
    let [tool, plugin] = [&asked.tool, &asked.plugin].map(|name| display_untrusted(name, NAME_CHARS));
    let (state, give_up) = match asked.verdict {
        Verdict::Approved => (
            "was approved",
            format!("`cofferdam session resume {session} --give-up` goes on without the call"),
        ),
        _ => (
            "waits for a person",
            format!(
                "to go on without the call, `cofferdam approval deny {}`, then resume the session",
                asked.id
            ),
        ),
    };
    ErrorInfo {
        kind: "tool_missing".to_owned(),
        message: format!(
            "the run can't go on here: the call of `{tool}` {state}, and the plugin `{plugin}`, which has this tool, isn't loaded or lacks it"
        ),
        hint: Some(format!(
            "nothing was sent, and the approval stays as it is; resume with the configuration, or the `--plugin` and its grants, of the \
             run that asked; {give_up}"
        )),
        request_id: None,
    }
}
