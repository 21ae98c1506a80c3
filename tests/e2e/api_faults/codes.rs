//! Errors that their code or their words tell apart from others of the same status.

use cofferdam::events::Ending;
use serde_json::json;

use super::fault::Fault;
use super::statuses::{always, fatal, once, retried};
use super::wire::{WORDS, error};

/// An error with a code, which tells it apart from others of its status.
fn coded(status: u16, headers: &str, code: &str) -> Vec<u8> {
    let details = json!({ "error_code": code });
    error(
        status,
        headers,
        &json!({ "type": "some_error", "message": WORDS, "details": details }),
    )
}

fn worded(status: u16, message: &str) -> Vec<u8> {
    error(
        status,
        "",
        &json!({ "type": "invalid_request_error", "message": message }),
    )
}

/// Errors that their code tells apart from others of the same status.
pub(super) fn codes() -> Vec<Fault> {
    let cap = || fatal("spend_limit").says(&[WORDS, "limit"]);
    let overflow = || fatal("context_overflow").ending(Ending::ContextOverflow);
    vec![
        always(
            "429, the spend limit",
            coded(429, "", "enforced_spend_limit_reached"),
            cap(),
        ),
        always(
            "429, a contract's spend limit",
            coded(429, "", "contract_spend_limit_reached"),
            cap(),
        ),
        always(
            "402, a linked organisation's limit",
            coded(402, "", "linked_organization_spend_limit_reached"),
            cap(),
        ),
        // Waiting doesn't raise a limit, whatever the headers say.
        always(
            "429, the spend limit with a delay",
            coded(
                429,
                "retry-after: 1\r\nx-should-retry: true\r\n",
                "enforced_spend_limit_reached",
            ),
            cap(),
        ),
        once(
            "429, growth too fast",
            coded(429, "retry-after: 0.02\r\n", "ramp_limit_exceeded"),
            retried().delays([20..=20]),
        ),
        once(
            "429 with an unknown code",
            coded(429, "", "code_of_the_future"),
            retried(),
        ),
        once("529, compaction", coded(529, "", "compaction_unavailable"), retried()),
        once(
            "503, a key is out of reach",
            coded(503, "", "cmek_key_unreachable"),
            retried(),
        ),
        always(
            "400 with an unknown code",
            coded(400, "", "code_of_the_future"),
            fatal("invalid_request"),
        ),
        always(
            "400, a spend limit set by the customer",
            worded(
                400,
                "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
            ),
            fatal("spend_limit").says(&["2026-12-01"]),
        ),
        always(
            "400, no credit",
            worded(400, "Your credit balance is too low to access the API."),
            fatal("billing").says(&["credit balance"]),
        ),
        always(
            "400, the prompt is too long",
            worded(400, "prompt is too long: 250000 tokens > 200000 maximum"),
            overflow(),
        ),
        always(
            "400, input and max_tokens are too long",
            worded(
                400,
                "input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000",
            ),
            overflow(),
        ),
        always(
            "400, in the words of other servers",
            worded(
                400,
                "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
            ),
            overflow(),
        ),
    ]
}

/// Every code that a request for an answer can meet, as the vendor's SDKs list them, and what it means where that isn't what its
/// status means.
pub(super) fn every_code() -> Vec<Fault> {
    let (invalid, denied, missing) = ("invalid_request", "permission", "not_found");
    let terminal = [
        (400, "available_tools_limit_exceeded", invalid),
        (400, "claude_code_key_creator_not_member", invalid),
        (400, "claude_code_version_too_old", invalid),
        (400, "cmek_key_disabled", invalid),
        (400, "cmek_key_network_blocked", invalid),
        (400, "compaction_block_ambiguous", invalid),
        (400, "compaction_block_misplaced", invalid),
        (400, "compaction_content_mismatch", invalid),
        (400, "compaction_incomplete_turn", invalid),
        (400, "compaction_nothing_to_summarize", invalid),
        (400, "compaction_signature_invalid", invalid),
        (400, "compaction_too_many_tool_references", invalid),
        (400, "compaction_tool_changes_mismatch", invalid),
        (400, "file_not_downloadable", invalid),
        (400, "image_dimensions_too_large", invalid),
        (400, "organization_not_enrolled_in_beta", denied),
        (400, "organization_on_hold", denied),
        (400, "request_body_encoding_invalid", invalid),
        (400, "request_body_encoding_unsupported", invalid),
        (400, "thread_already_continued", invalid),
        (400, "thread_fingerprint_mismatch", invalid),
        (400, "thread_unsupported_request", invalid),
        (400, "tool_name_conflict", invalid),
        (400, "tool_reference_unresolved", invalid),
        (400, "unsupported_charset", invalid),
        (400, "user_profile_not_found", invalid),
        (400, "user_profile_required", invalid),
        (402, "linked_organization_billing_unavailable", "billing"),
        (402, "linked_organization_spend_limit_reached", "spend_limit"),
        (403, "api_key_scope_missing", denied),
        (403, "sandbox_egress_restricted", denied),
        (403, "user_profile_billing_not_authorized", denied),
        (403, "user_profile_not_billable", denied),
        (404, "file_expired", missing),
        (404, "thread_not_found", missing),
        (413, "request_body_too_large_after_decoding", "request_too_large"),
        (429, "contract_spend_limit_reached", "spend_limit"),
        (429, "enforced_spend_limit_reached", "spend_limit"),
    ];
    let transient = [
        (400, "request_body_timeout"),
        (400, "thread_continue_in_flight"),
        (429, "ramp_limit_exceeded"),
        (503, "authorization_check_unavailable"),
        (503, "cmek_context_unavailable"),
        (503, "cmek_key_unreachable"),
        (529, "compaction_unavailable"),
    ];
    let terminal = terminal.into_iter().map(|(status, code, kind)| {
        let expect = fatal(kind).says(&[WORDS]);
        let expect = match status {
            413 => expect.ending(Ending::ContextOverflow),
            _ => expect,
        };
        always(format!("{status} `{code}`"), coded(status, "", code), expect)
    });
    let transient = transient
        .into_iter()
        .map(|(status, code)| once(format!("{status} `{code}`"), coded(status, "", code), retried()));
    terminal.chain(transient).collect()
}
