//! Converts keys to settings, with the checks that no schema can make because they need a file, a folder or a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::check::{self, Finding};
use super::command;
use super::format::{base_url, check_name, proxy};
use super::limits::RawCallLimits;
use super::origins::Origins;
use super::overlay::Overlay;
use super::problem::{Origin, Problem, ValueProblem};
use super::raw::*;
use super::redact::quote;
use super::size::KIB;
use super::source::Node;
use super::{Config, InheritedLimits, SecretSource, SessionSettings, StorageSettings};
use crate::ledger::BudgetSettings;
use crate::model::{AuthHeader, Effort, ModelSettings, ProviderKind, Thinking};
use crate::resilience::BreakerSettings;
use crate::sandbox::{AttachedHeader, EngineSettings, FolderGrant, Grants, HttpGrant, Secrets, SetIn};
use crate::secret::Secret;
use crate::telemetry::LoggingSettings;
use crate::tools::{ComponentSource, PluginSettings, ToolSettings};

/// The host whose key `ANTHROPIC_API_KEY` holds.
const VENDOR: &str = "api.anthropic.com";

/// Where the keys of a model are set.
struct ModelKeys {
    path: Vec<String>,
    /// Whether those that are missing are those of `[model]`.
    inherits: bool,
}

impl ModelKeys {
    /// `[model]` itself.
    fn of_first() -> Self {
        Self {
            path: vec!["model".to_owned()],
            inherits: false,
        }
    }

    fn key(&self, key: &str) -> Vec<String> {
        self.path.iter().cloned().chain([key.to_owned()]).collect()
    }
}

/// The context for converting a configuration.
pub(super) struct Resolver<'a> {
    pub(super) root: &'a Node,
    /// The base of relative paths in the file.
    pub(super) folder: &'a Path,
    /// The base of relative paths in variables and arguments.
    pub(super) cwd: &'a Path,
    pub(super) variables: &'a BTreeMap<String, String>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Resolver<'_> {
    /// The settings. They are only meaningful if no problem was reported.
    pub(super) fn config(&mut self, raw: RawConfig) -> Config {
        let (sources, secrets) = self.secrets(raw.secrets);
        let plugins = self.plugins(raw.plugins, &raw.limits.call, &secrets);
        let config = Config {
            fallback_models: self.fallback_models(&raw.fallback_models, &raw.model),
            model: self.model(raw.model, &ModelKeys::of_first()),
            agent: raw.agent.into(),
            retry: raw.retry.into(),
            breaker: raw.breaker.into(),
            budget: BudgetSettings {
                session: raw.budget.session_usd.0,
                daily: raw.budget.host_day_usd.0,
                session_cap: None,
                tenants: raw
                    .tenants
                    .into_iter()
                    .map(|(name, tenant)| (name, tenant.budget.into()))
                    .collect(),
                prices: self.file(&["budget", "prices"], &raw.budget.prices),
            },
            engine: EngineSettings {
                stack: raw.limits.stack.0,
                host_concurrency: raw.limits.host_concurrency,
                host_memory: raw.limits.host_memory.map(|size| size.0),
                cache_bytes: raw.storage.cache_bytes.0,
                ..EngineSettings::default()
            },
            queue_timeout: raw.limits.queue_timeout.0,
            limits: InheritedLimits(raw.limits.call.0),
            logging: LoggingSettings {
                console: raw.logging.console.into(),
                file: raw.logging.file.into(),
                directory: self.directory(&["logging", "directory"], &raw.logging.directory),
                contents: raw.logging.contents,
            },
            alerts: raw.alerts.into(),
            sessions: SessionSettings {
                keep: raw.sessions.keep,
                retention_days: raw.sessions.retention.0,
                max_bytes: raw.sessions.max_bytes.0,
            },
            storage: StorageSettings {
                path: self.directory(&["storage", "path"], &raw.storage.path),
                durability: raw.storage.durability.into(),
            },
            missing_secrets: secrets
                .iter()
                .filter_map(|(name, secret)| Some((name.clone(), secret.as_ref().err()?.clone())))
                .collect(),
            secrets: sources,
            plugins,
            origins: Origins::of(self.root),
        };
        self.check(&config);
        config
    }

    /// Runs the checks for settings from any source. Only keys that are set are reported: defaults are valid, and an
    /// inherited value is reported where it was set. In place of a value that is reported already stands the default, which
    /// nobody wrote.
    fn check(&mut self, config: &Config) {
        let reported: BTreeSet<String> = self.problems.iter().map(|problem| problem.key.clone()).collect();
        for Finding { path, other, problem } in check::findings(config) {
            let paths = || [Some(&path), other.as_ref()].into_iter().flatten();
            let is_set = |path: &&Vec<String>| self.root.find(path).is_some();
            if paths().any(|path| reported.contains(&self.root.key_of(path))) {
                continue;
            }
            if let Some(path) = paths().find(is_set) {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                self.report(&path, problem);
            }
        }
    }

    fn fallback_models(&mut self, fallbacks: &[Overlay<RawModel>], first: &RawModel) -> Vec<ModelSettings> {
        let mut settings = Vec::new();
        for (index, raw) in fallbacks.iter().enumerate() {
            let Some(merged) = self.merged(raw.over(first)) else {
                continue;
            };
            let has_other_provider = merged.provider != first.provider;
            let has_other_url = base_url(&merged.base_url).ok() != base_url(&first.base_url).ok();
            let is_elsewhere = has_other_provider || has_other_url;
            // What says how to talk to one server is wrong for another, and its key a secret.
            let base = match is_elsewhere {
                false => RawModel {
                    effort: None,
                    thinking: None,
                    thinking_budget: None,
                    ..first.clone()
                },
                true => RawModel {
                    provider: first.provider,
                    model: first.model.clone(),
                    proxy: first.proxy.clone(),
                    max_tokens: first.max_tokens,
                    stream: first.stream,
                    prompt_cache_ttl: first.prompt_cache_ttl,
                    connect_timeout: first.connect_timeout,
                    idle_timeout: first.idle_timeout,
                    attempt_timeout: first.attempt_timeout,
                    ..RawModel::default()
                },
            };
            let Some(raw) = self.merged(raw.over(&base)) else {
                continue;
            };
            let keys = ModelKeys {
                path: vec!["fallback_models".to_owned(), index.to_string()],
                inherits: !is_elsewhere,
            };
            let is_vendor = base_url(&raw.base_url).is_ok_and(|url| url.host_str() == Some(VENDOR));
            if is_elsewhere
                && raw.provider == RawProvider::Anthropic
                && !is_vendor
                && !self.is_set(&keys, "api_key_env")
            {
                let problem = ValueProblem::new("another server needs its own api_key_env")
                    .hint("name the variable that holds this server's key; that of [model] isn't sent to it unasked");
                let key = if has_other_url { "base_url" } else { "provider" };
                self.report(&["fallback_models", &index.to_string(), key], problem);
            }
            settings.push(self.model(raw, &keys));
        }
        settings
    }

    fn model(&mut self, raw: RawModel, keys: &ModelKeys) -> ModelSettings {
        let provider = ProviderKind::from(raw.provider);
        // An invalid URL is already reported.
        let base_url = base_url(&raw.base_url).ok();
        let api_key_env = self.api_key_env(&raw, keys);
        let api_key = match provider {
            ProviderKind::Anthropic | ProviderKind::OpenAi => {
                api_key_env.as_ref().and_then(|name| self.variables.get(name))
            }
            ProviderKind::Simulated => None,
        };
        self.check_base_url(provider, keys);
        // Servers of the Chat Completions API read no other header, so it's used only where somebody asks for it.
        let auth = match provider {
            ProviderKind::OpenAi if !self.is_set(keys, "auth") => AuthHeader::Bearer,
            _ => raw.auth.into(),
        };
        let api_key = api_key.map(|key| Secret::trimmed(key)).filter(|key| !key.is_empty());
        ModelSettings {
            provider,
            model: raw.model,
            api_key,
            api_key_env,
            base_url: base_url.unwrap_or(ModelSettings::default().base_url),
            api_version: raw.api_version.into(),
            auth,
            proxy: proxy(&raw.proxy).unwrap_or_default(),
            max_tokens: raw.max_tokens,
            max_tokens_field: raw.max_tokens_field.into(),
            stream: raw.stream,
            follow_rate_limits: raw.follow_rate_limits,
            prompt_cache: raw.prompt_cache,
            prompt_cache_ttl: raw.prompt_cache_ttl.into(),
            tool_search: raw.tool_search.into(),
            tool_changes: raw.tool_changes.into(),
            connect_timeout: raw.connect_timeout.0,
            idle_timeout: raw.idle_timeout.0,
            attempt_timeout: raw.attempt_timeout.0,
            temperature: raw.temperature,
            effort: raw.effort.map(Effort::from),
            thinking: self.thinking(raw.thinking, raw.thinking_budget, keys),
        }
    }

    /// Thinking is either of a kind or on a budget.
    fn thinking(&mut self, thinking: Option<RawThinking>, budget: Option<u32>, keys: &ModelKeys) -> Option<Thinking> {
        if thinking.is_some() && budget.is_some() {
            let path = keys.key("thinking_budget");
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let problem = ValueProblem::new("doesn't go with `thinking`");
            self.report(&path, problem.hint("keep the one that the model takes"));
        }
        let budget = budget.map(|budget_tokens| Thinking::Budget { budget_tokens });
        budget.or(thinking.map(Thinking::from))
    }

    /// Whether somebody has set this key of a model.
    fn is_set(&self, keys: &ModelKeys, key: &str) -> bool {
        let is_own = self.root.find(&keys.key(key)).is_some();
        is_own || (keys.inherits && self.root.find(&ModelKeys::of_first().key(key)).is_some())
    }

    /// The default variable holds the key of another vendor, which no server but the vendor's own may get, even if a file that was
    /// written for the vendor's own API still names it.
    fn api_key_env(&self, raw: &RawModel, keys: &ModelKeys) -> Option<String> {
        let is_set = self.is_set(keys, "api_key_env");
        let is_vendor = base_url(&raw.base_url).is_ok_and(|url| url.host_str() == Some(VENDOR));
        let is_meant = |name: &String| {
            raw.provider != RawProvider::OpenAi || (is_set && (is_vendor || name != "ANTHROPIC_API_KEY"))
        };
        raw.api_key_env.clone().filter(is_meant)
    }

    /// The default base URL only fits the Messages API. A base URL that is set is checked with all settings.
    fn check_base_url(&mut self, provider: ProviderKind, keys: &ModelKeys) {
        let problem = match provider {
            ProviderKind::Anthropic => return,
            ProviderKind::OpenAi => ValueProblem::new("\"openai\" needs the server's address in base_url").hint(
                "for example \"http://127.0.0.1:11434/v1\" for Ollama, or \"https://api.openai.com/v1\"; see host/docs/models.md",
            ),
            ProviderKind::Simulated => ValueProblem::new("\"simulated\" needs the simulator's address in base_url")
                .hint(check::SIMULATOR_HINT),
        };
        if !self.is_set(keys, "base_url") {
            let path = keys.key("provider");
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            self.report(&path, problem);
        }
    }

    /// The source and the value of each secret. A secret that is not available is only a problem once something needs it,
    /// because people check and show a file on machines without the secrets.
    fn secrets(&mut self, raw: BTreeMap<String, RawSecret>) -> (BTreeMap<String, SecretSource>, Secrets) {
        let mut sources = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        for (name, raw) in raw {
            let path = ["secrets", &name];
            if let Err(problem) = check_name(&name) {
                self.report(&path, problem);
            }
            let found = match (raw.env, raw.file) {
                (Some(variable), None) => {
                    let found = self.secret_variable(&variable);
                    sources.insert(name.clone(), SecretSource::Env(variable));
                    found
                }
                (None, Some(file)) => {
                    let path = self.path(&[path[0], path[1], "file"], &file).unwrap_or_default();
                    let found = secret_file(&path).map_err(|reason| format!("the file in `file` {reason}"));
                    sources.insert(name.clone(), SecretSource::File(path));
                    found
                }
                _ => {
                    let hint = "write { env = \"VARIABLE\" } or { file = \"path\" }";
                    self.report(&path, ValueProblem::new("must have either env or file").hint(hint));
                    Err("its source is not configured".to_owned())
                }
            };
            secrets.insert(name, found);
        }
        (sources, secrets)
    }

    fn secret_variable(&self, variable: &str) -> Result<Secret, String> {
        let is_conventional = |character: char| matches!(character, 'A'..='Z' | '0'..='9' | '_');
        match self.variables.get(variable).filter(|value| !value.is_empty()) {
            Some(value) => Ok(Secret::trimmed(value)),
            None if variable.chars().all(is_conventional) => {
                Err(format!("the environment variable {} is not set", quote(variable)))
            }
            // The likely mistake: the secret itself instead of the variable's name.
            None => Err("the environment variable named in `env` is not set (the name is not shown)".to_owned()),
        }
    }

    fn plugins(
        &mut self,
        raw: BTreeMap<String, RawPlugin>,
        limits: &RawCallLimits,
        secrets: &Secrets,
    ) -> Vec<PluginSettings> {
        raw.into_iter()
            .filter_map(|(name, plugin)| self.plugin(name, plugin, limits, secrets))
            .collect()
    }

    fn plugin(
        &mut self,
        name: String,
        raw: RawPlugin,
        limits: &RawCallLimits,
        secrets: &Secrets,
    ) -> Option<PluginSettings> {
        let path = ["plugins", &name];
        let limits = self.merged(raw.limits.over(limits))?;
        let breaker = self.merged(raw.breaker.over(&RawBreaker::from(&BreakerSettings::default())))?;
        let http = self.http(&path, &raw.http, secrets);
        let files = self.folders(&path, raw.files);
        // A missing component is already reported.
        let source = match raw.component {
            Some(component) => self.source(&[path[0], path[1], "component"], &component),
            None => ComponentSource::Path(PathBuf::new()),
        };
        let mut tools = BTreeMap::new();
        for (tool, raw) in raw.tools {
            let own_breaker = match raw.breaker.is_empty() {
                true => None,
                false => Some(self.merged(raw.breaker.over(&breaker))?.into()),
            };
            tools.insert(
                tool,
                ToolSettings {
                    enabled: raw.enabled,
                    name: raw.name,
                    description: raw.description,
                    read_only: raw.read_only,
                    idempotent: raw.idempotent,
                    destructive: raw.destructive,
                    fallback: raw.fallback,
                    always_load: raw.always_load,
                    breaker: own_breaker,
                },
            );
        }
        let command = raw.command.map(|raw| {
            let (command, problems) = command::resolve(raw, &name);
            for (key, problem) in problems {
                let key = key.iter().map(String::as_str);
                let path: Vec<&str> = path.into_iter().chain(["command"]).chain(key).collect();
                self.report(&path, problem);
            }
            command
        });
        Some(PluginSettings {
            source,
            set_in: self.set_in(&path),
            digest: Some(raw.digest.to_ascii_lowercase()).filter(|digest| !digest.is_empty()),
            required: raw.required,
            grants: Grants {
                http,
                config: raw.config,
                keyvalue: raw.keyvalue,
                files,
                environment: raw.env,
                arguments: raw.args,
                deterministic: raw.deterministic,
                metering: raw.metering.into(),
                limits: limits.0,
            },
            breaker: breaker.into(),
            errors_count: raw.errors_count,
            command,
            tools,
            name,
        })
    }

    /// What names the component sets everything of the plugin.
    fn set_in(&self, plugin: &[&str; 2]) -> SetIn {
        match self
            .root
            .find(&[plugin[0], plugin[1], "component"])
            .map(|node| &node.origin)
        {
            Some(Origin::Argument { .. }) => SetIn::CommandLine,
            _ => SetIn::Configuration,
        }
    }

    fn source(&mut self, path: &[&str], component: &str) -> ComponentSource {
        match ComponentSource::parse(component) {
            // Like folders and secrets, it is looked for when the plugin is loaded.
            ComponentSource::Path(_) => ComponentSource::Path(self.path(path, component).unwrap_or_default()),
            builtin => builtin,
        }
    }

    fn http(&mut self, plugin: &[&str; 2], raw: &[RawHttpGrant], secrets: &Secrets) -> Vec<HttpGrant> {
        let mut grants = Vec::new();
        for (index, grant) in raw.iter().enumerate() {
            let Some(url) = &grant.url else { continue };
            let methods: Vec<&str> = grant.methods.iter().map(|method| method.as_str()).collect();
            let path = [plugin[0], plugin[1], "http", &index.to_string(), "headers"];
            let headers = self.headers(&path, &grant.headers, secrets);
            match HttpGrant::parse(url, &methods) {
                Ok(parsed) => grants.push(HttpGrant { headers, ..parsed }),
                Err(error) => {
                    // The error quotes the raw URL, which may contain a password.
                    let message = error.to_string().replace(&format!("`{url}`"), &quote(url));
                    let problem = ValueProblem::new(message).hint("a grant is scheme://host[:port][/path-prefix]");
                    self.report(&[plugin[0], plugin[1], "http", &index.to_string(), "url"], problem);
                }
            }
        }
        grants
    }

    /// Doesn't check that the folders exist. Like secrets, they are checked when the plugin is loaded.
    fn folders(&mut self, plugin: &[&str; 2], raw: Vec<RawFolder>) -> Vec<FolderGrant> {
        let mut grants: Vec<FolderGrant> = Vec::new();
        for (index, raw) in raw.into_iter().enumerate() {
            let index = index.to_string();
            let path = [plugin[0], plugin[1], "files", &index];
            // A missing key is already reported.
            let (Some(folder), Some(at)) = (raw.folder, raw.at) else {
                continue;
            };
            // Reported here, because skipping it shifts the indices of the grants after it.
            if let Some(problem) = check::folder_problem(&at, &grants) {
                self.report(&[&path[..], &["at"]].concat(), problem);
                continue;
            }
            let folder = self
                .path(&[&path[..], &["folder"]].concat(), &folder)
                .unwrap_or_default();
            grants.push(FolderGrant {
                folder,
                at,
                write: raw.write,
            });
        }
        grants
    }

    fn headers(&mut self, path: &[&str; 5], raw: &BTreeMap<String, String>, secrets: &Secrets) -> Vec<AttachedHeader> {
        let mut headers: Vec<AttachedHeader> = Vec::new();
        for (name, template) in raw {
            let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
            if headers.iter().any(|header| header.name().eq_ignore_ascii_case(name)) {
                let problem = ValueProblem::new("this header appears twice; header names are case-insensitive");
                self.report(&path, problem.hint("remove one of them"));
                continue;
            }
            match AttachedHeader::new(name, template, secrets) {
                Ok(header) => headers.push(header),
                Err(error) => {
                    let hint = "write `Name = \"Bearer ${secret:KEY}\"`, and set the source of KEY in [secrets]";
                    self.report(&path, ValueProblem::new(error.to_string()).hint(hint));
                }
            }
        }
        headers
    }

    /// An existing file, or `None` if nothing is set.
    fn file(&mut self, path: &[&str], text: &str) -> Option<PathBuf> {
        let file = self.path(path, text)?;
        let why = match std::fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() => return Some(file),
            Ok(_) => "is not a file".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            Err(error) => format!("can't be read ({error})"),
        };
        self.report(
            path,
            ValueProblem::new(format!("{}: {why}", quote(text)))
                .hint(format!("relative paths start at {}", self.base(path).display())),
        );
        None
    }

    /// A folder that exists or can be created, or `None` if nothing is set.
    fn directory(&mut self, path: &[&str], text: &str) -> Option<PathBuf> {
        let folder = self.path(path, text)?;
        if std::fs::metadata(&folder).is_ok_and(|metadata| !metadata.is_dir()) {
            self.report(path, ValueProblem::new(format!("{} is not a folder", quote(text))));
        }
        Some(folder)
    }

    fn path(&self, path: &[&str], text: &str) -> Option<PathBuf> {
        // `components` drops the `.` segments of a relative path.
        (!text.is_empty()).then(|| self.base(path).join(text).components().collect())
    }

    fn base(&self, path: &[&str]) -> &Path {
        match self.root.find(path).map(|node| &node.origin) {
            Some(Origin::Env { .. } | Origin::Argument { .. }) => self.cwd,
            _ => self.folder,
        }
    }

    fn report(&mut self, path: &[&str], problem: ValueProblem) {
        let origin = self.root.nearest(path).value_origin().clone();
        let ValueProblem { message, hint } = problem;
        self.problems.push(Problem {
            origin,
            key: self.root.key_of(path),
            message,
            hint,
        });
    }

    /// Reports a failed merge. The schema has accepted the keys, so a failure is a bug, but it must not be ignored.
    fn merged<T>(&mut self, result: serde_json::Result<T>) -> Option<T> {
        result
            .map_err(|error| self.report(&["plugins"], ValueProblem::new(error.to_string())))
            .ok()
    }
}

fn secret_file(file: &Path) -> Result<Secret, String> {
    const MAX_DURATION: u64 = 64 * KIB;
    match std::fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => return Err("isn't a regular file (its path is not shown)".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("does not exist (its path is not shown)".to_owned());
        }
        _ => {}
    }
    let read = std::fs::File::open(file).and_then(|file| {
        let mut secret = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_DURATION), &mut secret)?;
        Ok(secret)
    });
    match read {
        Ok(secret) => Ok(Secret::trimmed(&secret)),
        Err(error) => Err(format!(
            "can't be read ({error}); it must be a text file in UTF-8 that this user can read"
        )),
    }
}
