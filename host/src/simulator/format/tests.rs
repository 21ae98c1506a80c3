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
omit_headers = ["request-id"]
thinking = "hm"
text = "so {{result:calculate}}"
tools = [
  { name = "calculate", input = { expression = "1", deep = [1, 2.5, true, { at = 2026-11-24 }] } },
  { name = "broken", input_text = '{"a', id = "toolu_x" },
  { name = "bare" },
]
stop_reason = "max_tokens"
stop_sequence = "END"
stop_details = { category = "cyber" }
model = "m"
usage = { input_tokens = 7, cache_read_input_tokens = 2 }
usage_start = { json = '{"input_tokens": null}' }
extra = { container = { id = "c" } }
stream = { chunk = 3, chunk_delay = "1s", ping_every = 2, unknown_events = true, write_bytes = 5, omit = ["message_stop"], event_names = "none", line_ending = "crlf", insert = [{ after_events = 2, text = ": x\n\n", times = 3, wait = "2s" }, { text = "end" }] }
fault = { kind = "error_event", after_events = 4, error_type = "api_error", message = "no" }

[[answer]]
repeat = "forever"
error = { status = 429, type = "rate_limit_error", message = "slow", error_code = "enforced_spend_limit_reached" }

[[answer]]
error = { error_code = "image_dimensions_too_large", details = { max_side_length_pixels = 8000 } }

[[answer]]
gzip = true
raw = { body = "<html>" }

[[answer]]
raw = { body = "x", times = 9 }

[[answer]]
content = [
  { thinking = "hm", signature = "" },
  { text = "a", index = 0, extra = { citations = [] } },
  { tool = "calculate", input_text = "{", id = "toolu_y", delta = "text_delta" },
  { block = { type = "redacted_thinking", data = "x" } },
]

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
        usage_start: Some(UsageAnswer::Json(json!({ "input_tokens": null }))),
        stop_details: Some(json!({ "category": "cyber" })),
        extra: json!({ "container": { "id": "c" } }).as_object().unwrap().clone(),
        content: Vec::new(),
    })
    .when_last_user_contains("25 * 17")
    .when_tool_result("calculate")
    .times(3)
    .delay(Duration::from_millis(250))
    .header("x-a", "b")
    .without_header("request-id")
    .streamed(StreamOptions {
        chunk: 3,
        chunk_delay: Duration::from_secs(1),
        ping_every: 2,
        unknown_events: true,
        write_bytes: 5,
        omit: vec!["message_stop".into()],
        event_names: EventNames::None,
        line_ending: LineEnding::Crlf,
        insert: vec![
            Insertion {
                after_events: 2,
                text: ": x\n\n".into(),
                times: 3,
                wait: Duration::from_secs(2),
            },
            Insertion {
                after_events: usize::MAX,
                text: "end".into(),
                times: 1,
                wait: Duration::ZERO,
            },
        ],
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
                ..ErrorAnswer::default()
            })
            .forever(),
        )
        .answer(Answer::error_with(ErrorAnswer {
            status: 400,
            error_code: Some("image_dimensions_too_large".into()),
            details: json!({ "max_side_length_pixels": 8000 }).as_object().unwrap().clone(),
            ..ErrorAnswer::default()
        }))
        .answer(Answer::raw(200, "text/html", "<html>").gzipped())
        .answer({
            let mut repeated = Answer::raw(200, "text/html", "x");
            repeated.kind = AnswerKind::Raw(RawAnswer {
                status: 200,
                content_type: "text/html".into(),
                body: "x".into(),
                times: 9,
            });
            repeated
        })
        .answer(Answer::content([
            ContentItem::unsigned_thinking("hm"),
            ContentItem::text("a").at_index(0).with_field("citations", json!([])),
            ContentItem::tool(ToolCall {
                id: Some("toolu_y".into()),
                ..ToolCall::truncated("calculate", "{")
            })
            .with_delta("text_delta"),
            ContentItem::block(json!({ "type": "redacted_thinking", "data": "x" })),
        ]))
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
fn a_fault_has_a_point() {
    for (fault, expected) in [
        ("kind = \"reset\"", FaultPoint::Request),
        ("kind = \"close\"", FaultPoint::Request),
        ("kind = \"stall\"", FaultPoint::Request),
        ("kind = \"drip\"", FaultPoint::Request),
        ("kind = \"cut\"", FaultPoint::Bytes(0)),
        ("kind = \"error_event\"", FaultPoint::Bytes(0)),
        ("kind = \"garbage\"", FaultPoint::Bytes(0)),
        ("kind = \"pings\"", FaultPoint::Bytes(0)),
        ("kind = \"raw\", body = \"x\"", FaultPoint::Bytes(0)),
        ("kind = \"stall\", at = \"accept\"", FaultPoint::Accept),
        ("kind = \"cut\", at = \"end\"", FaultPoint::END),
        ("kind = \"close\", at = \"after_answer\"", FaultPoint::AfterAnswer),
        ("kind = \"reset\", after_head_bytes = 9", FaultPoint::HeadBytes(9)),
        ("kind = \"cut\", before_end_bytes = 1", FaultPoint::BeforeEnd(1)),
    ] {
        let script = Script::parse(&format!("[[answer]]\nfault = {{ {fault} }}"), "t").unwrap();
        assert_eq!(script.answers[0].fault.as_ref().unwrap().at, expected, "{fault}");
    }
    for (fault, expected) in [
        (
            "kind = \"drip\", every = \"5ms\"",
            FaultKind::Drip {
                every: Duration::from_millis(5),
            },
        ),
        (
            "kind = \"pings\"",
            FaultKind::Pings {
                every: Duration::from_secs(1),
            },
        ),
        ("kind = \"raw\", body = \"x\"", FaultKind::Raw("x".into())),
    ] {
        let script = Script::parse(&format!("[[answer]]\nfault = {{ {fault} }}"), "t").unwrap();
        assert_eq!(script.answers[0].fault.as_ref().unwrap().kind, expected, "{fault}");
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
        ("[[answer]]\ntext = \"a\"\nusage = \"none\"", 3, "\"omit\", a table"),
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
            "`answer.usage`: invalid type: integer `7`, expected \"omit\", a table of token counts",
        ),
        (
            "[[answer]]\ntext = \"a\"\nusage = { json = \"{\" }",
            3,
            "`answer.usage`: `json` isn't JSON: EOF",
        ),
        (
            "[[answer]]\ntext = \"a\"\nusage = { json = \"{}\", input_tokens = 1 }",
            3,
            "`json` excludes the other keys",
        ),
        (
            "[[answer]]\ntext = \"a\"\nstream = { event_names = \"all\" }",
            3,
            "unknown variant `all`",
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
        "t.toml:4: `repeat` must be at least 1",
        "t.toml:5: `delay` is 3660 s",
        "t.toml:3: `text` has an unknown placeholder {{what}}",
        "t.toml:7: this answer is empty",
        "t.toml:11: `headers` has an illegal name \"a b\"",
        "t.toml:11: `headers` must not set content-length",
        "t.toml:10: `error.status` is 200",
        "t.toml:15: `error` and `raw` exclude the keys",
        "t.toml:18: `fault.at = \"request\"` is for reset, close, stall, drip",
        "t.toml:21: `fault.at`, `fault.after_head_bytes`, `fault.after_events`, `fault.after_bytes` and",
        "t.toml:24: `fault.error_type` and `fault.message`",
        "t.toml:27: tool call \"\": `input`: NaN can't be written as JSON",
        "t.toml:30: tool call \"a\" has both `input` and",
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
        (
            "text = \"a\"\nheaders = { x-a = \"b\" }\nomit_headers = [\"date\"]",
            "`omit_headers` has an unknown name \"date\"",
        ),
        (
            "error = { status = 529 }\nstream = { omit = [\"ping\"] }",
            "`stream.omit` only applies",
        ),
        (
            "text = \"a\"\nstream = { omit = [\"pong\"] }",
            "`stream.omit` has an unknown type \"pong\"; known are message_start,",
        ),
        (
            "text = \"a\"\nstream = { insert = [{ after_events = 1 }] }",
            "neither `text` nor `wait`",
        ),
        (
            "text = \"a\"\nstream = { insert = [{ text = \"x\", times = 2000000000 }] }",
            "`stream.insert.times` makes 2000000000 bytes",
        ),
        ("raw = { body = \"x\", times = 0 }", "`raw.times` must be at least 1"),
        (
            "gzip = true\nraw = { body = \"x\", times = 2 }",
            "`gzip` doesn't go with",
        ),
        (
            "text = \"a\"\ncontent = [{ text = \"b\" }]",
            "`content` takes the place of",
        ),
        (
            "content = [{ text = \"b\", tool = \"t\" }]",
            "exactly one of `thinking`",
        ),
        (
            "content = [{ text = \"b\", id = \"t\" }]",
            "are for an item with `tool`",
        ),
        (
            "content = [{ text = \"b\", signature = \"t\" }]",
            "is for an item with `thinking`",
        ),
        (
            "content = [{ text = \"b\", delta = \"citations_delta\" }]",
            "`content.delta` has an unknown type",
        ),
        (
            "content = [{ text = \"{{what}}\" }]",
            "`content.text` has an unknown placeholder",
        ),
        ("error = { message = \"x\" }", "`error` needs a `status`, or a known"),
        (
            "error = { error_code = \"new\" }",
            "has no known status; set `error.status`",
        ),
        ("fault = { kind = \"raw\" }", "`fault.body` is missing"),
        ("fault = { kind = \"cut\", body = \"x\" }", "`fault.body` is for"),
        ("fault = { kind = \"cut\", every = \"1s\" }", "`fault.every` is for"),
        (
            "fault = { kind = \"cut\", at = \"accept\" }",
            "is for reset, close, stall, garbage and raw",
        ),
        (
            "fault = { kind = \"raw\", body = \"x\", after_head_bytes = 1 }",
            "`fault.after_head_bytes` is for reset",
        ),
        (
            "fault = { kind = \"stall\", at = \"after_answer\" }",
            "is for reset and close",
        ),
        ("gzip = true\nfault = { kind = \"reset\" }", "`gzip` has no effect with"),
        (
            "omit_headers = [\"request-id\"]\nfault = { kind = \"reset\" }",
            "`omit_headers` has no effect with",
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
        "text = \"a\"\ndelay = \"1s\"\nfault = { kind = \"drip\" }",
        "thinking = \"\"",
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
        (
            format!("fault = {{ kind = \"raw\", body = \"{long}\" }}"),
            "`fault.body`",
        ),
        (
            format!("stream = {{ insert = [{{ text = \"{long}\" }}] }}"),
            "`stream.insert.text`",
        ),
        (format!("stop_details = {{ a = \"{long}\" }}"), "`stop_details`"),
        (format!("extra = {{ a = \"{long}\" }}"), "`extra.a`"),
    ] {
        let found = problems(&format!("[[answer]]\ntext = \"a\"\n{answer}"));
        assert!(
            found.len() == 1 && found[0].contains(key) && found[0].contains("1048576"),
            "{key}: {:.200}",
            found[0]
        );
    }
}

/// The keys of an answer in every recipe of the docs. A key that comes again in its row begins another answer.
#[test]
fn the_recipes_in_the_docs_are_valid_scripts() {
    let document = include_str!("../../../docs/simulator.md");
    let recipes = document
        .split("## Recipes")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows: Vec<_> = recipes.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20, "{}", rows.len());
    for row in rows {
        let code = row
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.contains(" = ") && !code.starts_with('{'));
        let mut script = "[[answer]]\n".to_owned();
        let mut keys = Vec::new();
        for line in code {
            let key = line.split(" = ").next().unwrap();
            if keys.contains(&key) {
                script.push_str("[[answer]]\n");
                keys.clear();
            }
            keys.push(key);
            script.push_str(&format!("{line}\n"));
        }
        let has_content = |key: &&str| ["text", "tools", "content", "error", "raw", "fault"].contains(key);
        if !keys.iter().any(has_content) {
            script.push_str("text = \"a\"\n");
        }
        assert_eq!(problems(&script), Vec::<String>::new(), "{row}\n{script}");
    }
}
