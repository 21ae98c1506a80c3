//! Converts tools and results to the protocol's types.

use std::sync::Arc;

use rmcp::model::{CallToolResult, ContentBlock, JsonObject, MetaObject, Tool as McpTool, ToolAnnotations};
use serde_json::{Value, json};

use crate::tools::{Part, Structure, Tool, ToolResult};

/// The prefix of our own keys in `_meta`.
const META_PREFIX: &str = "cofferdam/";

/// A tool as clients see it.
pub(super) fn tool(tool: &Tool) -> McpTool {
    // Loading has refused every schema that isn't an object.
    let schema: JsonObject = serde_json::from_str(tool.input_schema()).unwrap_or_default();
    let annotations = ToolAnnotations::new()
        .read_only(tool.annotations.read_only)
        .destructive(tool.annotations.destructive)
        .idempotent(tool.annotations.idempotent);
    let described =
        McpTool::new(tool.name.clone(), tool.description.clone(), Arc::new(schema)).with_annotations(annotations);
    match output_schema(tool) {
        Some(schema) => described.with_raw_output_schema(Arc::new(schema)),
        None => described,
    }
}

/// The schema that clients check every success against. A tool with a fallback can succeed with another text, so it has none.
fn output_schema(tool: &Tool) -> Option<JsonObject> {
    let schema = tool.output_schema.as_deref().filter(|_| tool.fallback.is_none())?;
    serde_json::from_str(schema).ok()
}

/// The result as a value of the tool's output schema. Revisions before 2026-07-28 know only objects there: rmcp leaves other
/// values out, and their schemas as well.
fn structured(result: &ToolResult) -> Option<Value> {
    let (Some(structure), [Part::Text { text }]) = (result.structure, &*result.content) else {
        return None;
    };
    match structure {
        Structure::Json => serde_json::from_str(text).ok(),
        Structure::Text => Some(Value::String(text.clone())),
    }
}

/// A result as the client's model reads it, with figures about the call in `_meta`. `knows_any` says whether the client knows
/// structured content that isn't an object.
pub(super) fn result(result: ToolResult, knows_any: bool) -> CallToolResult {
    let structured = structured(&result).filter(|value| knows_any || value.is_object());
    let content = result.content.into_iter().map(|part| match part {
        Part::Text { text } => ContentBlock::text(text),
        Part::Image { media_type, base64 } => ContentBlock::image(base64, media_type),
    });
    let finished = &result.finished;
    let meta = meta([
        ("outcome", json!(result.outcome)),
        ("degraded", json!(result.degraded)),
        ("duration_ms", json!(finished.duration_ms)),
        ("fuel", json!(finished.fuel)),
        ("peak_memory_bytes", json!(finished.peak_memory_bytes)),
        ("tries", json!(finished.tries)),
    ]);
    let mut answer = finish(content.collect(), result.is_error, meta);
    answer.structured_content = structured;
    answer
}

/// The answer to a call that is one too many.
pub(super) fn overloaded(limit: usize) -> CallToolResult {
    let text = format!("This client already has {limit} calls running or waiting. Wait until one of them has ended.");
    let meta = meta([("outcome", json!(crate::events::Outcome::Overloaded))]);
    finish(vec![ContentBlock::text(text)], true, meta)
}

fn finish(content: Vec<ContentBlock>, is_error: bool, meta: MetaObject) -> CallToolResult {
    let result = match is_error {
        true => CallToolResult::error(content),
        false => CallToolResult::success(content),
    };
    result.with_meta(Some(meta))
}

fn meta<const N: usize>(figures: [(&str, Value); N]) -> MetaObject {
    let figures = figures.into_iter();
    MetaObject(
        figures
            .map(|(name, value)| (format!("{META_PREFIX}{name}"), value))
            .collect(),
    )
}
