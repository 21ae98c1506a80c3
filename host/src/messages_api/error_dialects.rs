//! The dialects in which servers report errors: the API itself, gateways in front of it, and other vendors' APIs.
//!
//! Nothing that a server says is lost: a body in no known dialect is quoted from its beginning.

use serde_json::Value;

use super::error::{ErrorBody, ErrorDetail, ErrorDetails};

/// The longest quote of a body in no known dialect, in characters.
const MAX_QUOTED_CHARS: usize = 1_000;

/// Where a dialect has an error's parts, as JSON pointers. An empty pointer means that the dialect doesn't have the part.
struct Dialect {
    message: &'static str,
    kind: &'static str,
    /// A stable name of the error for programs.
    code: &'static str,
}

/// The known dialects. The first one whose message is in the body applies.
#[rustfmt::skip]
const DIALECTS: [Dialect; 14] = [
    // The Messages API. OpenAI and most servers that follow it differ only in the code, which `CODES` has.
    Dialect { message: "/error/message", kind: "/error/type", code: "/error/details/error_code" },
    // `{"error": {"detail": …}}` and `{"error": {"msg": …}}`
    Dialect { message: "/error/detail", kind: "/error/type", code: "/error/code" },
    Dialect { message: "/error/msg", kind: "/error/type", code: "/error/code" },
    // OAuth, and gateways that check tokens: `{"error": "invalid_token", "error_description": "a sentence"}`
    Dialect { message: "/error_description", kind: "/error", code: "" },
    // `{"error": "a sentence"}`: Ollama, and many gateways. xAI adds a `code` that is a sentence as well.
    Dialect { message: "/error", kind: "/type", code: "/error_code" },
    // Older vLLM, Mistral: `{"object": "error", "message": …, "type": …}`. AWS has the `message` alone.
    Dialect { message: "/message", kind: "/type", code: "/code" },
    Dialect { message: "/Message", kind: "/__type", code: "" },
    // FastAPI, whose `detail` is a sentence or a list of `{loc, msg}`; RFC 9457, which adds a `title`
    Dialect { message: "/detail", kind: "/type", code: "/code" },
    Dialect { message: "/details", kind: "/type", code: "/code" },
    Dialect { message: "/errors", kind: "/type", code: "/code" },
    Dialect { message: "/errorMessage", kind: "/errorType", code: "" },
    Dialect { message: "/msg", kind: "/type", code: "/code" },
    Dialect { message: "/reason", kind: "/type", code: "/code" },
    Dialect { message: "/title", kind: "/type", code: "/code" },
];

/// Where a code may be, besides where the dialect has it.
const CODES: [&str; 3] = ["/error/details/error_code", "/error/code", "/code"];

/// Where a gateway quotes the error of the server behind it: OpenRouter.
const QUOTED: [&str; 1] = ["/error/metadata/raw"];

/// Reads an error from a body that was parsed as JSON.
pub(super) fn read(body: &Value) -> ErrorBody {
    // Google answers with a list of one error.
    let body = match body {
        Value::Array(items) if items.len() == 1 => &items[0],
        body => body,
    };
    let at = |pointer: &str| body.pointer(pointer).filter(|_| !pointer.is_empty());
    let word = |pointer: &str| at(pointer).and_then(Value::as_str).filter(|word| !word.is_empty());
    let dialect = DIALECTS
        .iter()
        .find_map(|dialect| Some((dialect, text(at(dialect.message)?)?)));
    let (dialect, mut message) = match dialect {
        Some((dialect, message)) => (Some(dialect), message),
        None => (None, quote(body)),
    };
    for quoted in QUOTED.iter().filter_map(|pointer| text(at(pointer)?)) {
        message = format!("{message}: {quoted}");
    }
    let kind = dialect.and_then(|dialect| word(dialect.kind));
    let kind = kind.or_else(|| word("/error/type")).filter(|kind| *kind != "error");
    let code = dialect.map(|dialect| dialect.code);
    let code = code
        .into_iter()
        .chain(CODES)
        .find_map(word)
        .filter(|code| is_code(code));
    ErrorBody {
        error: ErrorDetail {
            kind: kind.unwrap_or_default().to_owned(),
            message,
            details: code.map(|code| ErrorDetails {
                error_code: Some(code.to_owned()),
            }),
        },
        request_id: word("/request_id").map(str::to_owned),
    }
}

/// Reads an error from a body as received: JSON, HTML or plain text.
pub(super) fn read_bytes(body: &[u8]) -> ErrorBody {
    if let Ok(json) = serde_json::from_slice(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)) {
        return read(&json);
    }
    let message = beginning(body);
    ErrorBody {
        error: ErrorDetail {
            message,
            ..ErrorDetail::default()
        },
        request_id: None,
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Whether a body that isn't JSON begins as HTML or XML.
pub(crate) fn is_markup(body: &[u8]) -> bool {
    let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    text.trim_ascii_start().starts_with(b"<")
}

/// What a body that isn't JSON says, on one line: the title of an HTML page, else the beginning of the text without tags.
pub(crate) fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body));
    let text = match is_markup(body) {
        true => title(&text).unwrap_or_else(|| without_tags(&text)),
        false => text.into_owned(),
    };
    one_line(&text)
}

/// Parts of codes that say no more than the status does.
const GENERIC_CODES: [&str; 5] = [
    "error",
    "bad_request",
    "invalid_argument",
    "invalid_request",
    "invalid_value",
];

/// Whether a `code` tells errors of one status apart. Some servers repeat the HTTP status there, as a number or in a string,
/// others write a sentence or the error's type.
fn is_code(code: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let lower = code.to_ascii_lowercase();
    code.chars().all(is_name)
        && !code.chars().all(|c| c.is_ascii_digit())
        && !GENERIC_CODES.iter().any(|generic| lower.contains(generic))
}

/// The words in a value, or `None` if there are none.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Array(items) => items.iter().filter_map(text).collect::<Vec<_>>().join("; "),
        Value::Object(fields) => {
            let words = ["message", "msg", "detail", "error", "reason"];
            let words = words.iter().find_map(|name| text(fields.get(*name)?));
            match words {
                // FastAPI: where in the request the error is.
                Some(words) => fields
                    .get("loc")
                    .and_then(path)
                    .map_or(words.clone(), |path| format!("{path}: {words}")),
                None if fields
                    .iter()
                    .all(|(name, value)| is_read_elsewhere(name) || is_blank(value)) =>
                {
                    String::new()
                }
                None => quote(value),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    };
    (!text.is_empty()).then_some(text)
}

/// Fields of an error that have no words.
fn is_read_elsewhere(name: &str) -> bool {
    ["type", "code", "status", "param"].contains(&name)
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// `["body", "messages", 0]` as `body.messages.0`.
fn path(loc: &Value) -> Option<String> {
    let segments = loc.as_array()?.iter().map(|segment| match segment {
        Value::String(name) => name.clone(),
        segment => segment.to_string(),
    });
    Some(segments.collect::<Vec<_>>().join("."))
}

/// The beginning of a JSON text; nothing if there is nothing in it.
fn quote(body: &Value) -> String {
    let is_empty = match body {
        Value::Null => true,
        Value::Object(fields) => fields
            .keys()
            .all(|name| ["type", "error", "request_id"].contains(&name.as_str())),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match is_empty {
        true => String::new(),
        false => body.to_string().chars().take(MAX_QUOTED_CHARS).collect(),
    }
}

/// The text of the page's `title` element, unless it is missing or blank.
fn title(html: &str) -> Option<String> {
    let lower = html.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let title = without_tags(&html[start..end]);
    (!title.trim().is_empty()).then_some(title)
}

/// The text of a page, without tags, comments, scripts and styles.
fn without_tags(html: &str) -> String {
    // Once, because a page can have very many tags. It has the same length.
    let lower = html.to_ascii_lowercase();
    let mut text = String::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        text.push(' ');
        let tag = &lower[html.len() - rest.len() + start..];
        let end = if tag.starts_with("<!--") {
            tag.find("-->").map(|at| at + 3)
        } else if tag.starts_with("<script") {
            tag.find("</script>").map(|at| at + 9)
        } else if tag.starts_with("<style") {
            tag.find("</style>").map(|at| at + 8)
        } else {
            tag.find('>').map(|at| at + 1)
        };
        rest = end.map_or("", |end| &rest[start + end..]);
    }
    text.push_str(rest);
    // Last, so that an escaped `<` doesn't become a tag.
    for (entity, character) in [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        text = text.replace(entity, character);
    }
    text
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_QUOTED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The type, the message and the code of a body.
    fn parts(body: &str) -> [String; 3] {
        let ErrorBody { error, .. } = read_bytes(body.as_bytes());
        let code = error.details.and_then(|details| details.error_code);
        [error.kind, error.message, code.unwrap_or_default()]
    }

    #[test]
    fn every_dialect_is_read() {
        for (body, expected) in [
            (
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow","details":{"error_code":"ramp_limit_exceeded"}}}"#,
                ["rate_limit_error", "slow", "ramp_limit_exceeded"],
            ),
            (
                r#"{"error":{"message":"no money","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
                ["insufficient_quota", "no money", "insufficient_quota"],
            ),
            // LiteLLM repeats the status in a string, OpenRouter and llama.cpp as a number.
            (
                r#"{"error":{"message":"litellm.Timeout","type":null,"param":null,"code":"408"}}"#,
                ["", "litellm.Timeout", ""],
            ),
            (
                r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"raw":"upstream is busy","provider_name":"x"}},"user_id":"u"}"#,
                ["", "Provider returned error: upstream is busy", ""],
            ),
            (
                r#"{"error":{"code":400,"message":"too large","type":"exceed_context_size_error","n_ctx":4096}}"#,
                ["exceed_context_size_error", "too large", ""],
            ),
            // vLLM
            (
                r#"{"object":"error","message":"max length","type":"BadRequestError","param":null,"code":400}"#,
                ["BadRequestError", "max length", ""],
            ),
            // FastAPI
            (r#"{"detail":"Not authenticated"}"#, ["", "Not authenticated", ""]),
            (
                r#"{"detail":[{"loc":["body","messages",0,"role"],"msg":"field required","type":"value_error.missing"},{"loc":["body"],"msg":"bad"}]}"#,
                ["", "body.messages.0.role: field required; body: bad", ""],
            ),
            (r#"{"error":"a sentence"}"#, ["", "a sentence", ""]),
            (
                r#"{"code":"Client specified an invalid argument","error":"the prompt"}"#,
                ["", "the prompt", ""],
            ),
            (
                r#"{"error":"invalid_token","error_description":"it has expired"}"#,
                ["invalid_token", "it has expired", ""],
            ),
            // A message that is an object.
            (
                r#"{"type":"error","error":{"type":"api_error","message":{"message":"inner","n":1}}}"#,
                ["api_error", "inner", ""],
            ),
            (
                r#"{"error":{"message":{"why":["a","b"]},"type":"x"}}"#,
                ["x", r#"{"why":["a","b"]}"#, ""],
            ),
            (r#"{"error":{"message":["one","two"]}}"#, ["", "one; two", ""]),
            (r#"{"error":{"what":"only this"}}"#, ["", r#"{"what":"only this"}"#, ""]),
            // AWS
            (
                r#"{"message":"The security token is invalid"}"#,
                ["", "The security token is invalid", ""],
            ),
            (
                r#"{"Message":"Forbidden","__type":"AccessDenied"}"#,
                ["AccessDenied", "Forbidden", ""],
            ),
            // Google
            (
                r#"[{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}]"#,
                ["", "bad", ""],
            ),
            (
                r#"{"errors":[{"code":10000,"message":"Authentication error"}],"success":false}"#,
                ["", "Authentication error", ""],
            ),
            (
                r#"{"type":"about:blank","title":"Bad Gateway","status":502,"detail":"no route"}"#,
                ["about:blank", "no route", ""],
            ),
            (
                r#"{"type":"about:blank","title":"Bad Gateway","status":502}"#,
                ["about:blank", "Bad Gateway", ""],
            ),
            // No known dialect.
            (r#"{"oops":[1,{"x":"y"}]}"#, ["", r#"{"oops":[1,{"x":"y"}]}"#, ""]),
            (r#""just a string""#, ["", r#""just a string""#, ""]),
            (
                r#"{"type":"error","error":{"type":"overloaded_error"},"request_id":"r"}"#,
                ["overloaded_error", "", ""],
            ),
            (
                r#"{"error":{"message":"prompt is too long","code":"invalid_request_error"}}"#,
                ["", "prompt is too long", ""],
            ),
            ("{}", ["", "", ""]),
            ("null", ["", "", ""]),
            ("", ["", "", ""]),
            (
                "upstream connect error or\n disconnect/reset",
                ["", "upstream connect error or disconnect/reset", ""],
            ),
            (
                "<html><head><title>502 Bad\n Gateway</title></head><body><h1>x</h1></body></html>",
                ["", "502 Bad Gateway", ""],
            ),
            (
                "<!DOCTYPE html><TITLE lang=en>Tom &amp; Jerry &lt;1&gt;</TITLE>",
                ["", "Tom & Jerry <1>", ""],
            ),
            (
                "<html><title> </title><style>b{}</style><!-- no --><script>var x = '<p>';</script><p>Sign in<br>first</p>",
                ["", "Sign in first", ""],
            ),
            ("<Error><Code>AccessDenied</Code></Error>", ["", "AccessDenied", ""]),
            ("<html", ["", "", ""]),
            // Cut off in the middle.
            (r#"{"error":{"mess"#, ["", r#"{"error":{"mess"#, ""]),
            ("\u{feff}{\"error\":\"marked\"}", ["", "marked", ""]),
        ] {
            assert_eq!(parts(body), expected, "{body}");
        }
    }

    #[test]
    fn quotes_are_bounded() {
        let long = "x".repeat(5_000);
        assert_eq!(parts(&long)[1].len(), MAX_QUOTED_CHARS);
        assert!(parts(&format!("{{\"odd\":\"{long}\"}}"))[1].len() <= MAX_QUOTED_CHARS);
    }
}
