//! Everything beside the messages: sizes, sampling, thinking, tools, the system prompt, caching.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Judge, Object, Version, Violations, is_identifier, join, present};

/// The most markers for caching in a request.
const BREAKPOINTS: usize = 4;

/// The tools that the vendor defines, by their `type`.
const VENDOR_TOOLS: [&str; 23] = [
    "tool_search_tool_bm25_20251119",
    "tool_search_tool_regex_20251119",
    "bash_20250124",
    "text_editor_20250124",
    "text_editor_20250429",
    "text_editor_20250728",
    "memory_20250818",
    "code_execution_20250522",
    "code_execution_20250825",
    "code_execution_20260120",
    "code_execution_20260521",
    "web_search_20250305",
    "web_search_20260209",
    "web_search_20260318",
    "web_fetch_20250910",
    "web_fetch_20260209",
    "web_fetch_20260309",
    "web_fetch_20260318",
    "tool_search_tool_regex",
    "tool_search_tool_bm25",
    "tool_search_tool_regex_20251119",
    "browser_toolset_20260801",
    "computer_toolset_20260801",
];

impl Judge<'_> {
    pub(super) fn options(&self, found: &mut Violations) {
        self.max_tokens(found);
        self.sampling(found);
        self.thinking(found);
        self.output_config(found);
        self.tool_choice(found);
        let request = self.request;
        found.choice("service_tier", request.get("service_tier"), &["auto", "standard_only"]);
        if let Some(stream) = request.get("stream").filter(|stream| !stream.is_boolean()) {
            found.add("stream", format_args!("{stream} is not a boolean"));
        }
        if let Some(metadata) = present(request, "metadata").and_then(|value| found.object("metadata", value)) {
            found.only("metadata", metadata, &["user_id"]);
        }
        if let Some(speed) = present(request, "speed") {
            if self.rules.speed {
                found.choice("speed", Some(speed), &["standard", "fast"]);
            } else {
                found.add("speed", "Extra inputs are not permitted");
            }
        }
        if let Some(sequences) = present(request, "stop_sequences") {
            for (index, sequence) in found.list("stop_sequences", sequences).iter().enumerate() {
                if sequence.as_str().is_none_or(|text| text.trim().is_empty()) {
                    found.add(
                        &format!("stop_sequences.{index}"),
                        "each stop sequence must contain non-whitespace",
                    );
                }
            }
        }
    }

    fn max_tokens(&self, found: &mut Violations) {
        match self.request.get("max_tokens") {
            None => found.add("max_tokens", "Field required"),
            Some(value) => match value.as_u64() {
                None => found.add(
                    "max_tokens",
                    format_args!("{value} is not a whole number of zero or more"),
                ),
                Some(asked) if asked > self.rules.max_tokens => found.add(
                    "max_tokens",
                    format_args!("{asked} > {}, which is the maximum", self.rules.max_tokens),
                ),
                Some(_) => {}
            },
        }
    }

    fn sampling(&self, found: &mut Violations) {
        for name in ["temperature", "top_p", "top_k"] {
            let Some(value) = self.request.get(name) else { continue };
            let is_default = match name {
                "top_k" => false,
                _ => value.as_f64() == Some(1.0),
            };
            let in_range = match name {
                "top_k" => value.as_u64().is_some(),
                _ => value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value)),
            };
            if self.version == Version::October2026 {
                found.add(name, "Extra inputs are not permitted");
            } else if !in_range {
                found.add(name, format_args!("{value} is out of range"));
            } else if !self.rules.sampling && !is_default {
                found.add(name, format_args!("{value} is not supported for this model"));
            }
        }
    }

    fn thinking(&self, found: &mut Violations) {
        let Some(thinking) = present(self.request, "thinking").and_then(|value| found.object("thinking", value)) else {
            return;
        };
        let kind = found.text("thinking.type", thinking.get("type")).unwrap_or_default();
        match kind {
            "adaptive" => found.only("thinking", thinking, &["type", "display"]),
            "enabled" => found.only("thinking", thinking, &["type", "display", "budget_tokens"]),
            _ => found.only("thinking", thinking, &["type"]),
        }
        found.choice("thinking.display", thinking.get("display"), &["summarized", "omitted"]);
        if !self.rules.thinking.contains(&kind) {
            found.add(
                "thinking.type",
                format_args!("\"thinking.type.{kind}\" is not supported for this model"),
            );
        }
        let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
        let max_tokens = self.request.get("max_tokens").and_then(Value::as_u64);
        if kind == "enabled" && !budget.is_some_and(|budget| budget >= 1024 && Some(budget) < max_tokens) {
            found.add(
                "thinking.budget_tokens",
                "must be at least 1024 and less than `max_tokens`",
            );
        }
        let highest = matches!(self.effort(), Some("xhigh" | "max"));
        if highest && matches!(kind, "disabled" | "between_tools") {
            found.add("thinking.type", format_args!("`{kind}` can't go with this effort"));
        }
    }

    fn effort(&self) -> Option<&str> {
        self.request.get("output_config")?.get("effort")?.as_str()
    }

    fn output_config(&self, found: &mut Violations) {
        let config = present(self.request, "output_config").and_then(|value| found.object("output_config", value));
        let Some(config) = config else { return };
        found.only("output_config", config, &["effort", "format"]);
        let efforts = ["low", "medium", "high", "xhigh", "max"];
        found.choice("output_config.effort", present(config, "effort"), &efforts);
        if !self.rules.effort && present(config, "effort").is_some() {
            found.add("output_config.effort", "is not supported for this model");
        }
        let format = present(config, "format").and_then(|value| found.object("output_config.format", value));
        if let Some(format) = format {
            found.only("output_config.format", format, &["type", "schema"]);
            if format.get("type") != Some(&json!("json_schema")) || !format.get("schema").is_some_and(Value::is_object)
            {
                found.add("output_config.format", "must be a `json_schema` with a `schema`");
            }
        }
    }

    fn tool_choice(&self, found: &mut Violations) {
        let Some(choice) = present(self.request, "tool_choice").and_then(|value| found.object("tool_choice", value))
        else {
            return;
        };
        let kind = choice.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "auto" | "any" => found.only("tool_choice", choice, &["type", "disable_parallel_tool_use"]),
            "tool" => found.only("tool_choice", choice, &["type", "name", "disable_parallel_tool_use"]),
            "none" => found.only("tool_choice", choice, &["type"]),
            _ => found.add("tool_choice.type", "must be `auto`, `any`, `tool` or `none`"),
        }
        if !self.rules.forced_choice && matches!(kind, "any" | "tool") {
            found.add(
                "tool_choice",
                "type \"tool\" and \"any\" are not supported for this model",
            );
        }
        let is_known = |name: &Value| self.tool_list().iter().any(|tool| tool.get("name") == Some(name));
        if kind == "tool" && !choice.get("name").is_some_and(is_known) {
            found.add("tool_choice.name", "names no tool of the request");
        }
    }

    fn tool_list(&self) -> &[Value] {
        self.request
            .get("tools")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    pub(super) fn tools(&self, found: &mut Violations) {
        if let Some(tools) = present(self.request, "tools") {
            found.list("tools", tools);
        }
        let mut names = BTreeSet::new();
        let mut loaded = self.tool_list().is_empty();
        for (index, tool) in self.tool_list().iter().enumerate() {
            let path = format!("tools.{index}");
            let Some(tool) = found.object(&path, tool) else {
                continue;
            };
            match tool.get("type").and_then(Value::as_str) {
                None | Some("custom") => self.custom_tool(&path, tool, found),
                Some(kind) if VENDOR_TOOLS.contains(&kind) => {}
                Some(kind) => found.add(&join(&path, "type"), format_args!("`{kind}` is not a known tool")),
            }
            match tool.get("defer_loading") {
                None | Some(Value::Bool(false)) => loaded = true,
                Some(Value::Bool(true)) if tool.contains_key("cache_control") => {
                    found.add(
                        &path,
                        "a deferred tool is in no cached prefix, so it can't have `cache_control`",
                    );
                }
                Some(Value::Bool(true)) => {}
                Some(_) => {
                    found.add(&join(&path, "defer_loading"), "must be a boolean");
                    loaded = true;
                }
            }
            if let Some(name) = tool.get("name").and_then(Value::as_str)
                && !names.insert(name)
            {
                found.add(&join(&path, "name"), "Tool names must be unique");
            }
        }
        if !loaded {
            found.add("tools", "all are deferred, and at least one may not be");
        }
        self.references(&names, found);
    }

    /// Results of searches refer to tools of the request.
    fn references(&self, names: &BTreeSet<&str>, found: &mut Violations) {
        let messages = self
            .request
            .get("messages")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let blocks = messages.filter_map(|message| message["content"].as_array()).flatten();
        for reference in blocks
            .filter_map(|block| block["content"]["tool_references"].as_array())
            .flatten()
        {
            let name = reference["tool_name"].as_str().unwrap_or_default();
            if !names.contains(name) {
                found.add(
                    "messages",
                    format_args!("Tool reference '{name}' not found in available tools"),
                );
            }
        }
    }

    fn custom_tool(&self, path: &str, tool: &Object, found: &mut Violations) {
        found.only(
            path,
            tool,
            &[
                "allowed_callers",
                "cache_control",
                "defer_loading",
                "description",
                "eager_input_streaming",
                "input_examples",
                "input_schema",
                "name",
                "strict",
                "type",
            ],
        );
        let name_path = join(path, "name");
        if let Some(name) = found.text(&name_path, tool.get("name")) {
            let longest = self.rules.tool_name;
            if !is_identifier(name) || name.len() > longest {
                found.add(
                    &name_path,
                    format_args!("String should match pattern '^[a-zA-Z0-9_-]{{1,{longest}}}$'"),
                );
            }
        }
        if let Some(description) = tool.get("description") {
            found.text(&join(path, "description"), Some(description));
        }
        let schema_path = join(path, "input_schema");
        match tool.get("input_schema") {
            None => found.add(&schema_path, "Field required"),
            Some(schema) => {
                if schema.get("type") != Some(&json!("object")) {
                    found.add(&join(&schema_path, "type"), "Input should be 'object'");
                }
                for keyword in ["oneOf", "allOf", "anyOf"] {
                    if schema.get(keyword).is_some() {
                        found.add(&join(&schema_path, keyword), "is not supported at the top level");
                    }
                }
            }
        }
    }

    pub(super) fn system(&self, found: &mut Violations) {
        match present(self.request, "system") {
            None => {}
            Some(Value::String(text)) if text.trim().is_empty() => {
                found.add("system", "text content blocks must be non-empty");
            }
            Some(Value::String(_)) => {}
            Some(blocks) => {
                for (index, block) in found.list("system", blocks).iter().enumerate() {
                    self.block(&format!("system.{index}"), block, "system", found);
                }
            }
        }
    }

    /// The markers for caching, in the order in which the API reads a request.
    pub(super) fn breakpoints(&self, found: &mut Violations) {
        let mut markers = Vec::new();
        for name in ["tools", "system", "messages"] {
            if let Some(value) = self.request.get(name) {
                collect_markers(name, value, &mut markers);
            }
        }
        if let Some(marker) = present(self.request, "cache_control") {
            markers.push(("cache_control".to_owned(), marker));
        }
        let mut after_short = false;
        for (path, marker) in &markers {
            let ttl = marker.get("ttl").and_then(Value::as_str);
            let keys_are_known = marker
                .as_object()
                .is_some_and(|marker| marker.keys().all(|key| key == "type" || key == "ttl"));
            let ttl_is_known = marker.get("ttl").is_none() || matches!(ttl, Some("5m" | "1h"));
            if marker.get("type") != Some(&json!("ephemeral")) || !keys_are_known || !ttl_is_known {
                found.add(path, "must be `ephemeral`, with a `ttl` of `5m` or `1h` if any");
            }
            if ttl == Some("1h") && after_short {
                found.add(path, "a `1h` marker can't follow a `5m` marker");
            }
            after_short |= ttl != Some("1h");
        }
        if markers.len() > BREAKPOINTS {
            found.add(
                "cache_control",
                format_args!("{} markers, and at most {BREAKPOINTS} are possible", markers.len()),
            );
        }
    }
}

/// The markers in `value`, except in what an operator, a tool or the model wrote.
fn collect_markers<'a>(path: &str, value: &'a Value, markers: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                collect_markers(&format!("{path}.{index}"), item, markers);
            }
        }
        Value::Object(object) => {
            if let Some(marker) = present(object, "cache_control") {
                markers.push((join(path, "cache_control"), marker));
            }
            if let Some(content) = object.get("content") {
                collect_markers(&join(path, "content"), content, markers);
            }
        }
        _ => {}
    }
}
