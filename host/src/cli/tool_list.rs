//! `cofferdam tool list`: lists the configured tools.

use serde_json::{Value, json};

use super::table::{Column, Table};
use super::{CliError, Context, Output, format, tool};
use crate::tools::Tool;

/// The maximum length of a description in the table, in characters.
const MAX_DESCRIPTION_CHARS: usize = 70;

pub async fn list(cx: &Context) -> Result<u8, CliError> {
    let config = cx.config()?;
    let _logging = cx.logging(&config, false)?;
    let tools = tool::load(cx, &config, false).await?;
    match cx.global.output {
        Output::Text => cx.stdout.write(&table(tools.tools())),
        Output::Json => cx.stdout.json_pretty(&tools.tools().map(json).collect::<Vec<_>>()),
        Output::StreamJson => tools.tools().for_each(|tool| cx.stdout.json_line(&json(tool))),
    }
    Ok(0)
}

fn json(tool: &Tool) -> Value {
    json!({
        "name": tool.name,
        "plugin": tool.plugin,
        "description": tool.description,
        "input_schema": tool.input_schema(),
        "annotations": {
            "read_only": tool.annotations.read_only,
            "idempotent": tool.annotations.idempotent,
            "destructive": tool.annotations.destructive,
        },
        "fallback": tool.fallback,
        "digest": tool.digest(),
    })
}

fn table<'a>(tools: impl Iterator<Item = &'a Tool>) -> String {
    let mut table = Table::new([
        Column::Left("tool"),
        Column::Left("plugin"),
        Column::Left("claims to be"),
        Column::Left("description"),
    ]);
    for tool in tools {
        let claims = [
            (tool.annotations.read_only, "read-only"),
            (tool.annotations.idempotent, "idempotent"),
            (tool.annotations.destructive, "destructive"),
        ];
        let claims: Vec<&str> = claims
            .into_iter()
            .filter_map(|(claimed, word)| claimed.then_some(word))
            .collect();
        let description = tool.description.lines().next().unwrap_or_default();
        table.row([
            tool.name.clone(),
            tool.plugin.clone(),
            if claims.is_empty() {
                "-".to_owned()
            } else {
                claims.join(", ")
            },
            format::one_line(description, MAX_DESCRIPTION_CHARS),
        ]);
    }
    table.render()
}
