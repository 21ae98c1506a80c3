//! The list of tools, and the ways in which listing can misbehave.
//!
//! The configuration value `list_tools` selects one, for tests of loading: `error`, `loop`, `panic`, `empty`, `bad_schema`
//! (invalid JSON), `wrong_schema` (JSON, but not a JSON Schema), `no_object` (a schema whose root isn't an object), `duplicate`,
//! `long_name`, `illegal_name`, `empty_name`, `changing` (a different schema each time), `many` (10,000 tools), `huge` (a
//! description of 64 MiB).

use serde_json::{Value, json};

use crate::catalog::{MISDEEDS, Misdeed};
use crate::component::exports::cofferdam::tool::tools::{Annotations, Tool};
use crate::computing;

pub fn list() -> Result<Vec<Tool>, String> {
    let mut tools: Vec<Tool> = MISDEEDS.iter().map(describe).collect();
    let wish = support::config::value("list_tools")
        .unwrap_or_default()
        .unwrap_or_default();
    let echo = |change: fn(&mut Tool)| {
        let mut tool = MISDEEDS
            .iter()
            .find(|misdeed| misdeed.name == "echo")
            .map(describe)
            .ok_or("no echo")?;
        change(&mut tool);
        Ok(vec![tool])
    };
    match wish.as_str() {
        "" => Ok(tools),
        "error" => {
            eprintln!("looked for the list in vain");
            Err("the list of tools is out of order".to_owned())
        }
        "loop" => computing::forever(),
        "panic" => computing::crash(),
        "empty" => Ok(Vec::new()),
        "bad_schema" => echo(|tool| tool.input_schema = "{ \"type\": ".to_owned()),
        "wrong_schema" => echo(|tool| tool.input_schema = r#"{ "type": "object", "required": 12 }"#.to_owned()),
        "no_object" => echo(|tool| tool.input_schema = r#"{ "type": "string" }"#.to_owned()),
        "long_name" => echo(|tool| tool.name = "a".repeat(65)),
        "illegal_name" => echo(|tool| tool.name = "echo; rm -rf /".to_owned()),
        "empty_name" => echo(|tool| tool.name = String::new()),
        // The property has a different name in every call.
        "changing" => echo(|tool| {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            tool.input_schema =
                json!({ "type": "object", "properties": { format!("p{}", now.as_nanos()): { "type": "string" } } })
                    .to_string();
        }),
        "huge" => echo(|tool| tool.description = "x".repeat(64 << 20)),
        "duplicate" => {
            tools.extend(MISDEEDS.iter().map(describe));
            Ok(tools)
        }
        "many" => Ok((0..10_000)
            .map(|i| Tool {
                name: format!("tool_{i}"),
                ..tools[0].clone()
            })
            .collect()),
        other => Err(format!("`list_tools = {other}` is no known way to misbehave")),
    }
}

fn describe(misdeed: &Misdeed) -> Tool {
    let properties: Value = serde_json::from_str(misdeed.properties).unwrap_or_default();
    // `echo` accepts anything; the others declare their parameters.
    let schema = if misdeed.name == "echo" {
        json!({ "type": "object" })
    } else {
        json!({
            "type": "object",
            "properties": properties,
            "required": misdeed.required,
            "additionalProperties": false,
        })
    };
    Tool {
        name: misdeed.name.to_owned(),
        description: format!("Misbehaves, to test its host. {}", misdeed.description),
        input_schema: schema.to_string(),
        annotations: Annotations {
            read_only: false,
            idempotent: misdeed.idempotent,
            destructive: false,
        },
    }
}
