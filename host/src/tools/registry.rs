//! Loads plugins: checks the names of their tools, compiles the schemas and refuses duplicates.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::builtin::builtin;
use super::schema::InputSchema;
use super::settings::{ComponentSource, PluginSettings, ToolSettings};
use crate::sandbox::{Annotations, ComponentError, Plugin, Sandbox, ToolInfo, read_file};
use crate::untrusted::{NAME_CHARS, display_untrusted, display_untrusted_list};

/// Tools per plugin and bytes per description. The host sets these bounds, not the contract.
const MAX_TOOLS: usize = 256;
const MAX_DESCRIPTION_BYTES: usize = 8 * 1024;
const MAX_NAME_CHARS: usize = 64;
/// Regular expressions in the schemas of one plugin. Each stays compiled for as long as the host runs.
const MAX_PATTERNS: usize = 256;
/// Bytes of names, descriptions and schemas per plugin. Every request to the model carries and pays for them.
const MAX_DEFINITION_BYTES: usize = 64 * 1024;
/// The same for all plugins together: half of what a large model accepts.
const MAX_HOST_DEFINITION_BYTES: usize = 512 * 1024;

/// One tool, ready to be called.
#[derive(Debug)]
pub struct Tool {
    /// What the model calls it.
    pub name: String,
    /// What the component calls it.
    pub export: String,
    /// The plugin's name in the configuration.
    pub plugin: String,
    pub description: String,
    pub annotations: Annotations,
    pub fallback: Option<String>,
    pub breaker: crate::resilience::BreakerSettings,
    pub(super) schema: Arc<InputSchema>,
    pub(super) component: Plugin,
}

impl Tool {
    pub fn input_schema(&self) -> &serde_json::Value {
        &self.schema.document
    }

    /// The digest of the component that serves it.
    pub fn digest(&self) -> String {
        self.component.digest().to_string()
    }

    pub fn limits(&self) -> &crate::sandbox::Limits {
        self.component.limits()
    }

    /// Bytes that the tool adds to every request to the model.
    fn definition_bytes(&self) -> usize {
        self.name.len() + self.description.len() + self.schema.document.to_string().len()
    }

    /// Whether a failed call may be retried: the tool declares itself idempotent or read-only.
    pub(super) fn may_retry(&self) -> bool {
        self.annotations.idempotent || self.annotations.read_only
    }
}

/// What is wrong with one plugin.
#[derive(Clone, Debug, thiserror::Error)]
#[error("plugin `{plugin}`: {error}")]
pub struct PluginError {
    pub plugin: String,
    pub error: PluginProblem,
    /// Whether the host starts without the plugin.
    pub fatal: bool,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum PluginProblem {
    #[error(transparent)]
    Component(#[from] ComponentError),
    #[error("[plugins.{plugin}.tools.{tool}] names a tool that the component doesn't have; it has {known}")]
    NoSuchTool {
        plugin: String,
        tool: String,
        known: String,
    },
    #[error("plugin `{other}` also has a tool `{tool}`, and a model couldn't tell them apart")]
    Duplicate { tool: String, other: String },
    #[error(
        "its {0} bytes of names, descriptions and schemas would bring all tools together to more than {max}, which every \
         request to the model would carry", max = MAX_HOST_DEFINITION_BYTES
    )]
    DefinitionsTooLarge(usize),
}

impl PluginError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &self.error {
            PluginProblem::Component(error) => error.hint(),
            PluginProblem::NoSuchTool { .. } => Some("correct the name, or remove the section".to_owned()),
            PluginProblem::Duplicate { tool, .. } => Some(format!(
                "rename one of them: [plugins.{}.tools.{tool}] name = \"…\"; or pin the intended one with `digest`",
                self.plugin
            )),
            PluginProblem::DefinitionsTooLarge(_) => Some("remove plugins that this agent doesn't need".to_owned()),
        }
    }
}

/// Loads up to `host_concurrency` plugins at once. Returns the tools in a fixed order, and the plugins that failed to load.
pub(super) async fn load(
    sandbox: &Sandbox,
    plugins: &[PluginSettings],
    host_concurrency: u32,
) -> (Vec<Tool>, Vec<PluginError>) {
    let loading = plugins.iter().map(|settings| load_plugin(sandbox, settings));
    let loading = stream::iter(loading.collect::<Vec<_>>()).buffered(host_concurrency.max(1) as usize);
    let loaded: Vec<_> = loading.collect().await;
    let mut tools: Vec<Tool> = Vec::new();
    let mut problems = Vec::new();
    let mut losers = name_conflicts(plugins, &loaded);
    let mut bytes = 0;
    for (position, (settings, loaded)) in plugins.iter().zip(loaded).enumerate() {
        let fits = loaded.and_then(|loaded| {
            if let Some(lost) = losers.remove(&position) {
                return Err(lost);
            }
            let own_bytes: usize = loaded.iter().map(Tool::definition_bytes).sum();
            if bytes + own_bytes > MAX_HOST_DEFINITION_BYTES {
                return Err(PluginProblem::DefinitionsTooLarge(own_bytes));
            }
            bytes += own_bytes;
            Ok(loaded)
        });
        match fits {
            Ok(loaded) => tools.extend(loaded),
            Err(error) => problems.push(PluginError {
                plugin: settings.name.clone(),
                fatal: settings.required || is_fatal(&error, settings),
                error,
            }),
        }
    }
    (tools, problems)
}

/// How strong a plugin's claim to a tool name is. The operator chose a pinned component, and a tool named in the
/// configuration. Any other component may list different names tomorrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Exported,
    Configured,
    Pinned,
}

/// The plugins that lose a tool name to another, by position, so that two plugins of the same name conflict as well. If
/// the strongest claim isn't unique, all of them lose: calls meant for one plugin must not reach another.
fn name_conflicts(
    plugins: &[PluginSettings],
    loaded: &[Result<Vec<Tool>, PluginProblem>],
) -> BTreeMap<usize, PluginProblem> {
    let mut claims: BTreeMap<&str, Vec<(Claim, usize)>> = BTreeMap::new();
    for (position, (settings, tools)) in plugins.iter().zip(loaded).enumerate() {
        for tool in tools.iter().flatten() {
            let claim = match (&settings.digest, settings.tools.contains_key(&tool.export)) {
                (Some(_), _) => Claim::Pinned,
                (None, true) => Claim::Configured,
                (None, false) => Claim::Exported,
            };
            claims.entry(&tool.name).or_default().push((claim, position));
        }
    }
    let mut losers = BTreeMap::new();
    for (tool, claimants) in claims {
        let Some(best) = claimants.iter().map(|(claim, _)| *claim).max() else {
            continue;
        };
        let is_decided = claimants.iter().filter(|(claim, _)| *claim == best).count() == 1;
        for (claim, plugin) in &claimants {
            let other = claimants.iter().find(|(_, other)| other != plugin);
            if let Some((_, other)) = other
                && !(is_decided && *claim == best)
            {
                losers.entry(*plugin).or_insert(PluginProblem::Duplicate {
                    tool: tool.to_owned(),
                    other: plugins[*other].name.clone(),
                });
            }
        }
    }
    losers
}

/// Whether the host refuses to start although the plugin isn't required. A digest mismatch is always fatal. The tools of a
/// pinned component are known, so a mismatch with the configuration is the operator's mistake. Any other component may
/// have changed since the configuration was written, so only its plugin is left out.
fn is_fatal(error: &PluginProblem, settings: &PluginSettings) -> bool {
    match error {
        PluginProblem::Component(error) => matches!(error, ComponentError::DigestMismatch { .. }),
        PluginProblem::NoSuchTool { .. } | PluginProblem::Duplicate { .. } => settings.digest.is_some(),
        PluginProblem::DefinitionsTooLarge(_) => false,
    }
}

/// Reads the component that `source` names.
pub fn read_component(source: &ComponentSource, limit: u64) -> Result<std::borrow::Cow<'static, [u8]>, ComponentError> {
    match source {
        ComponentSource::Builtin(name) => builtin(name)
            .map(Into::into)
            .ok_or_else(|| ComponentError::UnknownBuiltin(name.clone())),
        ComponentSource::Path(path) => read_file(path, limit).map(Into::into),
    }
}

async fn load_plugin(sandbox: &Sandbox, settings: &PluginSettings) -> Result<Vec<Tool>, PluginProblem> {
    let source = settings.source.clone();
    let limit = settings.grants.limits.component_bytes;
    let bytes = tokio::task::spawn_blocking(move || read_component(&source, limit))
        .await
        .map_err(|error| ComponentError::Host(error.to_string()))??;
    if let Some(expected) = &settings.digest {
        let found = crate::sandbox::Digest::of(&bytes);
        if !found.to_string().eq_ignore_ascii_case(expected) {
            return Err(ComponentError::DigestMismatch {
                expected: expected.clone(),
                found,
            }
            .into());
        }
    }
    for warning in settings.warnings() {
        tracing::warn!(plugin = settings.name, "{warning}");
    }
    let component = sandbox.load(&settings.name, &bytes, &settings.grants).await?;
    let exports = component.list_tools().await?;
    if exports.len() > MAX_TOOLS {
        let found = exports.len();
        return Err(ComponentError::ListTools(format!("it lists {found} tools, more than {MAX_TOOLS}")).into());
    }
    if let Some(tool) = settings
        .tools
        .keys()
        .find(|tool| !exports.iter().any(|export| &&export.name == tool))
    {
        let known = exports.iter().map(|export| export.name.as_str());
        return Err(PluginProblem::NoSuchTool {
            plugin: settings.name.clone(),
            tool: tool.clone(),
            known: display_untrusted_list(known),
        });
    }
    // Compiling untrusted schemas can take long enough to stall an async worker.
    let settings = settings.clone();
    let tools = tokio::task::spawn_blocking(move || make_tools(exports, &settings, &component));
    let tools = tools.await.map_err(|error| ComponentError::Host(error.to_string()))?;
    Ok(tools?)
}

fn make_tools(
    exports: Vec<ToolInfo>,
    settings: &PluginSettings,
    component: &Plugin,
) -> Result<Vec<Tool>, ComponentError> {
    let default = ToolSettings::default();
    let mut tools = Vec::with_capacity(exports.len());
    let (mut patterns, mut bytes) = (0, 0);
    for export in exports {
        let tool_settings = settings.tools.get(&export.name).unwrap_or(&default);
        let tool = make_tool(export, settings, tool_settings, component)?;
        // Counted as sent: serialised, a number of four bytes can become eighteen.
        bytes += tool.definition_bytes();
        patterns += tool.schema.patterns();
        if patterns > MAX_PATTERNS {
            let reason =
                format!("the input schemas up to and including its own have more than {MAX_PATTERNS} patterns");
            return Err(bad_tool(&tool.export, reason));
        }
        if bytes > MAX_DEFINITION_BYTES {
            let reason = format!(
                "names, descriptions and schemas up to and including its own have more than {MAX_DEFINITION_BYTES} bytes, which \
                 every request to the model would carry"
            );
            return Err(bad_tool(&tool.export, reason));
        }
        if tools.iter().any(|other: &Tool| other.name == tool.name) {
            return Err(bad_tool(
                &tool.export,
                format!("two of its tools are called `{}`", tool.name),
            ));
        }
        tools.push(tool);
    }
    Ok(tools)
}

fn make_tool(
    export: ToolInfo,
    settings: &PluginSettings,
    tool_settings: &ToolSettings,
    component: &Plugin,
) -> Result<Tool, ComponentError> {
    let bad = |reason: String| bad_tool(&export.name, reason);
    let name = tool_settings.name.clone().unwrap_or_else(|| export.name.clone());
    if !is_tool_name(&name) {
        return Err(bad(format!(
            "a name is 1 to {MAX_NAME_CHARS} of the characters a-z A-Z 0-9 _ -"
        )));
    }
    if export.description.len() > MAX_DESCRIPTION_BYTES {
        return Err(bad(format!(
            "its description has more than {MAX_DESCRIPTION_BYTES} bytes"
        )));
    }
    if export
        .description
        .chars()
        .any(|character| character.is_control() && !matches!(character, '\n' | '\t'))
    {
        return Err(bad("its description contains control characters".to_owned()));
    }
    let schema = InputSchema::parse(&export.input_schema).map_err(bad)?;
    Ok(Tool {
        name,
        plugin: settings.name.clone(),
        description: export.description,
        annotations: export.annotations,
        fallback: tool_settings.fallback.clone(),
        breaker: tool_settings
            .breaker
            .clone()
            .unwrap_or_else(|| settings.breaker.clone()),
        schema: Arc::new(schema),
        component: component.clone(),
        export: export.name,
    })
}

fn bad_tool(name: &str, reason: String) -> ComponentError {
    ComponentError::BadTool {
        tool: display_untrusted(name, NAME_CHARS),
        reason,
    }
}

/// Whether every model accepts `name` as a tool name.
pub fn is_tool_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
