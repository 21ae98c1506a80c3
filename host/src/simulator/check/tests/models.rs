//! What depends on the model.

use serde_json::json;

use super::super::super::models::{self, MODELS};
use super::super::super::script::{Answer, ContentItem, MessageAnswer};
use super::*;

/// A simple request to a model. Its thinking budget fits its tokens.
fn plain(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 2000, "messages": [{ "role": "user", "content": "hello" }] })
}

fn with(model: &str, field: &str, value: Value) -> Value {
    let mut body = plain(model);
    body[field] = value;
    body
}

/// The vendor defines a capability that isn't supported as one whose use gets a 400.
#[test]
fn the_published_capabilities_are_what_is_accepted() {
    let mut checked = 0;
    for model in MODELS
        .iter()
        .filter(|model| !model.id.is_empty() && !model.is_retired())
    {
        let published = models::one(model.id).unwrap();
        let types = published["capabilities"]["thinking"]["types"].as_object().unwrap();
        for (kind, support) in types {
            let mut thinking = json!({ "type": kind });
            if kind == "enabled" {
                thinking["budget_tokens"] = json!(1024);
            }
            let refused = refusal(&with(model.id, "thinking", thinking), Version::Current, "");
            assert_eq!(
                refused.is_none(),
                support["supported"] == true,
                "{} {kind}: {refused:?}",
                model.id
            );
            checked += 1;
        }
        let effort = refusal(
            &with(model.id, "output_config", json!({ "effort": "high" })),
            Version::Current,
            "",
        );
        assert_eq!(
            effort.is_none(),
            published["capabilities"]["effort"]["supported"] == true,
            "{}: {effort:?}",
            model.id
        );
        for (tokens, accepted) in [(published["max_tokens"].as_u64().unwrap(), true), (128_001, false)] {
            let refused = refusal(&with(model.id, "max_tokens", json!(tokens)), Version::Current, "");
            assert_eq!(refused.is_none(), accepted, "{} {tokens}: {refused:?}", model.id);
        }
    }
    assert!(checked >= 60, "{checked}");
}

#[test]
fn thinking_is_refused_with_a_way_out() {
    let always = "\"thinking.type.disabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \
                  \"output_config.effort\" to control thinking behavior.";
    let disabled = json!({ "type": "disabled" });
    for model in ["claude-fable-5-2", "claude-mythos-5", "claude-opus-5-5"] {
        assert_eq!(
            refusal(&with(model, "thinking", disabled.clone()), Version::Older, "").as_deref(),
            Some(always)
        );
    }
    let sonnet = refusal(
        &with("claude-sonnet-5-5", "thinking", disabled.clone()),
        Version::Current,
        "",
    );
    assert!(sonnet.is_some_and(|message| message.contains("thinking.type.between_tools")));
    for (model, kind, effort, accepted) in [
        ("claude-opus-5", "disabled", "high", true),
        ("claude-opus-5", "disabled", "xhigh", false),
        ("claude-opus-5", "adaptive", "max", true),
        ("claude-haiku-5-5", "disabled", "max", false),
        ("claude-sonnet-5-5", "between_tools", "high", true),
        ("claude-sonnet-5-5", "between_tools", "max", false),
    ] {
        let mut body = with(model, "thinking", json!({ "type": kind }));
        body["output_config"] = json!({ "effort": effort });
        assert_eq!(
            refusal(&body, Version::Current, "").is_none(),
            accepted,
            "{model} {kind} {effort}"
        );
    }
    let mut budget = with(
        "claude-haiku-4-5",
        "thinking",
        json!({ "type": "enabled", "budget_tokens": 2000 }),
    );
    assert_eq!(
        refusal(&budget, Version::Current, "").as_deref(),
        Some("`max_tokens` must be greater than `thinking.budget_tokens`.")
    );
    budget["max_tokens"] = json!(2001);
    assert_eq!(refusal(&budget, Version::Current, ""), None);
}

#[test]
fn a_forced_tool_a_prefill_and_sampling_depend_on_the_model() {
    let tool = json!([{ "name": "t", "input_schema": { "type": "object" } }]);
    let prefill = json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b" }]);
    let system = json!([{ "role": "user", "content": "a" }, { "role": "system", "content": "b" }]);
    for (model, forced, prefilled, sampled, system_message) in [
        ("claude-fable-5-2", false, false, false, true),
        ("claude-opus-5-5", false, false, false, true),
        ("claude-sonnet-5-5", false, false, false, true),
        ("claude-haiku-5-5", true, false, false, true),
        ("claude-opus-5", true, false, false, true),
        ("claude-sonnet-5", true, false, false, false),
        ("claude-fable-5", true, false, false, true),
        ("claude-opus-4-8", true, false, false, true),
        ("claude-opus-4-7", true, false, false, false),
        ("claude-opus-4-6", true, false, true, false),
        ("claude-sonnet-4-5", true, true, true, false),
        ("claude-haiku-4-5-20251001", true, true, true, false),
        ("any-name", true, true, true, true),
    ] {
        let accepts = |body: &Value| refusal(body, Version::Older, "").is_none();
        let mut body = with(model, "tools", tool.clone());
        for choice in [json!({ "type": "any" }), json!({ "type": "tool", "name": "t" })] {
            body["tool_choice"] = choice;
            assert_eq!(accepts(&body), forced, "{model}: tool_choice");
        }
        assert_eq!(
            accepts(&with(model, "messages", prefill.clone())),
            prefilled,
            "{model}: prefill"
        );
        assert_eq!(
            accepts(&with(model, "messages", system.clone())),
            system_message,
            "{model}: system"
        );
        assert_eq!(
            accepts(&with(model, "temperature", json!(0.5))),
            sampled,
            "{model}: temperature"
        );
        assert_eq!(accepts(&with(model, "top_k", json!(5))), sampled, "{model}: top_k");
        assert!(accepts(&with(model, "temperature", json!(1))), "{model}: the default");
    }
    let mut thinks = with(
        "claude-haiku-4-5",
        "thinking",
        json!({ "type": "enabled", "budget_tokens": 1024 }),
    );
    thinks["tools"] = tool;
    thinks["tool_choice"] = json!({ "type": "any" });
    assert_eq!(
        refusal(&thinks, Version::Current, "").as_deref(),
        Some("Thinking may not be enabled when tool_choice forces tool use.")
    );
    assert_eq!(
        refusal(&with("claude-haiku-4-5", "temperature", json!(1.5)), Version::Older, "").as_deref(),
        Some("temperature: range: 0..1")
    );
}

#[test]
fn a_retired_model_is_not_found() {
    let problem = checked(&plain("claude-mythos-preview"), Purpose::Run).unwrap_err();
    assert_eq!(
        (problem.status, problem.message.as_str()),
        (404, "model: claude-mythos-preview")
    );
}

#[test]
fn a_script_can_sign_thinking_and_pause() {
    let script = |answer: Answer| ScriptFacts::of(&Script::new().answer(answer));
    let signed = ItemKind::Thinking {
        text: "hm".to_owned(),
        signature: Some("own".to_owned()),
    };
    let signs = script(Answer::content([
        ContentItem::new(signed),
        ContentItem::unsigned_thinking("cut off"),
    ]));
    let pauses = script(Answer::message(MessageAnswer {
        stop_reason: Some("pause_turn".to_owned()),
        ..Default::default()
    }));
    let headers = HeaderMap::new();
    let accepts = |request: &Value, script: &ScriptFacts| {
        body(
            request,
            &Rules::new(Purpose::Run, Version::Current, &headers, request, script),
        )
        .is_ok()
    };
    let own = changed("/messages/2/content/0/signature", json!("own"));
    assert!(accepts(&own, &signs) && !accepts(&own, &pauses));
    assert!(!accepts(&changed("/messages/2/content/0/signature", json!("")), &signs));
    let continued = changed("/messages/-", json!({ "role": "assistant", "content": "so far" }));
    assert!(accepts(&continued, &pauses) && !accepts(&continued, &signs));
}
