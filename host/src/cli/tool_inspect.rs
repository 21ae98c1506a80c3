//! `cofferdam tool inspect`: shows a component's tools and imports, and what the configuration grants. To list the tools, it
//! runs `list-tools` in the sandbox.

use clap::Args;
use serde_json::{Value, json};

use super::subject::{Subject, same_component};
use super::table::{Column, Table};
use super::{CliError, Context, Output, format, tool, tool_list};
use crate::assembly::{self, HostError};
use crate::config::Config;
use crate::sandbox::{ComponentError, Import, Inspection, Limits, SetIn};
use crate::tools::{ComponentSource, PluginSettings, ToolSet, open_component};
use crate::untrusted;

/// The maximum length of a description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 1_000;

#[derive(Args, Debug)]
pub struct InspectArgs {
    /// A component file, builtin:NAME, or a configured plugin or tool
    #[arg(value_name = "FILE", add = super::completions::components())]
    component: String,
}

pub async fn inspect(cx: &Context, args: InspectArgs) -> Result<u8, CliError> {
    let config = cx.config()?;
    if Subject::is_name(&args.component) {
        cx.note_missing_configuration(&config);
    }
    // The report has the problems that the log would have.
    let _logging = cx.logging(&config, true)?;
    let mut subject = Subject::find(&config, &args.component).await?;
    if !subject.is_configured {
        subject.plugin.grants.limits = Limits::clone(&config.limits);
    }
    let source = &subject.plugin.source;
    let inspection = inspect_source(&config, source).await?;
    let plugins: Vec<&PluginSettings> = match subject.is_named {
        true => vec![&subject.plugin],
        false => config
            .plugins
            .iter()
            .filter(|plugin| uses_component(plugin, source, &inspection.digest))
            .collect(),
    };
    let offers_tools = !inspection.contracts.is_empty() || inspection.command.is_some();
    let offer = match offers_tools && inspection.problem.is_none() {
        true => Some(offer(&config, &subject).await?),
        false => None,
    };
    let name = match subject.is_named {
        true => source.to_string(),
        false => args.component,
    };
    let described_by = subject.is_configured.then_some(subject.plugin.name.as_str());
    match cx.global.output {
        Output::Text => {
            let mut text = text(&name, described_by, &inspection, &plugins);
            if let Some(offer) = &offer {
                text.push_str(&offer_text(offer));
            }
            cx.stdout.write_untrusted(&text);
        }
        Output::Json => cx
            .stdout
            .json_pretty(&json(&name, described_by, &inspection, &plugins, offer.as_ref())),
        Output::StreamJson => cx
            .stdout
            .json_line(&json(&name, described_by, &inspection, &plugins, offer.as_ref())),
    }
    Ok(0)
}

/// Lists the tools, which runs `list-tools` in the sandbox.
async fn offer(config: &Config, subject: &Subject) -> Result<ToolSet, CliError> {
    let config = Config {
        plugins: vec![subject.plugin.clone()],
        ..config.clone()
    };
    tool::load_silently(&config).await
}

fn offer_text(offer: &ToolSet) -> String {
    let mut out = String::new();
    for tool in offer.tools() {
        out.push_str(&format!(
            "\ntool       {}\nclaims     {}\nsays       {}\ninput      {}\n",
            tool.name,
            tool_list::claims(tool),
            format::one_line(tool.claimed_description.raw(), MAX_DESCRIPTION_CHARS),
            untrusted::escape(tool.input_schema(), untrusted::is_hidden),
        ));
        if let Some(schema) = &tool.output_schema {
            let schema = untrusted::escape(schema, untrusted::is_hidden);
            out.push_str(&format!("output     {schema}\n"));
        }
    }
    for warning in offer.warnings() {
        out.push_str(&format!("\nwarning    {}\n", warning.text));
    }
    for problem in offer.problems() {
        out.push_str(&format!("\nleft out   {}\n", problem.problem));
        if let Some(hint) = problem.hint() {
            out.push_str(&format!("hint       {}\n", format::indented(&hint)));
        }
    }
    out
}

async fn inspect_source(config: &Config, source: &ComponentSource) -> Result<Inspection, CliError> {
    let component = |error: ComponentError| CliError::Component {
        name: source.to_string(),
        // It has the limits of the configuration.
        set_in: SetIn::Configuration,
        source: error,
    };
    let bytes = open_component(source, config.limits.component_bytes).map_err(component)?;
    let tls = crate::tls::client_config().map_err(HostError::from)?;
    let sandbox = assembly::open_sandbox(config, None, tls)?;
    sandbox.inspect(bytes, &config.limits).await.map_err(component)
}

/// Whether the configured plugin uses this component: by its pinned digest, else by its source.
fn uses_component(plugin: &PluginSettings, source: &ComponentSource, digest: &str) -> bool {
    match (&plugin.digest, &plugin.source, source) {
        (Some(pinned), _, _) => pinned == digest,
        (None, configured, source) => same_component(configured, source),
    }
}

/// What the plugin is granted for an import; `None` if the import needs no grant.
fn granted(import: &Import, plugin: &PluginSettings) -> Option<Vec<String>> {
    let interface = import.name.raw();
    let grants = &plugin.grants;
    if interface.starts_with("wasi:http/outgoing-handler") {
        Some(grants.http.iter().map(ToString::to_string).collect())
    } else if interface.starts_with("wasi:config/") {
        Some(grants.config.keys().map(|key| format!("key {key}")).collect())
    } else if interface.starts_with("wasi:keyvalue/") {
        let quota = format!("up to {} per tenant", format::bytes(grants.limits.keyvalue_bytes));
        Some(grants.keyvalue.then_some(quota).into_iter().collect())
    } else if interface.starts_with("wasi:cli/environment") {
        // Values of variables and arguments can be private, so they are not shown.
        let variables = grants.environment.keys().map(|name| format!("variable {name}"));
        let arguments = match grants.arguments.len() {
            0 => None,
            1 => Some("1 argument".to_owned()),
            number => Some(format!("{number} arguments")),
        };
        Some(variables.chain(arguments).collect())
    } else if grants.deterministic
        && ["wasi:clocks/", "wasi:random/"]
            .iter()
            .any(|source| interface.starts_with(source))
    {
        Some(vec!["the same in every call".to_owned()])
    } else if interface.starts_with("wasi:filesystem/") {
        Some(grants.files.iter().map(ToString::to_string).collect())
    } else if interface.starts_with("wasi:sockets/") {
        Some(Vec::new())
    } else {
        None
    }
}

/// `plugin` is the configured plugin whose settings the tools are listed with.
fn text(name: &str, plugin: Option<&str>, inspection: &Inspection, plugins: &[&PluginSettings]) -> String {
    let contract = match (inspection.contracts.is_empty(), &inspection.command) {
        (false, _) => inspection.contracts.join(", "),
        (true, Some(run)) => format!("none: it is a program, which exports {}", run.display()),
        (true, None) => "none: it exports neither the tool interface nor functions of its own".to_owned(),
    };
    let exports: Vec<String> = inspection
        .exports
        .iter()
        .map(|name| name.display().to_string())
        .collect();
    let mut out = format!(
        "component  {name}\n{}digest     {}\nsize       {}\ncontract   {}\nexports    {}\n",
        plugin.map_or_else(String::new, |plugin| format!("plugin     {plugin}\n")),
        inspection.digest,
        format::bytes(inspection.size),
        contract,
        exports.join(", ")
    );
    for (name, purpose) in &inspection.toolchain_exports {
        out.push_str(&format!("not a tool {}: {purpose}\n", name.display()));
    }
    out.push('\n');
    if inspection.imports.is_empty() {
        out.push_str("It has no imports.\n");
    } else {
        out.push_str(&import_table(&inspection.imports, plugins).render());
    }
    if let Some(problem) = &inspection.problem {
        out.push_str(&format!("\nThis host can't run it: {}\n", problem.display_sentence()));
    }
    if plugins.is_empty() {
        out.push_str("\nNo plugin of the configuration uses it, so nothing is granted.\n");
    }
    out
}

/// A row per import, with the grants of each plugin.
fn import_table(imports: &[Import], plugins: &[&PluginSettings]) -> Table {
    let mut table = Table::new([Column::Left("import"), Column::Left("meaning"), Column::Left("granted")]);
    for import in imports {
        let grants: Vec<String> = plugins
            .iter()
            .filter_map(|plugin| {
                let granted = granted(import, plugin)?;
                let granted = if granted.is_empty() {
                    "nothing".to_owned()
                } else {
                    granted.join(", ")
                };
                Some(format!("{}: {granted}", plugin.name))
            })
            .collect();
        table.row([
            import.name.display().to_string(),
            import.meaning.to_owned(),
            grants.join("; "),
        ]);
    }
    table
}

fn json(
    name: &str,
    plugin: Option<&str>,
    inspection: &Inspection,
    plugins: &[&PluginSettings],
    offer: Option<&ToolSet>,
) -> Value {
    let tools: Vec<Value> = offer
        .iter()
        .flat_map(|offer| offer.tools().map(tool_list::json))
        .collect();
    let problems = offer.iter().flat_map(|offer| offer.problems());
    let left_out: Vec<Value> = problems
        .map(|problem| {
            json!({
                "tool": problem.tool(),
                "reason": problem.problem.to_string(),
                "hint": problem.hint(),
            })
        })
        .collect();
    let imports: Vec<Value> = inspection
        .imports
        .iter()
        .map(|import| {
            let grants: serde_json::Map<String, Value> = plugins
                .iter()
                .filter_map(|plugin| Some((plugin.name.clone(), json!(granted(import, plugin)?))))
                .collect();
            json!({ "name": import.name, "meaning": import.meaning, "granted": grants })
        })
        .collect();
    json!({
        "component": name,
        "plugin": plugin,
        "digest": inspection.digest,
        "size_bytes": inspection.size,
        "contract": (!inspection.contracts.is_empty()).then(|| inspection.contracts.join(", ")),
        "command": inspection.command,
        "exports": inspection.exports,
        "toolchain_exports": inspection.toolchain_exports.iter().map(|(name, purpose)| json!({ "export": name, "reason": purpose })).collect::<Vec<_>>(),
        "imports": imports,
        "problem": inspection.problem,
        "tools": tools,
        "left_out": left_out,
        "warnings": offer.iter().flat_map(|offer| offer.warnings()).map(|warning| &warning.text).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sandbox::{Grants, HttpGrant};

    fn weather() -> PluginSettings {
        PluginSettings {
            grants: Grants {
                http: vec![HttpGrant::parse("https://api.open-meteo.com/", &["GET"]).unwrap()],
                config: [("forecast_url".to_owned(), "https://api.open-meteo.com".to_owned())].into(),
                ..Grants::default()
            },
            ..PluginSettings::new("weather", ComponentSource::Builtin("weather".to_owned()))
        }
    }

    fn import(name: &str) -> Import {
        Import {
            name: name.into(),
            meaning: "meaning",
        }
    }

    #[test]
    fn imports_are_listed_with_their_grants() {
        let imports = [
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:config/store@0.2.0-rc.1",
            "wasi:io/streams@0.2.0",
        ];
        let imports: Vec<Import> = imports.into_iter().map(import).collect();
        insta::assert_snapshot!(import_table(&imports, &[&weather()]).render(), @"
        import                            meaning  granted
        wasi:http/outgoing-handler@0.2.0  meaning  weather: GET https://api.open-meteo.com/
        wasi:config/store@0.2.0-rc.1      meaning  weather: key forecast_url
        wasi:io/streams@0.2.0             meaning
        ");
    }

    #[test]
    fn ungranted_imports_are_shown_as_empty() {
        let bare = PluginSettings {
            grants: Grants::default(),
            ..weather()
        };
        assert_eq!(
            granted(&import("wasi:http/outgoing-handler@0.2.0"), &bare),
            Some(Vec::new())
        );
        assert_eq!(granted(&import("wasi:sockets/tcp@0.2.0"), &weather()), Some(Vec::new()));
        assert_eq!(granted(&import("wasi:clocks/wall-clock@0.2.0"), &weather()), None);
    }

    #[test]
    fn a_pinned_digest_identifies_the_plugin() {
        let builtin = ComponentSource::Builtin("weather".to_owned());
        assert!(uses_component(&weather(), &builtin, "sha256:aa"));
        let pinned = PluginSettings {
            digest: Some("sha256:bb".to_owned()),
            ..weather()
        };
        assert!(!uses_component(&pinned, &builtin, "sha256:aa"));
        assert!(uses_component(
            &pinned,
            &ComponentSource::Path("elsewhere.wasm".into()),
            "sha256:bb"
        ));
    }
}
