//! `cofferdam tool list`: lists the configured tools, or those of a component.

use clap::Args;
use serde_json::{Value, json};

use super::grants::{self, GrantArgs};
use super::table::{Column, Table};
use super::{CliError, Context, Output, format, standalone, tool};
use crate::agent::definitions;
use crate::model::{ModelSettings, ToolDefinition, definition_tokens, searched_tools};
use crate::tools::Tool;

/// The maximum length of a description in the table, in characters.
const MAX_DESCRIPTION_CHARS: usize = 70;

#[derive(Args, Debug)]
pub struct ListArgs {
    /// A component file, or builtin:NAME, instead of the configuration
    #[arg(value_name = "FILE")]
    pub component: Option<String>,
}

pub async fn list(cx: &Context, args: ListArgs) -> Result<u8, CliError> {
    let config = match &args.component {
        None => {
            let config = cx.config()?;
            cx.note_missing_configuration(&config);
            config
        }
        Some(component) => standalone::config(grants::component(component, &GrantArgs::default())?)?,
    };
    let _logging = cx.logging(&config, false)?;
    let is_configured = args.component.is_none();
    let tools = match args.component {
        None => tool::load(cx, &config, false).await?,
        Some(_) => standalone::load(cx, &config).await?,
    };
    match cx.global.output {
        Output::Text => {
            cx.stdout.write(&table(tools.tools()).render_within(cx.stdout.width()));
            if is_configured && tools.tools().next().is_some() {
                cx.note(&size(&config.model, definitions(&tools).list()));
            }
        }
        Output::Json => cx.stdout.json_pretty(&tools.tools().map(json).collect::<Vec<_>>()),
        Output::StreamJson => tools.tools().for_each(|tool| cx.stdout.json_line(&json(tool))),
    }
    Ok(0)
}

/// What the definitions add to the prompt.
fn size(model: &ModelSettings, tools: &[ToolDefinition]) -> String {
    let bytes = tools.iter().map(ToolDefinition::bytes).sum();
    let read = match searched_tools(model, tools).len() {
        0 => "the model reads them with every request".to_owned(),
        searched => format!("the model searches for {searched} of them, see `[model] tool_search`"),
    };
    format!(
        "The definitions of the tools have {} bytes, an estimated {} tokens; {read}.",
        format::count(bytes),
        format::count(definition_tokens(bytes)),
    )
}

pub fn json(tool: &Tool) -> Value {
    json!({
        "name": tool.name,
        "plugin": tool.plugin,
        "description": tool.description,
        "input_schema": serde_json::from_str::<Value>(tool.input_schema()).unwrap_or_default(),
        "output_schema": tool.output_schema.as_deref().and_then(|schema| serde_json::from_str::<Value>(schema).ok()),
        "annotations": {
            "read_only": tool.annotations.read_only,
            "idempotent": tool.annotations.idempotent,
            "destructive": tool.annotations.destructive,
        },
        "fallback": tool.fallback,
        "digest": tool.digest(),
    })
}

/// What the tool claims about its effects.
pub fn claims(tool: &Tool) -> String {
    let claims = [
        (tool.annotations.read_only, "read-only"),
        (tool.annotations.idempotent, "idempotent"),
        (tool.annotations.destructive, "destructive"),
    ];
    let claims: Vec<&str> = claims
        .into_iter()
        .filter_map(|(claimed, word)| claimed.then_some(word))
        .collect();
    match claims.is_empty() {
        true => "-".to_owned(),
        false => claims.join(", "),
    }
}

fn table<'a>(tools: impl Iterator<Item = &'a Tool>) -> Table {
    let mut table = Table::new([
        Column::Left("tool"),
        Column::Left("plugin"),
        Column::Left("claims to be"),
        Column::Left("description"),
    ]);
    for tool in tools {
        let description = tool.claimed_description.raw().lines().next().unwrap_or_default();
        table.row([
            tool.name.clone(),
            tool.plugin.clone(),
            claims(tool),
            format::one_line(description, MAX_DESCRIPTION_CHARS),
        ]);
    }
    table
}
