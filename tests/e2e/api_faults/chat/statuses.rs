//! HTTP statuses, their headers and bodies.

use cofferdam::events::Ending;
use serde_json::{Value, json};

use super::super::fault::Money::Released;
use super::super::fault::{Expect, Fault};
use super::super::wire::{WORDS, http};
use super::wire::{JSON, error, plain_error};
use super::{always, once};

fn fatal(kind: &'static str) -> Expect {
    Expect::fatal(kind, Released)
}

fn retried() -> Expect {
    Expect::retried(Released)
}

pub(super) fn statuses() -> Vec<Fault> {
    let refused = |status: u16, kind, says: &'static str| {
        always(
            status.to_string(),
            plain_error(status, ""),
            fatal(kind).says(&[WORDS, says]),
        )
    };
    let once = |status: u16| once(format!("{status} once"), plain_error(status, ""), retried());
    let gives_up = |status: u16, kind| {
        let expect = Expect::gives_up(kind, Released).says(&["gave up after 3 attempts", WORDS]);
        always(format!("{status} for ever"), plain_error(status, ""), expect)
    };
    let location = "location: http://127.0.0.1:9/v1/chat/completions\r\n";
    vec![
        refused(400, "invalid_request", "400"),
        refused(401, "authentication", "api_key_env"),
        refused(402, "billing", "billing"),
        refused(403, "permission", "403"),
        refused(404, "not_found", "[model]"),
        refused(422, "", "422"),
        always(
            "413, and nothing to trim",
            plain_error(413, ""),
            fatal("request_too_large")
                .ending(Ending::ContextOverflow)
                .says(&[WORDS]),
        ),
        always(
            "307 to another address",
            http(307, location, ""),
            fatal("").says(&["base_url"]),
        ),
        once(408),
        once(409),
        once(429),
        once(500),
        once(502),
        once(503),
        once(504),
        once(520),
        gives_up(429, "rate_limited"),
        gives_up(500, "server_error"),
        gives_up(503, "server_error"),
    ]
}

pub(super) fn delays() -> Vec<Fault> {
    let once = |name, status, headers: &str, expect: Expect| once(name, plain_error(status, headers), expect);
    let after = |delay: u64| retried().delays([delay..=delay]);
    vec![
        once(
            "retry-after in seconds",
            429,
            "retry-after: 2\r\n",
            retried().waits(2_000..=2_000),
        ),
        once("retry-after as a float", 429, "retry-after: 0.02\r\n", after(20)),
        once(
            "retry-after-ms wins",
            429,
            "retry-after: 2\r\nretry-after-ms: 15\r\n",
            after(15),
        ),
        once(
            "retry-after of four hours",
            429,
            "retry-after: 14400\r\n",
            fatal("rate_limited").says(&["14400|4 h"]),
        ),
        once("x-should-retry on a 400", 400, "x-should-retry: true\r\n", retried()),
        once(
            "x-should-retry false on a 500",
            500,
            "x-should-retry: false\r\n",
            fatal("server_error"),
        ),
    ]
}

/// Errors that their code tells apart from others of the same status.
pub(super) fn codes() -> Vec<Fault> {
    let broke = |headers: &str| error(429, headers, "insufficient_quota", &json!("insufficient_quota"));
    let spent = || fatal("spend_limit").says(&[WORDS, "limit"]);
    let long = |code: &Value| error(400, "", "invalid_request_error", code);
    vec![
        always("429 `insufficient_quota`", broke(""), spent()),
        // Waiting doesn't fill an account, whatever the headers say.
        always(
            "429 `insufficient_quota` with a delay",
            broke("retry-after: 1\r\nx-should-retry: true\r\n"),
            spent(),
        ),
        always(
            "400 `billing_hard_limit_reached`",
            error(400, "", "invalid_request_error", &json!("billing_hard_limit_reached")),
            spent(),
        ),
        always(
            "429 `billing_not_active`",
            error(429, "", "billing_not_active", &json!("billing_not_active")),
            fatal("billing").says(&[WORDS, "billing"]),
        ),
        once(
            "429 `rate_limit_exceeded`",
            error(429, "", "tokens", &json!("rate_limit_exceeded")),
            retried(),
        ),
        always(
            "400 `context_length_exceeded`",
            long(&json!("context_length_exceeded")),
            fatal("context_overflow")
                .ending(Ending::ContextOverflow)
                .says(&["context"]),
        ),
        always(
            "400 with an unknown code",
            long(&json!("code_of_the_future")),
            fatal("invalid_request"),
        ),
        always(
            "400 `invalid_prompt`",
            long(&json!("invalid_prompt")),
            fatal("").ending(Ending::Refused).says(&["invalid_prompt", WORDS]),
        ),
        always(
            "401 `invalid_api_key`",
            error(401, "", "invalid_request_error", &json!("invalid_api_key")),
            fatal("authentication").says(&["api_key_env"]),
        ),
        always(
            "404 `model_not_found`",
            error(404, "", "invalid_request_error", &json!("model_not_found")),
            fatal("not_found").says(&["[model]"]),
        ),
        always(
            "403 `unsupported_country_region_territory`",
            error(
                403,
                "",
                "request_forbidden",
                &json!("unsupported_country_region_territory"),
            ),
            fatal("permission").says(&[WORDS]),
        ),
    ]
}

/// Errors in the forms of other servers.
pub(super) fn forms() -> Vec<Fault> {
    let json = |status: u16, body: Value| http(status, JSON, body.to_string());
    let overflow = || fatal("context_overflow").ending(Ending::ContextOverflow);
    let page = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
    vec![
        always(
            "OpenRouter: 402 whose code is a number",
            json(402, json!({ "error": { "message": WORDS, "code": 402 } })),
            fatal("billing").says(&[WORDS]),
        ),
        once(
            "OpenRouter: 429 whose code is a number",
            json(
                429,
                json!({ "error": { "message": WORDS, "code": 429, "metadata": { "raw": "busy" } } }),
            ),
            retried(),
        ),
        always(
            "OpenRouter: 400 that quotes another server",
            json(
                400,
                json!({ "error": { "message": "Provider returned error", "code": 400, "metadata": { "raw": WORDS } } }),
            ),
            fatal("invalid_request").says(&[WORDS]),
        ),
        always(
            "vLLM: a flat 400 for a long prompt",
            json(
                400,
                json!({ "object": "error", "message": "This model's maximum context length is 8192 tokens.",
                "type": "BadRequestError", "param": null, "code": 400 }),
            ),
            overflow(),
        ),
        always(
            "vLLM: a flat 404",
            json(
                404,
                json!({ "object": "error", "message": WORDS, "type": "NotFoundError", "code": 404 }),
            ),
            fatal("not_found").says(&[WORDS]),
        ),
        always(
            "llama.cpp: 400 for a long prompt",
            json(
                400,
                json!({ "error": { "code": 400, "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8 } }),
            ),
            overflow(),
        ),
        once(
            "llama.cpp: 503 while it loads its model",
            json(
                503,
                json!({ "error": { "code": 503, "message": "Loading model", "type": "unavailable_error" } }),
            ),
            retried(),
        ),
        always(
            "Ollama: 404 for a model that isn't pulled",
            json(
                404,
                json!({ "error": { "message": "model \"x\" not found, try pulling it first", "type": "api_error" } }),
            ),
            fatal("not_found").says(&["try pulling it first"]),
        ),
        always(
            "Ollama: an error that is a text",
            json(400, json!({ "error": WORDS })),
            fatal("invalid_request").says(&[WORDS]),
        ),
        always(
            "Azure: 400 `content_filter`",
            json(
                400,
                json!({ "error": { "message": WORDS, "type": null, "param": "prompt", "code": "content_filter",
                "status": 400 } }),
            ),
            fatal("").ending(Ending::Refused).says(&["content_filter", WORDS]),
        ),
        always(
            "Mistral, FastAPI: 422 with a list of details",
            json(
                422,
                json!({ "detail": [{ "loc": ["body", "messages", 2], "msg": WORDS, "type": "extra_forbidden" }] }),
            ),
            fatal("").says(&[WORDS]),
        ),
        always(
            "Google: a list of one error",
            json(
                400,
                json!([{ "error": { "code": 400, "message": WORDS, "status": "INVALID_ARGUMENT" } }]),
            ),
            fatal("invalid_request").says(&[WORDS]),
        ),
        once(
            "502 with a page",
            http(502, "content-type: text/html\r\n", page),
            retried(),
        ),
        always(
            "400 with plain text",
            http(400, "content-type: text/plain\r\n", WORDS),
            fatal("").says(&[WORDS]),
        ),
        always("400 with nothing", http(400, "", ""), fatal("").says(&["400"])),
    ]
}
