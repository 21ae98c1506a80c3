//! What the command line of `run` and `chat` sets, over the configuration.

use clap::Args;

use super::commands::Commands;
use super::grants::{GrantArgs, in_message};
use super::{CliError, Context};
use crate::config::{Arguments, Config, LoadOptions, Origin};
use crate::events::ErrorInfo;

/// The options that set a key of the configuration, with the key.
const OPTIONS: &[(&str, [&str; 2])] = &[
    ("--model", ["model", "model"]),
    ("--effort", ["model", "effort"]),
    ("--system", ["agent", "system"]),
    ("--max-iterations", ["agent", "max_iterations"]),
    ("--budget", ["budget", "session_usd"]),
    ("--approve", ["agent", "approve"]),
    ("--tenant", ["agent", "tenant"]),
];

/// What settings are called in hints: each by its option, its variable or its key, as it was set. One that has its default can be set by
/// option and key.
#[derive(Clone, Debug)]
pub struct SettingNames {
    names: Vec<(String, String)>,
    /// What commands in hints need.
    commands: Commands,
}

impl SettingNames {
    pub fn new(config: &Config, commands: Commands) -> Self {
        let is_replaced = config.origins.is_first_a_fallback();
        let set = config.origins.set().filter_map(|(path, origin)| {
            let (key, tables) = path.split_last()?;
            let name = match origin {
                Origin::Argument { name } => name,
                // It is about the model that a fallback has replaced.
                Origin::Env { .. } if is_replaced && tables == ["model"] => return None,
                Origin::Env { name } => name,
                _ => return None,
            };
            Some((format!("`[{}] {key}", tables.join(".")), name))
        });
        // Alone, and with the value that it should have.
        let set = set.flat_map(|(setting, name)| {
            [("`", "`"), (" = ", "=")].map(|(after, then)| (format!("{setting}{after}"), format!("`{name}{then}")))
        });
        let by_default = OPTIONS.iter().filter_map(|(option, key @ [section, name])| {
            let setting = format!("`[{section}] {name}`");
            let named = format!("{setting} (or `{option}`)");
            config.origins.of_key(key).is_none().then_some((setting, named))
        });
        let key = match &config.model.api_key_env {
            Some(variable) => (
                "the variable that `[model] api_key_env` names",
                format!("the variable `{variable}`"),
            ),
            None => (
                "check the API key in the variable that `[model] api_key_env` names",
                "requests have no key; name the variable that holds one in `[model] api_key_env`".to_owned(),
            ),
        };
        let table = ("`[model] ".to_owned(), "`[[fallback_models]] ".to_owned());
        let table = is_replaced.then_some(table);
        Self {
            // First what has the name of a setting in it.
            names: [(key.0.to_owned(), key.1)]
                .into_iter()
                .chain(set)
                .chain(by_default)
                .chain(table)
                .collect(),
            commands,
        }
    }

    /// The same for another configuration.
    pub fn for_config(&self, config: &Config) -> Self {
        Self::new(config, self.commands.clone())
    }

    /// Renames settings in the error's hint, and completes its commands.
    pub fn apply(&self, error: &mut ErrorInfo) {
        if let Some(hint) = &mut error.hint {
            for (setting, named) in &self.names {
                *hint = hint.replace(setting, named);
            }
            // What is to be changed isn't repeated as it was.
            let named = OPTIONS.iter().map(|(option, _)| *option);
            let named = named.filter(|option| hint.contains(&format!("`{option}`")));
            self.commands.leave_open(named.collect());
            *hint = self.commands.complete(hint).into_owned();
        }
    }
}

#[derive(Args, Clone, Debug, Default)]
pub struct SessionArgs {
    /// The model, by its id
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// How thoroughly the model works: low, medium, high, xhigh or max
    #[arg(long, value_name = "LEVEL")]
    effort: Option<String>,
    /// The system prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The most model calls in one run
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    max_iterations: Option<String>,
    /// The most that the session can cost, in US dollars, or `unlimited`
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    budget: Option<String>,
    /// The calls that a person must approve: never, destructive, writes or always
    #[arg(long, value_name = "WHICH")]
    approve: Option<String>,
    /// The tenant whose session it is, and whose budget pays for it
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Use this component (also builtin:NAME) beside the configured plugins, or in place of the one with its name; may be
    /// repeated
    #[arg(long, value_name = "FILE")]
    plugin: Vec<String>,
    /// Keep nothing of the session
    #[arg(long)]
    ephemeral: bool,
    #[command(flatten)]
    grants: GrantArgs,
}

impl SessionArgs {
    pub const fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    /// The options without which another command asks another model, spends more, has other tools, or has other calls approved, as a
    /// shell reads them.
    pub fn repeated(&self) -> Vec<String> {
        let set = OPTIONS.iter().zip(self.values());
        let set = set.filter_map(|((option, _), value)| Some((*option, value.as_ref()?)));
        let options = set.map(|(option, value)| format!("{option} {}", in_message(value)));
        let tools = Some(self.grants.in_shell(&self.plugin)).filter(|tools| !tools.is_empty());
        options.chain(tools).collect()
    }

    /// Of each of [`OPTIONS`].
    const fn values(&self) -> [&Option<String>; OPTIONS.len()] {
        [
            &self.model,
            &self.effort,
            &self.system,
            &self.max_iterations,
            &self.budget,
            &self.approve,
            &self.tenant,
        ]
    }

    /// The configuration with these settings.
    ///
    /// # Errors
    /// The configuration or an argument is invalid.
    pub fn config(&self, cx: &Context) -> Result<Config, CliError> {
        let mut arguments = Arguments::default();
        for ((option, key), value) in OPTIONS.iter().zip(self.values()) {
            if let Some(value) = value {
                arguments.set(option, key, value);
            }
        }
        if self.ephemeral {
            arguments.set("--ephemeral", &["sessions", "keep"], "false");
        }
        // A component that is named here is wanted: without it, the run isn't what was asked for.
        self.grants.apply(&self.plugin, true, &mut arguments)?;
        let mut config = cx.config_with(arguments)?;
        if let Some(model) = &self.model {
            // As it is configured without this option, which has replaced the first one's id.
            let configured = Config::load_from(&LoadOptions::from_process(cx.global.config.as_deref()))?;
            if configured.fallback(model).is_some() {
                let effort = config.model.effort;
                configured.model.model.clone_into(&mut config.model.model);
                config.model.effort = configured.model.effort;
                config.choose_model(model);
                if self.effort.is_some() {
                    config.model.effort = effort;
                }
            }
        }
        if self.budget.is_some() {
            // For this command alone, so `budget set` doesn't disarm it.
            config.budget.session_cap = config.budget.session;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hint_about_a_chosen_fallback_names_its_table() {
        let folder = tempfile::tempdir().unwrap();
        let file =
            "[model]\nmodel = \"first\"\n[[fallback_models]]\nmodel = \"a\"\n[[fallback_models]]\nmodel = \"b\"\n";
        std::fs::write(folder.path().join("cofferdam.toml"), file).unwrap();
        let mut config = Config::load_from(&LoadOptions {
            cwd: folder.path().to_owned(),
            env: [("COFFERDAM_MODEL__MAX_TOKENS".to_owned(), "64".to_owned())].into(),
            ..LoadOptions::default()
        })
        .unwrap();
        for (model, table) in [
            ("b", "[[fallback_models]]"),
            ("a", "[[fallback_models]]"),
            ("first", "[model]"),
            ("another", "[model]"),
        ] {
            config.choose_model(model);
            assert_eq!(config.model.model, model);
            let mut error = ErrorInfo {
                kind: String::new(),
                message: String::new(),
                hint: Some("check `[model] base_url`".to_owned()),
                request_id: None,
            };
            SettingNames::new(&config, Commands::default()).apply(&mut error);
            assert_eq!(error.hint.unwrap(), format!("check `{table} base_url`"), "{model}");
            let raise = match table {
                "[model]" => "raise `COFFERDAM_MODEL__MAX_TOKENS`".to_owned(),
                _ => format!("raise `{table} max_tokens`"),
            };
            let names = SettingNames::new(&config, Commands::default());
            assert_eq!(applied(&names, "raise `[model] max_tokens`"), raise, "{model}");
        }
    }

    fn applied(names: &SettingNames, hint: &str) -> String {
        let mut error = ErrorInfo {
            kind: String::new(),
            message: String::new(),
            hint: Some(hint.to_owned()),
            request_id: None,
        };
        names.apply(&mut error);
        error.hint.unwrap()
    }

    #[test]
    fn a_hint_names_a_setting_as_it_was_set() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cofferdam.toml"), "[agent]\nmax_iterations = 3\n").unwrap();
        let mut arguments = Arguments::default();
        arguments.set("--budget", &["budget", "session_usd"], "2");
        let options = LoadOptions {
            cwd: folder.path().to_owned(),
            env: [
                ("MODEL__MODEL", "m"),
                ("MODEL__MAX_TOKENS", "64"),
                ("AGENT__DEADLINE", "5s"),
            ]
            .map(|(key, value)| (format!("COFFERDAM_{key}"), value.to_owned()))
            .into(),
            ..LoadOptions::default()
        };
        let config = Config::load_from(&options.with_arguments(arguments)).unwrap();
        let names = SettingNames::new(&config, Commands::default());
        for (hint, named) in [
            ("raise `[budget] session_usd`", "raise `--budget`"),
            ("raise `[agent] max_iterations`", "raise `[agent] max_iterations`"),
            (
                "check `[model] model` and `[model] base_url`",
                "check `COFFERDAM_MODEL__MODEL` and `[model] base_url`",
            ),
            ("raise `[model] max_tokens`", "raise `COFFERDAM_MODEL__MAX_TOKENS`"),
            (
                "set `[model] max_tokens = 128`",
                "set `COFFERDAM_MODEL__MAX_TOKENS=128`",
            ),
            (
                "raise `[agent] deadline` or `[agent] max_tool_calls`",
                "raise `COFFERDAM_AGENT__DEADLINE` or `[agent] max_tool_calls`",
            ),
            ("change `[agent] system`", "change `[agent] system` (or `--system`)"),
            (
                "check the API key in the variable that `[model] api_key_env` names",
                "check the API key in the variable `ANTHROPIC_API_KEY`",
            ),
        ] {
            assert_eq!(applied(&names, hint), named);
        }
    }
}
