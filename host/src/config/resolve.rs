//! From keys to settings: what no schema can say, because it takes two values, a file or a folder to know it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use url::Url;

use super::format::{base_url, check_name};
use super::origins::Origins;
use super::problem::{Origin, Problem, Wrong};
use super::raw::*;
use super::redact::quote;
use super::size::{ByteSize, GIB, KIB, MIB};
use super::source::Node;
use super::{Config, SecretSource, StorageSettings};
use crate::ledger::BudgetSettings;
use crate::model::{ModelSettings, ProviderKind, is_loopback};
use crate::resilience::BreakerSettings;
use crate::sandbox::{AttachedHeader, EngineSettings, FolderGrant, Grants, HttpGrant, Limits, Secrets};
use crate::secret::Secret;
use crate::telemetry::LoggingSettings;
use crate::tools::{ComponentSource, PluginSettings, ToolSettings};

/// What a configuration is read against.
pub(super) struct Resolver<'a> {
    pub(super) root: &'a Node,
    /// What paths in the file are relative to.
    pub(super) folder: &'a Path,
    /// What paths in variables are relative to.
    pub(super) cwd: &'a Path,
    pub(super) variables: &'a BTreeMap<String, String>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Resolver<'_> {
    /// The settings. Only where there is no problem in the end do they mean anything.
    pub(super) fn config(&mut self, raw: RawConfig) -> Config {
        self.check_delays(&raw.retry);
        self.check_call_limits(&["limits"], &raw.limits.call);
        self.check_size(&["limits", "stack"], raw.limits.stack, 64 * KIB, 16 * MIB);
        let (sources, secrets) = self.secrets(raw.secrets);
        let plugins = self.plugins(raw.plugins, &raw.limits.call, &secrets);
        self.check_tool_names(&plugins);
        Config {
            api_key_env: raw.model.api_key_env.clone(),
            model: self.model(raw.model),
            agent: raw.agent.into(),
            retry: raw.retry.into(),
            breaker: raw.breaker.into(),
            budget: BudgetSettings {
                session: raw.budget.session_usd.0,
                daily: raw.budget.daily_usd.0,
                prices: self.file(&["budget", "prices"], &raw.budget.prices),
            },
            engine: EngineSettings {
                stack: raw.limits.stack.0,
                host_concurrency: raw.limits.host_concurrency,
                cache_bytes: raw.storage.cache_bytes.0,
                ..EngineSettings::default()
            },
            queue_timeout: raw.limits.queue_timeout.0,
            limits: raw.limits.call.into(),
            logging: LoggingSettings {
                console: raw.logging.console.into(),
                file: raw.logging.file.into(),
                directory: self.directory(&["logging", "directory"], &raw.logging.directory),
                contents: raw.logging.contents,
            },
            alerts: raw.alerts.into(),
            storage: StorageSettings {
                path: self.directory(&["storage", "path"], &raw.storage.path),
            },
            missing_secrets: secrets
                .iter()
                .filter_map(|(name, secret)| Some((name.clone(), secret.as_ref().err()?.clone())))
                .collect(),
            secrets: sources,
            plugins,
            origins: Origins::of(self.root),
        }
    }

    fn model(&mut self, raw: RawModel) -> ModelSettings {
        let provider = ProviderKind::from(raw.provider);
        // A text that is no URL is a problem already.
        let base_url = base_url(&raw.base_url).ok();
        let api_key = match provider {
            ProviderKind::Anthropic => self.variables.get(&raw.api_key_env),
            ProviderKind::Simulated => {
                self.check_simulator(base_url.as_ref());
                None
            }
        };
        let api_key = api_key.map(|key| key.trim()).filter(|key| !key.is_empty());
        ModelSettings {
            provider,
            model: raw.model,
            api_key: api_key.map(Secret::new),
            base_url: base_url.unwrap_or(ModelSettings::default().base_url),
            max_tokens: raw.max_tokens,
            stream: raw.stream,
            connect_timeout: raw.connect_timeout.0,
            idle_timeout: raw.idle_timeout.0,
            attempt_timeout: raw.attempt_timeout.0,
            temperature: raw.temperature,
        }
    }

    /// What is meant for the simulator must not leave this machine, so the default address will not do.
    fn check_simulator(&mut self, base_url: Option<&Url>) {
        let Some(base_url) = base_url.filter(|url| !is_loopback(url)) else {
            return;
        };
        let (key, message) = match self.root.find(&["model", "base_url"]) {
            Some(_) => {
                let url = quote(base_url.as_str().trim_end_matches('/'));
                (
                    "base_url",
                    format!("{url} is not on this machine, where the simulator listens"),
                )
            }
            None => (
                "provider",
                "\"simulated\" needs the simulator's address in base_url".to_owned(),
            ),
        };
        let hint =
            "`cofferdam simulate SCRIPT` starts a simulator and prints its address; `cofferdam demo` has its own";
        self.report(&["model", key], Wrong::new(message).hint(hint));
    }

    /// Where each secret comes from, and what it is. One that can't be had here is no problem until something needs it:
    /// the same file is checked and shown where the secrets are not.
    fn secrets(&mut self, raw: BTreeMap<String, RawSecret>) -> (BTreeMap<String, SecretSource>, Secrets) {
        let mut sources = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        for (name, raw) in raw {
            let path = ["secrets", &name];
            if let Err(wrong) = check_name(&name) {
                self.report(&path, wrong);
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
                    self.report(&path, Wrong::new("must have either env or file").hint(hint));
                    Err("nothing is said of where it is".to_owned())
                }
            };
            secrets.insert(name, found);
        }
        (sources, secrets)
    }

    fn secret_variable(&self, variable: &str) -> Result<Secret, String> {
        let is_conventional = |character: char| matches!(character, 'A'..='Z' | '0'..='9' | '_');
        match self.variables.get(variable).filter(|value| !value.is_empty()) {
            Some(value) => Ok(Secret::new(value.trim())),
            None if variable.chars().all(is_conventional) => {
                Err(format!("the environment variable {} is not set", quote(variable)))
            }
            // The most natural mistake: the secret itself, where its variable should be named.
            None => Err("no environment variable of the name in `env` is set (it is not shown)".to_owned()),
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
        if let Err(wrong) = check_name(&name) {
            self.report(&path, wrong);
        }
        let limits = self.inherited(raw.limits.over(limits))?;
        self.check_call_limits(&[path[0], path[1], "limits"], &limits);
        let breaker = self.inherited(raw.breaker.over(&RawBreaker::from(&BreakerSettings::default())))?;
        self.check_environment(&path, &raw.env, &raw.args);
        let http = self.http(&path, &raw.http, secrets);
        let files = self.folders(&path, raw.files);
        // A plugin without a component is a problem already, and looked at no further.
        let source = match raw.component {
            Some(component) => self.source(&[path[0], path[1], "component"], &component),
            None => ComponentSource::Path(PathBuf::new()),
        };
        let mut tools = BTreeMap::new();
        for (tool, raw) in raw.tools {
            let own_breaker = match raw.breaker.is_empty() {
                true => None,
                false => Some(self.inherited(raw.breaker.over(&breaker))?.into()),
            };
            tools.insert(
                tool,
                ToolSettings {
                    name: raw.name,
                    fallback: raw.fallback,
                    breaker: own_breaker,
                },
            );
        }
        Some(PluginSettings {
            source,
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
                limits: Limits::from(limits),
            },
            breaker: breaker.into(),
            tools,
            name,
        })
    }

    /// A guest gets variables as `NAME=value` and texts that end at the first NUL.
    fn check_environment(&mut self, plugin: &[&str; 2], env: &BTreeMap<String, String>, args: &[String]) {
        for (name, value) in env {
            let path = [plugin[0], plugin[1], "env", name.as_str()];
            if name.is_empty() || name.contains(['=', '\0']) {
                self.report(
                    &path,
                    Wrong::new("is no name of a variable: it is empty, or holds `=` or NUL"),
                );
            } else if value.contains('\0') {
                self.report(&path, Wrong::new("holds a NUL, where a variable would end"));
            }
        }
        for (index, _) in args.iter().enumerate().filter(|(_, argument)| argument.contains('\0')) {
            let path = [plugin[0], plugin[1], "args", &index.to_string()];
            self.report(&path, Wrong::new("holds a NUL, where an argument would end"));
        }
    }

    fn source(&mut self, path: &[&str], component: &str) -> ComponentSource {
        match ComponentSource::parse(component) {
            ComponentSource::Path(_) => ComponentSource::Path(self.file(path, component).unwrap_or_default()),
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
                    // The error quotes the URL as it is, which may hold a password.
                    let message = error.to_string().replace(&format!("`{url}`"), &quote(url));
                    let wrong = Wrong::new(message).hint("a grant is scheme://host[:port][/path-prefix]");
                    self.report(&[plugin[0], plugin[1], "http", &index.to_string(), "url"], wrong);
                }
            }
        }
        grants
    }

    /// Whether a folder is there is told when the plugin is loaded, like whether its secrets are.
    fn folders(&mut self, plugin: &[&str; 2], raw: Vec<RawFolder>) -> Vec<FolderGrant> {
        let mut grants: Vec<FolderGrant> = Vec::new();
        for (index, raw) in raw.into_iter().enumerate() {
            let index = index.to_string();
            let path = [plugin[0], plugin[1], "files", &index];
            // What is missing is a problem already.
            let (Some(folder), Some(at)) = (raw.folder, raw.at) else {
                continue;
            };
            let problem = FolderGrant::problem_of(&at).map(str::to_owned);
            let taken = grants.iter().any(|grant| grant.at == at);
            let problem = problem.or_else(|| taken.then(|| "is where another folder is".to_owned()));
            if let Some(problem) = problem {
                let wrong = Wrong::new(format!("{} {problem}", quote(&at)));
                self.report(&[&path[..], &["at"]].concat(), wrong.hint("for example \"/data\""));
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
                let wrong = Wrong::new("the same header stands here twice, but for upper and lower case");
                self.report(&path, wrong.hint("remove one of them"));
                continue;
            }
            match AttachedHeader::new(name, template, secrets) {
                Ok(header) => headers.push(header),
                Err(error) => {
                    let hint =
                        "a header is `Name = \"Bearer ${secret:KEY}\"`, and [secrets] KEY says where it comes from";
                    self.report(&path, Wrong::new(error.to_string()).hint(hint));
                }
            }
        }
        headers
    }

    fn check_delays(&mut self, retry: &RawRetry) {
        if retry.max_delay.0 < retry.initial_delay.0 {
            let key = ["max_delay", "initial_delay"]
                .into_iter()
                .find(|key| self.root.find(&["retry", key]).is_some());
            let message = format!(
                "max_delay ({}) is shorter than initial_delay ({})",
                retry.max_delay, retry.initial_delay
            );
            let wrong = Wrong::new(message).hint("raise max_delay, or lower initial_delay");
            self.report(&["retry", key.unwrap_or("max_delay")], wrong);
        }
    }

    fn check_call_limits(&mut self, path: &[&str], limits: &RawCallLimits) {
        for (key, size, least, most) in [
            ("memory", limits.memory, 64 * KIB, 4 * GIB),
            ("input_bytes", limits.input_bytes, 1, GIB),
            ("output_bytes", limits.output_bytes, 1, GIB),
            ("log_bytes", limits.log_bytes, 1, GIB),
            ("http_request_bytes", limits.http_request_bytes, 1, 4 * GIB),
            ("http_response_bytes", limits.http_response_bytes, 1, 4 * GIB),
            ("keyvalue_bytes", limits.keyvalue_bytes, 1, GIB),
            ("file_bytes", limits.file_bytes, 1, 1024 * GIB),
            ("component_bytes", limits.component_bytes, 1, 4 * GIB),
            ("compile_memory", limits.compile_memory, 16 * MIB, 1024 * GIB),
        ] {
            let path: Vec<&str> = path.iter().copied().chain([key]).collect();
            self.check_size(&path, size, least, most);
        }
    }

    /// A size that is inherited was checked where it stands.
    fn check_size(&mut self, path: &[&str], size: ByteSize, least: u64, most: u64) {
        if self.root.find(path).is_some() && !(least..=most).contains(&size.0) {
            let (least, most) = (ByteSize(least), ByteSize(most));
            self.report(
                path,
                Wrong::new(format!("must be between {least} and {most}, found {size}")),
            );
        }
    }

    /// The model knows tools by their names alone, so no two may share one.
    fn check_tool_names(&mut self, plugins: &[PluginSettings]) {
        let mut taken: BTreeMap<&str, String> = BTreeMap::new();
        for plugin in plugins {
            for (own_name, tool) in &plugin.tools {
                let path = ["plugins", &plugin.name, "tools", own_name, "name"];
                let path = if tool.name.is_some() { &path[..] } else { &path[..4] };
                let name = tool.name.as_ref().unwrap_or(own_name);
                if tool.name.is_none()
                    && let Err(wrong) = check_name(name)
                {
                    self.report(path, wrong.hint("give it another with `name = \"…\"`"));
                }
                let key = self.root.key_of(path);
                if let Some(first) = taken.get(name.as_str()) {
                    let message = format!("the tool name {} is taken by {first}", quote(name));
                    self.report(
                        path,
                        Wrong::new(message).hint("give one of the two another name with `name = \"…\"`"),
                    );
                } else {
                    taken.insert(name, key);
                }
            }
        }
    }

    /// An existing file, or `None` where nothing is set.
    fn file(&mut self, path: &[&str], text: &str) -> Option<PathBuf> {
        let file = self.path(path, text)?;
        let why = match std::fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() => return Some(file),
            Ok(_) => "is not a file".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            Err(error) => format!("cannot be read ({error})"),
        };
        self.report(
            path,
            Wrong::new(format!("{}: {why}", quote(text)))
                .hint(format!("relative paths start at {}", self.base(path).display())),
        );
        None
    }

    /// A folder that exists or can be made, or `None` where nothing is set.
    fn directory(&mut self, path: &[&str], text: &str) -> Option<PathBuf> {
        let folder = self.path(path, text)?;
        if std::fs::metadata(&folder).is_ok_and(|metadata| !metadata.is_dir()) {
            self.report(path, Wrong::new(format!("{} is not a folder", quote(text))));
        }
        Some(folder)
    }

    fn path(&self, path: &[&str], text: &str) -> Option<PathBuf> {
        // Without the `.` that a relative path may have in it.
        (!text.is_empty()).then(|| self.base(path).join(text).components().collect())
    }

    fn base(&self, path: &[&str]) -> &Path {
        match self.root.find(path).map(|node| &node.origin) {
            Some(Origin::Env { .. }) => self.cwd,
            _ => self.folder,
        }
    }

    fn report(&mut self, path: &[&str], wrong: Wrong) {
        let origin = self.root.nearest(path).place().clone();
        let Wrong { message, hint } = wrong;
        self.problems.push(Problem {
            origin,
            key: self.root.key_of(path),
            message,
            hint,
        });
    }

    /// The schema was checked, so this is our fault if anything; still it must not pass.
    fn inherited<T>(&mut self, result: serde_json::Result<T>) -> Option<T> {
        result
            .map_err(|error| self.report(&["plugins"], Wrong::new(error.to_string())))
            .ok()
    }
}

fn secret_file(file: &Path) -> Result<Secret, String> {
    const LONGEST: u64 = 64 * KIB;
    match std::fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => return Err("is none (it is not shown)".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("does not exist (it is not shown)".to_owned());
        }
        _ => {}
    }
    let read = std::fs::File::open(file).and_then(|file| {
        let mut secret = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, LONGEST), &mut secret)?;
        Ok(secret)
    });
    match read {
        Ok(secret) => Ok(Secret::new(secret.trim())),
        Err(error) => Err(format!(
            "cannot be read ({error}); it must be a text file that this user can read"
        )),
    }
}
