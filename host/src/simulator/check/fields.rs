//! The fields at the top of a request, and the betas that some of them need.

use serde_json::Value;

use super::{ApiError, Checked, Purpose, Rules, extra};

/// A field at the top level.
struct Field {
    name: &'static str,
    /// Whether `count_tokens` accepts it as well.
    counts: bool,
    /// One of these betas has to be active, whatever its date. None: the field needs no beta.
    betas: &'static [&'static str],
}

const fn both(name: &'static str) -> Field {
    Field {
        name,
        counts: true,
        betas: &[],
    }
}

const fn run(name: &'static str) -> Field {
    Field {
        counts: false,
        ..both(name)
    }
}

impl Field {
    const fn beta(self, betas: &'static [&'static str]) -> Self {
        Self { betas, ..self }
    }
}

const FIELDS: [Field; 28] = [
    both("model"),
    both("messages"),
    both("system"),
    both("tools"),
    both("tool_choice"),
    both("thinking"),
    both("output_config"),
    both("cache_control"),
    both("speed"),
    run("max_tokens"),
    run("stream"),
    run("temperature"),
    run("top_p"),
    run("top_k"),
    run("stop_sequences"),
    run("metadata"),
    run("service_tier"),
    run("container"),
    run("inference_geo"),
    run("diagnostics"),
    both("context_management").beta(&["context-management-", "compact-"]),
    both("compaction").beta(&["compact-"]),
    both("mcp_servers").beta(&["mcp-client-"]),
    both("output_format").beta(&["structured-outputs-"]),
    both("user_profile_id").beta(&["user-profiles-"]),
    run("fallbacks").beta(&["server-side-fallback-"]),
    run("fallback_credit_token").beta(&["fallback-credit-"]),
    run("thread").beta(&["message-threads-"]),
];

pub(super) fn check(body: &Value, rules: &Rules<'_>) -> Checked {
    let Some(fields) = body.as_object() else {
        return Err(ApiError::invalid("Input should be a valid dictionary"));
    };
    for name in fields.keys() {
        let is_known = FIELDS.iter().any(|field| {
            field.name == name && (field.counts || rules.purpose == Purpose::Run) && rules.betas.allow(field.betas)
        });
        if !is_known {
            return Err(extra(name));
        }
    }
    Ok(())
}
