#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use serde_json::json;

use super::super::script::*;

fn problems(text: &str) -> Vec<String> {
    match Script::parse(text, "t.toml") {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn a_script_with_every_key() {
    let script = Script::parse(
        r#"
after = "repeat_last"

[[answer]]
when = { last_user_contains = "25 * 17", has_tool_result = "calculate" }
repeat = 3
delay = "250ms"
headers = { x-a = "b" }
thinking = "hm"
text = "so {{result:calculate}}"
tools = [
  { name = "calculate", input = { expression = "1", deep = [1, 2.5, true, { at = 2026-11-24 }] } },
  { name = "broken", input_text = '{"a', id = "toolu_x" },
  { name = "bare" },
]
stop_reason = "max_tokens"
stop_sequence = "END"
model = "m"
usage = { input_tokens = 7, cache_read_input_tokens = 2 }
stream = { chunk = 3, chunk_delay = "1s", ping_every = 2, unknown_events = true, write_bytes = 5 }
fault = { kind = "error_event", after_events = 4, error_type = "api_error", message = "no" }

[[answer]]
repeat = "forever"
error = { status = 429, type = "rate_limit_error", message = "slow", error_code = "enforced_spend_limit_reached" }

[[answer]]
raw = { body = "<html>" }

[[answer]]
text = ""
usage = "omit"
delay = "1m"

[[answer]]
fault = { kind = "reset", at = "accept" }
"#,
        "t.toml",
    )
    .unwrap();
    let mut first = Answer::message(MessageAnswer {
        thinking: Some("hm".into()),
        text: "so {{result:calculate}}".into(),
        tools: vec![
            ToolCall::new(
                "calculate",
                json!({ "expression": "1", "deep": [1, 2.5, true, { "at": "2026-11-24" }] }),
            ),
            ToolCall {
                id: Some("toolu_x".into()),
                ..ToolCall::truncated("broken", "{\"a")
            },
            ToolCall::new("bare", json!({})),
        ],
        stop_reason: Some("max_tokens".into()),
        stop_sequence: Some("END".into()),
        model: Some("m".into()),
        usage: UsageAnswer::Given(UsageFigures {
            input_tokens: Some(7),
            cache_read_input_tokens: 2,
            ..UsageFigures::default()
        }),
    })
    .when_last_user_contains("25 * 17")
    .when_tool_result("calculate")
    .times(3)
    .delay(Duration::from_millis(250))
    .header("x-a", "b")
    .streamed(StreamOptions {
        chunk: 3,
        chunk_delay: Duration::from_secs(1),
        ping_every: 2,
        unknown_events: true,
        write_bytes: 5,
    });
    first.fault = Some(Fault {
        kind: FaultKind::ErrorEvent {
            kind: "api_error".into(),
            message: "no".into(),
        },
        at: FaultPoint::Events(4),
    });
    let expected = Script::new()
        .after(After::RepeatLast)
        .answer(first)
        .answer(
            Answer::error_with(ErrorAnswer {
                status: 429,
                kind: Some("rate_limit_error".into()),
                message: Some("slow".into()),
                error_code: Some("enforced_spend_limit_reached".into()),
            })
            .forever(),
        )
        .answer(Answer::raw(200, "text/html", "<html>"))
        .answer(
            Answer::message(MessageAnswer {
                usage: UsageAnswer::Omitted,
                ..MessageAnswer::default()
            })
            .delay(Duration::from_secs(60)),
        )
        .answer(Answer::fault(FaultKind::Reset, FaultPoint::Accept));
    assert_eq!(script, expected);
}

#[test]
fn the_point_of_a_fault_has_a_default() {
    for (kind, expected) in [
        ("reset", FaultPoint::Request),
        ("close", FaultPoint::Request),
        ("stall", FaultPoint::Request),
        ("cut", FaultPoint::Bytes(0)),
        ("error_event", FaultPoint::Bytes(0)),
        ("garbage", FaultPoint::Bytes(0)),
    ] {
        let script = Script::parse(&format!("[[answer]]\nfault = {{ kind = \"{kind}\" }}"), "t").unwrap();
        assert_eq!(script.answers[0].fault.as_ref().unwrap().at, expected, "{kind}");
    }
}

#[test]
fn parse_errors_name_their_line() {
    for (text, line, words) in [
        ("answer = 3", 1, "invalid type"),
        ("\n[[answer]]\ntext = \"a\"\ntxet = \"b\"", 4, "unknown field `txet`"),
        ("[[answer]]\ntext = 1", 2, "expected a string"),
        ("[[answer]]\ntext = \"a\"\ndelay = \"5\"", 3, "isn't a duration"),
        ("[[answer]]\ntext = \"a\"\ndelay = \"5h\"", 3, "isn't a duration"),
        (
            "[[answer]]\ntext = \"a\"\nrepeat = \"often\"",
            3,
            "`answer.repeat`: invalid value: string \"often\"",
        ),
        ("[[answer]]\ntext = \"a\"\nusage = \"none\"", 3, "\"omit\" or a table"),
        (
            "[[answer]]\ntext = \"a\"\nfault = { kind = \"explode\" }",
            3,
            "unknown variant `explode`",
        ),
        ("after = \"never\"", 1, "unknown variant `never`"),
        ("[[answer]\n", 1, ""),
        (
            "[[answer]]\ntext = \"a\"\nrepeat = -1",
            3,
            "`answer.repeat`: invalid value: integer `-1`, expected a whole number from 1 to 4294967295 or \"forever\"",
        ),
        (
            "[[answer]]\ntext = \"a\"\nrepeat = 5000000000",
            3,
            "`answer.repeat`: invalid value: integer `5000000000`, expected a whole number from 1 to 4294967295",
        ),
        (
            "[[answer]]\ntext = \"a\"\nrepeat = 1.5",
            3,
            "`answer.repeat`: invalid type: floating point `1.5`, expected a whole number from 1 to 4294967295",
        ),
        (
            "[[answer]]\ntext = \"a\"\nusage = { input_tokns = 1 }",
            3,
            "`answer.usage`: unknown field `input_tokns`, expected one of `input_tokens`, `output_tokens`",
        ),
        (
            "[[answer]]\ntext = \"a\"\nusage = { input_tokens = -1 }",
            3,
            "`answer.usage.input_tokens`: invalid value: integer `-1`, expected u64",
        ),
        (
            "[[answer]]\ntext = \"a\"\nusage = 7",
            3,
            "`answer.usage`: invalid type: integer `7`, expected \"omit\" or a table of token counts",
        ),
        (
            "[[answer]]\nraw = { status = 70000, body = \"a\" }",
            2,
            "`answer.raw.status`: invalid value: integer `70000`, expected u16",
        ),
    ] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(&format!("t.toml:{line}: ")), "{text}: {found:?}");
        assert!(found[0].contains(words), "{text}: {found:?}");
    }
}

#[test]
fn broken_rules_are_reported_all_at_once() {
    let text = r#"
[[answer]]
text = "{{what}}"
repeat = 0
delay = "61m"

[[answer]]

[[answer]]
error = { status = 200 }
headers = { "a b" = "c", content-length = "1" }

[[answer]]
text = "a"
error = { status = 400 }

[[answer]]
fault = { kind = "cut", at = "request" }

[[answer]]
fault = { kind = "stall", at = "request", after_bytes = 1 }

[[answer]]
fault = { kind = "reset", message = "m" }

[[answer]]
tools = [{ name = "", input = { x = nan } }]

[[answer]]
tools = [{ name = "a", input = {}, input_text = "" }]
stream = { chunk = 0 }
"#;
    let found = problems(text).join("\n");
    for expected in [
        "t.toml:2: `repeat` must be at least 1",
        "t.toml:2: `delay` is 3660 s",
        "t.toml:2: `text` has an unknown placeholder {{what}}",
        "t.toml:7: this answer is empty",
        "t.toml:9: `headers` has an illegal name \"a b\"",
        "t.toml:9: `headers` must not set content-length",
        "t.toml:9: `error.status` is 200",
        "t.toml:13: `error` and `raw` exclude the keys",
        "t.toml:17: `fault.at` is for reset, close and stall",
        "t.toml:20: `fault.at`, `fault.after_events` and `fault.after_bytes` exclude",
        "t.toml:23: `fault.error_type` and `fault.message`",
        "t.toml:26: tool call \"\": NaN can't be written as JSON",
        "t.toml:29: tool call \"a\" has both",
    ] {
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
    }
    assert_eq!(problems("").join(""), "t.toml: the script has no [[answer]]");
}

/// The TOML parser limits how deep a value is and how long a key path is, but not both together.
#[test]
fn a_deep_script_is_refused() {
    let path = ["a"; 79].join(".");
    let mut input = "1".to_owned();
    for _ in 0..70 {
        input = format!("{{ {path} = {input} }}");
    }
    let deep = "a value is nested deeper than 100 levels";
    for (text, expected) in [
        (
            format!("\n[[answer]]\ntools = [{{ name = \"a\", input = {input} }}]"),
            format!("t.toml:3: {deep}"),
        ),
        (format!("{path} = {input}"), format!("t.toml:1: {deep}")),
        (format!("[{path}]\n{path} = {input}"), format!("t.toml:2: {deep}")),
    ] {
        assert_eq!(problems(&text), [expected]);
    }
    for text in [
        format!("[{path}.{path}]"),
        "[".repeat(1_000_000),
        format!("[[answer]]\nheaders = {}", "{ a = ".repeat(100_000)),
    ] {
        assert!(!problems(&text).is_empty());
    }
    let path = ["a"; 60].join(".");
    let input = format!("{{ {path} = 1 }}");
    let fits = problems(&format!("[[answer]]\ntools = [{{ name = \"a\", input = {input} }}]"));
    assert_eq!(fits, Vec::<String>::new());
}

#[test]
fn the_examples_in_the_docs_are_valid_scripts() {
    let document = include_str!("../../../docs/simulator.md");
    let examples: Vec<_> = document
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        assert_eq!(problems(example), Vec::<String>::new(), "{example}");
    }
}

#[test]
fn keys_without_effect_are_an_error() {
    for (answer, says) in [
        (
            "text = \"a\"\nfault = { kind = \"reset\" }",
            "an answer has no effect with `fault.at = \"request\"`",
        ),
        (
            "headers = { a = \"b\" }\nfault = { kind = \"stall\" }",
            "`headers` has no effect with",
        ),
        (
            "stream = { chunk = 1 }\nfault = { kind = \"close\" }",
            "`stream` has no effect with",
        ),
        (
            "delay = \"1s\"\nfault = { kind = \"reset\", at = \"accept\" }",
            "`delay` has no effect with",
        ),
        (
            "error = { status = 529 }\nstream = { ping_every = 1 }",
            "`stream.ping_every` only applies",
        ),
        (
            "raw = { body = \"x\" }\nstream = { unknown_events = true }",
            "`stream.unknown_events` only applies",
        ),
        (
            "error = { status = 529 }\nfault = { kind = \"error_event\" }",
            "an `error_event` is part of",
        ),
        (
            "raw = { status = 204, body = \"x\" }",
            "an answer of status 204 has no body",
        ),
        (
            "raw = { status = 304, body = \"\" }\nfault = { kind = \"garbage\" }",
            "an answer of status 304 has no body",
        ),
        (
            "raw = { status = 204, body = \"\" }\nstream = { write_bytes = 1 }",
            "an answer of status 204 has no body",
        ),
        (
            "text = \"a\"\nheaders = { x-a = \"b\", X-A = \"c\" }",
            "twice, and only the last would be sent",
        ),
        (
            "raw = { body = \"a\" }\nheaders = { content-type = \"a/b\" }",
            "use `raw.content_type`",
        ),
        (
            "text = \"a\"\nheaders = { Request-Id = \"x\" }",
            "must not set request-id",
        ),
        ("text = \"a\"\nrepeat = -1", "from 1 to 4294967295"),
        ("text = \"a\"\nusage = { input_tokns = 1 }", "`input_tokens`"),
    ] {
        let found = problems(&format!("[[answer]]\n{answer}"));
        assert!(found.len() == 1 && found[0].contains(says), "{answer}: {found:?}");
    }
    for answer in [
        "delay = \"1s\"\nfault = { kind = \"reset\" }",
        "error = { status = 529 }\nstream = { write_bytes = 1 }",
        "raw = { status = 204, body = \"\" }",
    ] {
        assert_eq!(problems(&format!("[[answer]]\n{answer}")), [""; 0], "{answer}");
    }
}

#[test]
fn every_text_has_a_maximum_length() {
    let long = "x".repeat(1024 * 1024 + 1);
    for (answer, key) in [
        (format!("stop_reason = \"{long}\""), "`stop_reason`"),
        (format!("model = \"{long}\""), "`model`"),
        (
            format!("tools = [{{ name = \"t\", input = {{ a = \"{long}\" }} }}]"),
            "`input`",
        ),
        (format!("headers = {{ a = \"{long}\" }}"), "`headers."),
        (
            format!("when = {{ last_user_contains = \"{long}\" }}"),
            "`when.last_user_contains`",
        ),
        (
            format!("fault = {{ kind = \"error_event\", message = \"{long}\" }}"),
            "`fault.message`",
        ),
    ] {
        let found = problems(&format!("[[answer]]\ntext = \"a\"\n{answer}"));
        assert!(
            found.len() == 1 && found[0].contains(key) && found[0].contains("1048576"),
            "{key}: {:.200}",
            found[0]
        );
    }
}
