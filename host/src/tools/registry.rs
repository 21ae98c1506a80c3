//! Loads plugins: checks the names of their tools and compiles the schemas. What isn't usable is left out alone.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::beside::wit_beside;
use super::builtin::builtin;
use super::problem::{PluginError, PluginProblem, PluginWarning, section};
use super::schema::InputSchema;
use super::settings::{ComponentSource, PluginSettings, ToolSettings};
use crate::sandbox::{
    Annotations, ComponentBytes, ComponentError, Digest, Effects, Plugin, Sandbox, SetIn, ToolInfo, open_file,
};
use crate::untrusted::{SENTENCE_CHARS, Untrusted, display_untrusted_list, visible_json, visible_text};

/// Tools per plugin and bytes per description. The host sets these bounds, not the contract.
const MAX_TOOLS: usize = 256;
const MAX_DESCRIPTION_BYTES: usize = 8 * 1024;
const MAX_NAME_CHARS: usize = 64;
/// How the names of the API's own tools begin that search for tools. A request that has them and another tool of such a name is refused.
const RESERVED_NAMES: &str = "tool_search_tool_";
/// Regular expressions in the schemas of one plugin. Each stays compiled for as long as the host runs.
const MAX_PATTERNS: usize = 256;
/// Unusable tools per plugin, after which the rest isn't checked: refusing a schema takes as long as accepting one.
const MAX_UNUSABLE: usize = 32;
/// Bytes of names, descriptions and schemas per plugin. Every request to the model carries and pays for them.
const MAX_DEFINITION_BYTES: usize = 64 * 1024;
/// The same for all plugins together: half of what a large model accepts.
const MAX_HOST_DEFINITION_BYTES: usize = 512 * 1024;

/// Bytes of output schemas per plugin, and of all plugins together. They only go to MCP clients, so a tool without its own still
/// works.
const MAX_OUTPUT_SCHEMA_BYTES: usize = 64 * 1024;
const MAX_HOST_OUTPUT_SCHEMA_BYTES: usize = 512 * 1024;

/// One tool, ready to be called.
#[derive(Debug)]
pub struct Tool {
    /// What the model calls it.
    pub name: String,
    /// What the component calls it.
    pub export: String,
    /// The plugin's name in the configuration.
    pub plugin: String,
    /// Where the plugin is set.
    pub(super) set_in: SetIn,
    /// For the model: without invisible characters.
    pub description: String,
    /// The description as the operator or the component wrote it.
    pub claimed_description: Untrusted,
    /// What the operator set, else what the component says.
    pub annotations: Annotations,
    /// Whether the operator, and not only the component, says that it changes nothing.
    pub(super) operator_says_read_only: bool,
    /// JSON Schema of a successful result, if the component is known to keep to it. JSON text.
    pub output_schema: Option<Arc<str>>,
    pub fallback: Option<String>,
    /// Whether the model always reads its definition, even where it searches for other tools.
    pub always_load: bool,
    pub breaker: crate::resilience::BreakerSettings,
    /// Whether the breaker counts every error that a typed function returns.
    pub(super) errors_count: bool,
    pub(super) schema: Arc<InputSchema>,
    pub(super) component: Plugin,
}

impl Tool {
    /// JSON text: the component's own, without blanks.
    pub fn input_schema(&self) -> &Arc<str> {
        &self.schema.text
    }

    /// The digest of the component that serves it.
    pub fn digest(&self) -> String {
        self.component.digest().to_string()
    }

    pub fn limits(&self) -> &crate::sandbox::Limits {
        self.component.limits()
    }

    /// Bytes that the tool adds to every request to the model.
    pub fn definition_bytes(&self) -> usize {
        self.name.len() + self.description.len() + self.schema.text.len()
    }

    /// Leaves the output schema out if it brings `taken` to more than `limit` bytes.
    fn bound_output_schema(&mut self, taken: &mut usize, limit: usize) {
        let bytes = self.output_schema.as_ref().map_or(0, |schema| schema.len());
        if *taken + bytes > limit {
            tracing::warn!(plugin = self.plugin, tool = %Untrusted::new(self.export.clone()).display(),
                "the tool's output schema is left out: with it, output schemas would have more than {limit} bytes");
            self.output_schema = None;
        } else {
            *taken += bytes;
        }
    }

    /// What its calls can do outside of the host, by what the plugin is granted.
    pub fn effects(&self) -> Effects {
        self.component.effects()
    }

    /// What its plugin is granted, a line each.
    pub fn grants_in_words(&self) -> Vec<String> {
        self.component.grants_in_words()
    }

    /// Whether a call can be made twice, whatever became of the first: it leaves no trace, or the tool says that it is idempotent or
    /// read-only.
    pub fn is_repeatable(&self) -> bool {
        self.effects() == Effects::None || self.may_retry()
    }

    /// Whether a failed call may be retried: the tool declares itself idempotent or read-only.
    pub(super) fn may_retry(&self) -> bool {
        self.annotations.idempotent || self.annotations.read_only
    }
}

/// The tools of all plugins.
#[derive(Debug, Default)]
pub(super) struct Registered {
    /// In a fixed order.
    pub(super) tools: Vec<Tool>,
    /// What is left out.
    pub(super) problems: Vec<PluginError>,
    /// What isn't as it should be, without a tool being left out.
    pub(super) warnings: Vec<PluginWarning>,
}

/// Loads up to `host_concurrency` plugins at once.
///
/// Built-in plugins come first, then the others by name. Where two tools have the same name, the first of them keeps it, so
/// that no plugin can take a name from a built-in.
pub(super) async fn load(sandbox: &Sandbox, plugins: &[PluginSettings], host_concurrency: u32) -> Registered {
    let mut ordered: Vec<&PluginSettings> = plugins.iter().collect();
    ordered.sort_by_key(|settings| (!matches!(settings.source, ComponentSource::Builtin(_)), &settings.name));
    let loading = ordered.iter().enumerate().map(async |(position, settings)| {
        let loaded = load_plugin(sandbox, settings).await;
        (position, loaded)
    });
    let loading = stream::iter(loading.collect::<Vec<_>>()).buffer_unordered(host_concurrency.max(1) as usize);
    let mut loaded: Vec<_> = loading.collect().await;
    loaded.sort_by_key(|(position, _)| *position);
    let mut accepted = Accepted::default();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for (settings, (_, loaded)) in ordered.into_iter().zip(loaded) {
        let (before, first) = (accepted.tools.len(), problems.len());
        let mut leave_out = |problem| {
            problems.push(PluginError {
                plugin: settings.name.clone(),
                fatal: settings.required,
                set_in: settings.set_in,
                problem,
            });
        };
        match loaded {
            Err(error) => leave_out(PluginProblem::Component(error)),
            Ok(loaded) => {
                warnings.extend(loaded.warnings.into_iter().map(|text| PluginWarning {
                    plugin: settings.name.clone(),
                    text,
                }));
                loaded.problems.into_iter().for_each(&mut leave_out);
                for tool in loaded.tools {
                    accepted.add(tool).unwrap_or_else(&mut leave_out);
                }
                // Nothing can be set for the tools of a component on the command line, so what is left of them must do.
                if settings.set_in == SetIn::CommandLine && accepted.tools.len() > before {
                    problems[first..].iter_mut().for_each(|problem| problem.fatal = false);
                }
            }
        }
    }
    Registered {
        tools: accepted.tools,
        problems,
        warnings,
    }
}

/// The tools that no other tool, and no bound for all plugins together, keeps out.
#[derive(Default)]
struct Accepted {
    tools: Vec<Tool>,
    bytes: usize,
    output_schema_bytes: usize,
}

impl Accepted {
    fn add(&mut self, mut tool: Tool) -> Result<(), PluginProblem> {
        let identity = name_identity(&tool.name);
        if let Some(owner) = self.tools.iter().find(|owner| name_identity(&owner.name) == identity) {
            return Err(PluginProblem::LostName {
                tool: tool.export.into(),
                name: tool.name,
                owner: owner.name.clone(),
                of_plugin: owner.plugin.clone(),
            });
        }
        let bytes = self.bytes + tool.definition_bytes();
        if bytes > MAX_HOST_DEFINITION_BYTES {
            return Err(PluginProblem::UnusableTool {
                tool: tool.export.into(),
                reason: format!(
                    "it would bring the names, descriptions and schemas of all tools to more than \
                     {MAX_HOST_DEFINITION_BYTES} bytes, which every request to the model would carry"
                ),
            });
        }
        self.bytes = bytes;
        tool.bound_output_schema(&mut self.output_schema_bytes, MAX_HOST_OUTPUT_SCHEMA_BYTES);
        self.tools.push(tool);
        Ok(())
    }
}

/// Finds the component that `source` names.
pub fn open_component(source: &ComponentSource, limit: u64) -> Result<ComponentBytes, ComponentError> {
    match source {
        ComponentSource::Builtin(name) => builtin(name)
            .map(ComponentBytes::from)
            .ok_or_else(|| ComponentError::UnknownBuiltin(name.clone())),
        ComponentSource::Path(path) => open_file(path, limit),
        ComponentSource::Bytes(bytes) => Ok(bytes.clone().into()),
    }
}

/// What a plugin offers, and what it is left out with.
struct Loaded {
    tools: Vec<Tool>,
    problems: Vec<PluginProblem>,
    warnings: Vec<String>,
}

async fn load_plugin(sandbox: &Sandbox, settings: &PluginSettings) -> Result<Loaded, ComponentError> {
    let (source, limit) = (settings.source.clone(), settings.grants.limits.component_bytes);
    let pinned = settings.digest.clone();
    let kept_as = match settings.set_in {
        SetIn::Configuration => settings.name.clone(),
        // Its file can have any name, also one whose data are another plugin's.
        SetIn::CommandLine => source.place(),
    };
    let opened = tokio::task::spawn_blocking(move || {
        let component = open_component(&source, limit)?;
        match pinned {
            Some(digest) => check_pin(component.read()?, digest),
            None => Ok(component),
        }
    });
    let component = opened
        .await
        .map_err(|error| ComponentError::Host(error.to_string()))??;
    for warning in settings.warnings() {
        tracing::warn!(plugin = settings.name, "{warning}");
    }
    let beside = match &settings.source {
        // What stands beside a component isn't part of its digest, so it describes no component that is pinned by one.
        ComponentSource::Path(path) if settings.digest.is_none() => Some(path.clone()),
        _ => None,
    };
    let wit = move || beside.map_or(Ok(Vec::new()), |path| wit_beside(&path));
    let command = settings.command.as_ref();
    let loading = sandbox.load_documented(&settings.name, &kept_as, component, &settings.grants, command, wit);
    let component = loading.await?;
    let exports = component.list_tools().await?;
    let found = exports.len() + component.unusable_exports().count();
    if found > MAX_TOOLS {
        return Err(ComponentError::TooManyTools { found, max: MAX_TOOLS });
    }
    // Compiling untrusted schemas can take long enough to stall an async worker.
    let settings = settings.clone();
    let loaded = tokio::task::spawn_blocking(move || make_tools(exports, &settings, &component));
    loaded.await.map_err(|error| ComponentError::Host(error.to_string()))
}

/// The pinned component. It is hashed in every start: a pin is about the bytes, not about what the system says of their file.
///
/// # Errors
///
/// If the component has another digest.
fn check_pin(bytes: Bytes, expected: String) -> Result<ComponentBytes, ComponentError> {
    let found = Digest::of(&bytes);
    match found.to_string().eq_ignore_ascii_case(&expected) {
        true => Ok(bytes.into()),
        false => Err(ComponentError::DigestMismatch { expected, found }),
    }
}

/// The usable tools. One that isn't usable is left out alone.
fn make_tools(exports: Vec<ToolInfo>, settings: &PluginSettings, component: &Plugin) -> Loaded {
    let unusable_exports: Vec<_> = component.unusable_exports().collect();
    let is_known = |tool: &str| {
        exports.iter().any(|export| export.name.raw() == tool)
            || unusable_exports.iter().any(|export| export.tool.raw() == tool)
    };
    let unknown = settings.tools.keys().filter(|tool| !is_known(tool));
    let mut problems: Vec<PluginProblem> = unknown
        .map(|tool| PluginProblem::NoSuchTool {
            plugin: settings.name.clone(),
            tool: tool.clone(),
            // Whole, because each is a key of the configuration.
            known: display_untrusted_list(exports.iter().map(|export| &export.name), SENTENCE_CHARS),
        })
        .collect();
    let is_enabled = |tool: &str| settings.tools.get(tool).is_none_or(|tool| tool.enabled);
    problems.extend(
        unusable_exports
            .iter()
            .filter(|export| is_enabled(export.tool.raw()))
            .map(|export| PluginProblem::UnusableTool {
                tool: export.tool.clone(),
                reason: export.reason.clone(),
            }),
    );
    let default = ToolSettings::default();
    let mut tools = Vec::with_capacity(exports.len());
    let (mut patterns, mut bytes, mut output_schema_bytes, mut unusable) = (0, 0, 0, 0);
    for export in exports {
        let tool_settings = settings.tools.get(export.name.raw()).unwrap_or(&default);
        if !tool_settings.enabled {
            continue;
        }
        let name = export.name.clone();
        if unusable == MAX_UNUSABLE {
            let reason = format!("{MAX_UNUSABLE} tools before it aren't usable either, so it wasn't checked");
            problems.push(PluginProblem::UnusableTool { tool: name, reason });
            continue;
        }
        let made = make_tool(export, settings, tool_settings, component).and_then(|tool| {
            // Counted as sent: serialised, a number of four bytes can become eighteen.
            let tool_bytes = tool.definition_bytes();
            if patterns + tool.schema.patterns() > MAX_PATTERNS {
                return Err(format!(
                    "with its own, the input schemas of the plugin have more than {MAX_PATTERNS} patterns"
                ));
            }
            if bytes + tool_bytes > MAX_DEFINITION_BYTES {
                return Err(format!(
                    "with its own, the names, descriptions and schemas of the plugin have more than \
                     {MAX_DEFINITION_BYTES} bytes, which every request to the model would carry"
                ));
            }
            patterns += tool.schema.patterns();
            bytes += tool_bytes;
            Ok(tool)
        });
        match made {
            Ok(mut tool) => {
                tool.bound_output_schema(&mut output_schema_bytes, MAX_OUTPUT_SCHEMA_BYTES);
                tools.push(tool);
            }
            Err(reason) => {
                unusable += 1;
                problems.push(PluginProblem::UnusableTool { tool: name, reason });
            }
        }
    }
    Loaded {
        tools,
        problems,
        warnings: component.warnings().map(str::to_owned).collect(),
    }
}

fn make_tool(
    export: ToolInfo,
    settings: &PluginSettings,
    tool_settings: &ToolSettings,
    component: &Plugin,
) -> Result<Tool, String> {
    let section = section(&settings.name, &export.name);
    let export_name = export.name.into_raw();
    let name = tool_settings.name.clone().unwrap_or_else(|| export_name.clone());
    if !is_tool_name(&name) {
        let clash = match name.contains('#') {
            true => " (where functions have the same short name, the later ones go by their paths)",
            false => "",
        };
        let way_on = match settings.set_in {
            SetIn::Configuration => format!("give it one with `{section} name`"),
            SetIn::CommandLine => "a configuration can give it one".to_owned(),
        };
        return Err(format!(
            "a name is 1 to {MAX_NAME_CHARS} of the characters a-z A-Z 0-9 _ -{clash}; {way_on}"
        ));
    }
    if name.starts_with(RESERVED_NAMES) {
        return Err(format!(
            "names that begin with `{RESERVED_NAMES}` are those of the API's own tools; give it another one with `{section} name`"
        ));
    }
    let claimed = tool_settings.description.as_deref().unwrap_or(export.description.raw());
    if claimed.len() > MAX_DESCRIPTION_BYTES {
        return Err(format!("its description has more than {MAX_DESCRIPTION_BYTES} bytes"));
    }
    if claimed
        .chars()
        .any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t'))
    {
        return Err("its description contains control characters".to_owned());
    }
    let schema = InputSchema::parse(&visible_json(&export.input_schema))?;
    Ok(Tool {
        name,
        plugin: settings.name.clone(),
        set_in: settings.set_in,
        description: visible_text(claimed),
        claimed_description: Untrusted::new(claimed),
        annotations: Annotations {
            read_only: tool_settings.read_only.unwrap_or(export.annotations.read_only),
            idempotent: tool_settings.idempotent.unwrap_or(export.annotations.idempotent),
            destructive: tool_settings.destructive.unwrap_or(export.annotations.destructive),
        },
        operator_says_read_only: tool_settings.read_only == Some(true),
        output_schema: export.output_schema.map(|schema| visible_json(&schema).into()),
        errors_count: settings.errors_count,
        fallback: tool_settings.fallback.clone(),
        always_load: tool_settings.always_load,
        breaker: tool_settings
            .breaker
            .clone()
            .unwrap_or_else(|| settings.breaker.clone()),
        schema: Arc::new(schema),
        component: component.clone(),
        export: export_name,
    })
}

/// Whether every model accepts `name` as a tool name.
pub fn is_tool_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// What tells tool names apart: letters and digits, without case. To a model, and to a person, `get_weather` and
/// `Get-Weather` are the same tool.
pub fn name_identity(name: &str) -> String {
    let kept = name.chars().filter(|character| !matches!(character, '_' | '-'));
    kept.map(|character| character.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_letters_and_digits_alone() {
        for other in ["Calculate", "calculate_", "cal-culate", "-CALCULATE"] {
            assert_eq!(name_identity(other), name_identity("calculate"), "{other}");
        }
        for other in ["calculate2", "calculat", "get_weather"] {
            assert_ne!(name_identity(other), name_identity("calculate"), "{other}");
        }
    }
}
