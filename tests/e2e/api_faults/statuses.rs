//! HTTP statuses, their headers and bodies.

use cofferdam::events::Ending;
use serde_json::json;

use super::codes;
use super::fault::Money::{Full, Released};
use super::fault::{Expect, Fault};
use super::server::Step::{self, Fin, Flood, Hold, Read, Reset, Send};
use super::wire::{self, WORDS, http, plain_error};

fn answer(bytes: Vec<u8>) -> Vec<Step> {
    vec![Read, Send(bytes), Fin]
}

/// Every attempt gets this answer.
pub(super) fn always(name: impl Into<String>, bytes: Vec<u8>, expect: Expect) -> Fault {
    Fault::always(name, answer(bytes), expect)
}

/// The first attempt gets this answer.
pub(super) fn once(name: impl Into<String>, bytes: Vec<u8>, expect: Expect) -> Fault {
    Fault::once(name, answer(bytes), expect)
}

pub(super) fn fatal(kind: &'static str) -> Expect {
    Expect::fatal(kind, Released)
}

pub(super) fn retried() -> Expect {
    Expect::retried(Released)
}

pub(super) fn faults() -> Vec<Fault> {
    [
        refusals(),
        transients(),
        redirects(),
        delays(),
        codes::codes(),
        codes::every_code(),
        bodies(),
        odd_statuses(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Statuses that a retry doesn't cure.
fn refusals() -> Vec<Fault> {
    let refused = |name, status, kind, says: &[&'static str]| {
        always(
            name,
            plain_error(status, ""),
            fatal(kind).says(&[&[WORDS][..], says].concat()),
        )
    };
    vec![
        refused("400", 400, "invalid_request", &["400"]),
        refused("401", 401, "authentication", &["api_key_env"]),
        refused("402", 402, "billing", &["billing"]),
        refused("403", 403, "permission", &["403"]),
        refused("404", 404, "not_found", &["[model]"]),
        refused("405", 405, "", &["405"]),
        refused("412", 412, "", &["412"]),
        refused("422", 422, "", &["422"]),
        refused("431", 431, "", &["431"]),
        refused("499", 499, "", &["499"]),
        always(
            "413, and nothing to trim",
            plain_error(413, ""),
            fatal("request_too_large")
                .ending(Ending::ContextOverflow)
                .says(&[WORDS]),
        ),
    ]
}

/// Statuses that a retry may cure.
fn transients() -> Vec<Fault> {
    let once = |name, status| once(name, plain_error(status, ""), retried());
    let gives_up = |name, status, kind| {
        let expect = Expect::gives_up(kind, Released).says(&["gave up after 3 attempts", WORDS]);
        always(name, plain_error(status, ""), expect)
    };
    vec![
        once("408 once", 408),
        once("409 once", 409),
        once("429 once", 429),
        once("500 once", 500),
        once("501 once", 501),
        once("502 once", 502),
        once("503 once", 503),
        once("504 once", 504),
        once("524 once", 524),
        once("529 once", 529),
        gives_up("408 for ever", 408, "request_timeout"),
        gives_up("409 for ever", 409, "conflict"),
        gives_up("429 for ever", 429, "rate_limited"),
        gives_up("500 for ever", 500, "server_error"),
        gives_up("503 for ever", 503, "server_error"),
        gives_up("504 for ever", 504, "gateway_timeout"),
        gives_up("524 for ever", 524, ""),
        gives_up("529 for ever", 529, "overloaded"),
    ]
}

/// The key and the conversation go to `base_url` only.
fn redirects() -> Vec<Fault> {
    let redirect = |status: u16| {
        let location = "location: http://127.0.0.1:9/v1/messages\r\n";
        let expect = fatal("").says(&["base_url"]);
        always(
            format!("{status} to another address"),
            http(status, location, ""),
            expect,
        )
    };
    [300, 301, 302, 303, 307, 308].map(redirect).into()
}

fn delays() -> Vec<Fault> {
    let once = |name, status, headers: &str, expect: Expect| once(name, plain_error(status, headers), expect);
    let after = |delay: u64| retried().delays([delay..=delay]);
    let waits = |delay: u64| retried().waits(delay..=delay);
    let at_once = || fatal("rate_limited");
    let in_half_a_minute = httpdate(30);
    let long_ago = httpdate(-30);
    vec![
        once("retry-after in seconds", 429, "retry-after: 2\r\n", waits(2_000)),
        once("retry-after of a minute", 429, "retry-after: 60\r\n", waits(60_000)),
        once("retry-after as a float", 429, "retry-after: 0.02\r\n", after(20)),
        once("retry-after on a 503", 503, "retry-after: 0.03\r\n", after(30)),
        once("retry-after-ms", 529, "retry-after-ms: 15\r\n", after(15)),
        once(
            "retry-after-ms wins",
            429,
            "retry-after: 2\r\nretry-after-ms: 15\r\n",
            after(15),
        ),
        once(
            "retry-after as a date",
            429,
            &in_half_a_minute,
            retried().waits(25_000..=31_000),
        ),
        // None of these names a time in the future.
        once("retry-after as a date in the past", 429, &long_ago, retried()),
        once("retry-after of zero", 429, "retry-after: 0\r\n", retried()),
        once("a negative retry-after", 429, "retry-after: -5\r\n", retried()),
        once("retry-after in words", 429, "retry-after: soon\r\n", retried()),
        once(
            "retry-after that is not a number",
            429,
            "retry-after: NaN\r\n",
            retried(),
        ),
        // A retry sooner than requested is sure to fail, and a longer wait helps nobody.
        once(
            "retry-after of 61 seconds",
            429,
            "retry-after: 61\r\n",
            at_once().says(&["61|1 min"]),
        ),
        once(
            "retry-after of four hours",
            429,
            "retry-after: 14400\r\n",
            at_once().says(&["14400|4 h"]),
        ),
        once(
            "retry-after of four hours in milliseconds",
            529,
            "retry-after-ms: 14400000\r\n",
            fatal("overloaded"),
        ),
        once(
            "retry-after beyond all time",
            429,
            "retry-after: 99999999999999999999\r\n",
            at_once(),
        ),
        once(
            "retry-after as a date tomorrow",
            429,
            &httpdate(86_400),
            at_once().says(&["HTTP 429", "asked to wait"]).words_vary(),
        ),
        // The server knows best whether a retry helps.
        once("x-should-retry on a 400", 400, "x-should-retry: true\r\n", retried()),
        once("x-should-retry on a 401", 401, "x-should-retry: true\r\n", retried()),
        once(
            "x-should-retry with a delay",
            400,
            "x-should-retry: true\r\nretry-after-ms: 15\r\n",
            after(15),
        ),
        once(
            "x-should-retry false on a 429",
            429,
            "x-should-retry: false\r\nretry-after: 0.02\r\n",
            at_once(),
        ),
        once(
            "x-should-retry false on a 500",
            500,
            "x-should-retry: false\r\n",
            fatal("server_error"),
        ),
        once(
            "x-should-retry false on a 529",
            529,
            "x-should-retry: false\r\n",
            fatal("overloaded"),
        ),
        once(
            "x-should-retry in other words",
            529,
            "x-should-retry: perhaps\r\n",
            retried(),
        ),
    ]
}

/// The header `retry-after` with the date in so many seconds.
fn httpdate(seconds: i64) -> String {
    let now = std::time::SystemTime::now();
    let offset = std::time::Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { now - offset } else { now + offset };
    format!("retry-after: {}\r\n", httpdate::fmt_http_date(at))
}

/// Bodies of errors in other forms than the API's.
fn bodies() -> Vec<Fault> {
    let json = "content-type: application/json\r\n";
    let html = "content-type: text/html\r\n";
    let page = format!(
        "<html><head><title>502 Bad Gateway</title></head><body>{}</body></html>",
        "x".repeat(5_000)
    );
    let body = |name, status, headers, body: &str, says: &[&'static str]| {
        always(name, http(status, headers, body), fatal("").says(says))
    };
    vec![
        body(
            "400 with a detail",
            400,
            json,
            &json!({ "detail": WORDS }).to_string(),
            &[WORDS],
        ),
        body(
            "400 with a message that is an object",
            400,
            json,
            r#"{"error":{"message":{"reason":"the words"}}}"#,
            &["the words"],
        ),
        body(
            "400 with an error that is a text",
            400,
            json,
            r#"{"error":"the words"}"#,
            &["the words"],
        ),
        body(
            "400 with plain text",
            400,
            "content-type: text/plain\r\n",
            "the words",
            &["the words"],
        ),
        body("400 with nothing", 400, "", "", &["400"]),
        body(
            "400 with half a JSON",
            400,
            json,
            r#"{"type":"error","error":{"mess"#,
            &["400"],
        ),
        body(
            "400 with escapes for a terminal",
            400,
            json,
            "{\"error\":{\"message\":\"\\u001b[2Jthe words\"}}",
            &["the words"],
        ),
        once("502 with a page", http(502, html, &page), retried()),
        always(
            "502 with a page for ever",
            http(502, html, &page),
            Expect::gives_up("", Released).says(&["502"]),
        ),
        body(
            "403 with a page",
            403,
            html,
            "<html><body>Access denied</body></html>",
            &["403", "a page for browsers", "base_url"],
        ),
        // The status is known, so nothing that happens to the body matters.
        Fault::always(
            "529 whose body stalls",
            vec![
                Read,
                Send(b"HTTP/1.1 529 X\r\ncontent-length: 99\r\n\r\n{".to_vec()),
                Hold,
            ],
            fatal("overloaded"),
        )
        .with(|config| {
            config.model.idle_timeout = std::time::Duration::from_secs(1);
            config.retry.max_attempts = 1;
        }),
        Fault::once(
            "529 whose body is cut",
            vec![
                Read,
                Send(b"HTTP/1.1 529 X\r\ncontent-length: 99\r\n\r\n{".to_vec()),
                Reset,
            ],
            retried(),
        ),
        Fault::always(
            "400 with an endless body",
            vec![
                Read,
                Send(b"HTTP/1.1 400 X\r\nconnection: close\r\n\r\n".to_vec()),
                Flood(vec![b'x'; 64 * 1024], std::time::Duration::ZERO),
            ],
            fatal("invalid_request").reads_at_most(32 << 20),
        ),
    ]
}

fn odd_statuses() -> Vec<Fault> {
    let informational = |count: usize| {
        [
            b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(count),
            wire::good(),
        ]
        .concat()
    };
    vec![
        always("103 before the answer", informational(3), Expect::answered()),
        always(
            "204",
            b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec(),
            Expect::fatal("malformed_answer", Released).says(&["HTTP 204", "base_url"]),
        ),
        once(
            "an empty 200",
            http(200, "content-type: application/json\r\n", ""),
            Expect::retried(Full),
        ),
        once(
            "an empty stream",
            http(200, wire::EVENT_STREAM, ""),
            Expect::retried(Full),
        ),
        // A portal or a wrong URL. Nothing about it changes by itself.
        always(
            "200 with a page",
            http(200, "content-type: text/html\r\n", "<html><body>Welcome</body></html>"),
            Expect::fatal("malformed_answer", Released).says(&["base_url"]),
        ),
        // A gateway can have written it after it passed the request on.
        always(
            "200 with plain text",
            http(200, "content-type: text/plain\r\n", "upstream connect error"),
            Expect::fatal("malformed_answer", Full).says(&["base_url"]),
        ),
        always(
            "200 with plain text as a page",
            http(200, "content-type: text/html\r\n", "upstream parse error"),
            Expect::fatal("malformed_answer", Full).says(&["base_url"]),
        ),
        always(
            "a status that no standard has",
            plain_error(799, ""),
            Expect::gives_up("", Released),
        ),
    ]
}
