//! Messages of the role `system`, and the changes of tools in them.

use serde_json::json;

use super::*;

const BETA: &str = "inline-tools-2026-09-15";

fn system(blocks: &[Value]) -> Value {
    json!({ "role": "system", "content": blocks })
}

fn removal(name: &str) -> Value {
    json!({ "type": "tool_removal", "tool": { "type": "tool_reference", "name": name } })
}

fn addition(name: &str) -> Value {
    json!({ "type": "tool_addition", "tool": { "type": "tool_reference", "name": name } })
}

fn definition(definition: Value) -> Value {
    json!({ "type": "tool_addition", "tool": { "type": "tool_definition", "definition": definition } })
}

fn custom(name: &str) -> Value {
    json!({ "name": name, "description": "d", "input_schema": { "type": "object" } })
}

/// A conversation with the tool `calculate` that ends with these messages.
fn ending_with(messages: &[Value]) -> Value {
    let mut body = request();
    body["messages"].as_array_mut().unwrap().extend_from_slice(messages);
    body
}

fn problem(body: &Value, betas: &str) -> Option<(Option<String>, String)> {
    let checked = checked_as(body, Purpose::Run, Version::Current, betas);
    checked.err().map(|problem| (problem.error_code, problem.message))
}

#[test]
fn tools_come_go_and_change() {
    let changes = [
        system(&[removal("calculate"), definition(custom("new"))]),
        system(&[addition("calculate"), removal("new"), removal("new")]),
        system(&[
            addition("new"),
            definition(json!({ "name": "calculate", "input_schema": { "type": "object" } })),
        ]),
    ];
    assert_eq!(problem(&ending_with(&changes), BETA), None);
    let older = "mid-conversation-tool-changes-2026-07-01";
    assert_eq!(problem(&ending_with(&[system(&[removal("calculate")])]), older), None);
    let mut without_tools = ending_with(&[system(&[definition(custom("new"))])]);
    let fields = without_tools.as_object_mut().unwrap();
    fields.retain(|name, _| !name.starts_with("tool"));
    assert_eq!(problem(&without_tools, BETA), None);
}

#[test]
fn a_change_needs_its_beta_and_a_tool_that_it_can_mean() {
    let large =
        json!({ "name": "large", "description": "d".repeat(4 * 1024 * 1024), "input_schema": { "type": "object" } });
    let marked = |mut value: Value| {
        value["cache_control"] = json!({ "type": "ephemeral" });
        value
    };
    let tool = "messages.4.content.0.tool_addition.tool";
    for (block, betas, code, words) in [
        (
            removal("calculate"),
            "",
            None,
            "messages.4.content.0: Input tag 'tool_removal'".to_owned(),
        ),
        (
            definition(custom("new")),
            "mid-conversation-tool-changes-2026-07-01",
            None,
            format!("{tool}: Input tag 'tool_definition'"),
        ),
        (
            removal("new"),
            BETA,
            Some("tool_reference_unresolved"),
            "messages.4.content.0.tool_removal.tool.tool_reference: Tool reference 'new' not found".to_owned(),
        ),
        (
            addition("new"),
            BETA,
            Some("tool_reference_unresolved"),
            format!("{tool}.tool_reference: Tool reference 'new' not found"),
        ),
        (
            definition(json!({ "type": "bash_20250124", "name": "bash" })),
            BETA,
            Some("tool_name_conflict"),
            format!("{tool}.tool_definition: the name 'bash'"),
        ),
        (
            definition(large),
            BETA,
            Some("available_tools_limit_exceeded"),
            "messages.4: the tools defined".to_owned(),
        ),
        (
            definition(json!({ "name": "new" })),
            BETA,
            None,
            format!("{tool}.tool_definition.definition.custom.input_schema: Field required"),
        ),
        (
            marked(definition(marked(custom("new")))),
            BETA,
            None,
            format!("{tool}.tool_definition: cache_control can be on the block or in the definition"),
        ),
    ] {
        let mut body = ending_with(&[system(std::slice::from_ref(&block))]);
        body["tools"].as_array_mut().unwrap().push(custom("bash"));
        let (found, message) = problem(&body, betas).unwrap_or_else(|| panic!("{block}"));
        assert_eq!(found.as_deref(), code, "{message}");
        assert!(message.starts_with(&words), "{message}");
    }
}

#[test]
fn a_system_message_stands_between_the_user_and_an_answer() {
    let said = |role: &str| json!({ "role": role, "content": role });
    let change = || system(&[removal("calculate")]);
    let text = || json!({ "role": "system", "content": "now" });
    let paused = json!({ "role": "assistant", "content": [
        { "type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {} },
        { "type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [] },
    ] });
    for (messages, expected) in [
        (vec![change(), said("assistant"), said("user"), change()], None),
        (vec![change(), text(), said("assistant"), said("user")], None),
        (
            vec![change(), said("user")],
            Some("messages.4: role 'system' must precede"),
        ),
        (
            vec![text(), change(), said("user")],
            Some("messages.4: role 'system' must precede"),
        ),
        (
            vec![said("assistant"), change()],
            Some("messages.5: role 'system' must follow"),
        ),
        (vec![paused.clone(), text()], None),
        (
            vec![paused, change()],
            Some("messages.5: tool_addition and tool_removal blocks must not follow"),
        ),
    ] {
        let found = problem(&ending_with(&messages), BETA).map(|(_, message)| message);
        assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
        assert!(
            found.is_none_or(|found| found.starts_with(expected.unwrap_or_default())),
            "{expected:?}"
        );
    }
    // Between a call and its result.
    let mut body = request();
    body["messages"].as_array_mut().unwrap().insert(3, change());
    assert!(problem(&body, BETA).is_some());
}
