//! A project that is built and loaded again whenever it changes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::super::grants;
use super::super::lines::Completions;
use super::super::subject::same_component;
use super::super::watch::Files;
use super::super::{CliError, Context, standalone, tool_list};
use super::announce::Announcer;
use super::changes::Changes;
use super::{DevArgs, command};
use crate::author::{self, Built, Progress};
use crate::config::{Config, FILE_NAME};
use crate::tools::{ComponentSource, PluginSettings, ToolSet};

/// The project, and the tools of its last component that could be loaded.
pub struct Project<'a> {
    cx: &'a Context,
    args: &'a DevArgs,
    announcer: Announcer<'a>,
    tools: watch::Sender<Arc<ToolSet>>,
    /// What Tab completes: the names of the tools, and the commands.
    completions: Completions,
    loaded: RefCell<Option<Loaded>>,
    build_wanted: Notify,
}

/// What the tools were made of.
#[derive(PartialEq)]
struct Loaded {
    digest: String,
    plugins: Vec<PluginSettings>,
}

impl<'a> Project<'a> {
    /// `tools` receives the tools of each component.
    ///
    /// # Errors
    /// A grant or a limit of the command line is invalid.
    pub fn new(cx: &'a Context, args: &'a DevArgs, tools: watch::Sender<Arc<ToolSet>>) -> Result<Self, CliError> {
        // Before the first build, which may take long. The component isn't there yet.
        standalone::config(grants::component(".", &args.grants)?)?;
        Ok(Self {
            cx,
            args,
            announcer: Announcer(cx),
            tools,
            completions: Completions::default(),
            loaded: RefCell::default(),
            build_wanted: Notify::new(),
        })
    }

    pub fn tools(&self) -> Arc<ToolSet> {
        self.tools.borrow().clone()
    }

    pub fn completions(&self) -> Completions {
        self.completions.clone()
    }

    /// Builds as soon as a build that runs has ended.
    pub fn request_build(&self) {
        self.build_wanted.notify_one();
    }

    /// Builds whenever a file changes, or a build is asked for.
    pub async fn build_on_change(&self, files: &mut Files) {
        loop {
            let changed = tokio::select! {
                changed = files.changed() => changed,
                () = self.build_wanted.notified() => BTreeSet::new(),
            };
            self.announcer.build_started(&self.args.folder, &changed);
            self.build(files).await;
        }
    }

    /// Builds the project and loads its tools. What fails is reported, and the tools stay as they were.
    pub async fn build(&self, files: &mut Files) {
        let started = Instant::now();
        let command = |command: &str| self.announcer.note("running", command);
        let line = |line: &str| self.cx.note(line);
        let progress = match self.cx.global.quiet {
            true => Progress::Quiet,
            false => Progress::Lines {
                command: &command,
                line: &line,
            },
        };
        let built = author::build(&self.args.folder, None, progress).await;
        // What is saved during a build leads to another one, unless it is the build that saved it.
        files.accept(author::changes_in_builds);
        let loaded = match built {
            Ok(built) => {
                self.announcer.built(&built, started.elapsed());
                self.load(&built).await
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = loaded {
            self.announcer.failed(&error, self.loaded.borrow().is_some());
        }
    }

    /// The settings of the component: those of the project's configuration file, if it loads the component.
    fn config(&self, component: &Path) -> Result<Config, CliError> {
        let source = ComponentSource::Path(component.to_owned());
        let named = self.cx.global.config.clone();
        let of_project = || Some(self.args.folder.join(FILE_NAME)).filter(|file| file.is_file());
        if let Some(file) = named.clone().or_else(of_project) {
            let mut config = Config::load(Some(&file))?;
            config.plugins.retain(|plugin| same_component(&plugin.source, &source));
            if let Some(plugin) = config.plugins.first() {
                return match self.args.grants.is_empty() {
                    true => Ok(config),
                    false => Err(CliError::usage(
                        format!(
                            "grants and limits of the command line have no effect: the component has those of {}",
                            file.display()
                        ),
                        format!("change its section `[plugins.{}]`", plugin.name),
                    )),
                };
            }
            if named.is_some() {
                return Err(CliError::usage(
                    format!("{} loads no plugin from {}", file.display(), component.display()),
                    "add a section `[plugins.NAME]` with `component = \"FILE\"`",
                ));
            }
        }
        standalone::config(grants::component(&source.to_string(), &self.args.grants)?)
    }

    async fn load(&self, built: &Built) -> Result<(), CliError> {
        let config = self.config(&built.component)?;
        let next = standalone::load(self.cx, &config).await?;
        let previous = self.tools();
        let (before, after) = (describe(&previous), describe(&next));
        let words = command::WORDS.iter().map(|word| (*word).to_owned());
        let names = after.iter().map(|tool| command::name(tool).to_owned());
        let schemas = after.iter().map(|tool| format!("schema {}", command::name(tool)));
        self.completions.set(names.chain(words).chain(schemas));
        let loaded = Loaded {
            digest: built.digest.to_string(),
            plugins: config.plugins,
        };
        let is_first = self.loaded.borrow().is_none();
        let is_same = self.loaded.borrow().as_ref() == Some(&loaded);
        if !is_same {
            self.tools.send_replace(Arc::new(next.continuing(&previous)));
            self.loaded.replace(Some(loaded));
        }
        match is_first {
            true => self.announcer.tools(&after),
            false => self.announcer.changes(&Changes::between(&before, &after), is_same),
        }
        Ok(())
    }
}

/// The tools as `tool list --output json` describes them.
pub fn describe(tools: &ToolSet) -> Vec<Value> {
    tools.tools().map(tool_list::json).collect()
}
