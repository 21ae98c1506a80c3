//! The surroundings that tools are loaded in: nothing real is within their reach.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::folder::{Folders, Snapshot};
use super::upstream::FakeUpstream;
use super::{Check, CheckError};
use crate::assembly;
use crate::config::Config;
use crate::resilience::BreakerSettings;
use crate::sandbox::{Grants, Inspection, KeyValueStore, Limits};
use crate::tools::{PluginSettings, ToolSet, ToolSettings};

/// More failures than a check makes calls, and the most that a breaker can be set to.
const MANY: u32 = 1_000_000;

/// What the component imports that can have an effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Imports {
    pub(super) http: bool,
    pub(super) keyvalue: bool,
    /// Most standard libraries import files, whether the tool uses them or not.
    pub(super) files: bool,
}

impl Imports {
    pub(super) fn of(inspection: &Inspection) -> Self {
        let has = |prefix| {
            inspection
                .imports
                .iter()
                .any(|import| import.name.raw().starts_with(prefix))
        };
        Self {
            http: has("wasi:http/outgoing-handler"),
            keyvalue: has("wasi:keyvalue/"),
            files: has("wasi:filesystem/preopens"),
        }
    }
}

/// Tools, with a server, a store and folders that exist only for them.
#[derive(Debug)]
pub(super) struct Fixture {
    pub(super) tools: ToolSet,
    pub(super) upstream: Option<FakeUpstream>,
    store: Option<KeyValueStore>,
    folders: Option<Folders>,
    _temporary: Option<TempDir>,
}

/// What a tool can change outside its instance.
#[derive(Debug)]
pub(super) struct State {
    kept: Option<[u8; 32]>,
    files: Option<Snapshot>,
}

impl State {
    /// What differs in words that follow "a call"; `None` if nothing does.
    pub(super) fn changes_to(&self, after: &Self) -> Option<String> {
        let kept = (self.kept != after.kept).then(|| "changed the data that it keeps".to_owned());
        let files = match (&self.files, &after.files) {
            (Some(before), Some(after)) => before.changes_to(after),
            _ => None,
        };
        let changes: Vec<String> = kept.into_iter().chain(files).collect();
        (!changes.is_empty()).then(|| changes.join(", and "))
    }
}

impl Fixture {
    pub(super) async fn state(&self) -> Result<State, CheckError> {
        let kept = match &self.store {
            Some(store) => Some(store.digest().await?),
            None => None,
        };
        let files = match self.folders.clone() {
            Some(folders) => {
                let looking = tokio::task::spawn_blocking(move || folders.snapshot());
                let snapshot = looking.await;
                Some(snapshot.map_err(|error| CheckError::Folder(std::io::Error::other(error)))?)
            }
            None => None,
        };
        Ok(State { kept, files })
    }

    /// Undoes what tools did to files. What they keep is separate for each tenant.
    pub(super) fn reset_files(&self) -> Result<(), CheckError> {
        self.folders
            .as_ref()
            .map_or(Ok(()), Folders::reset)
            .map_err(CheckError::Folder)
    }
}

impl Check<'_> {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            timeout: self.bounds.call_timeout,
            ..self.plugin.grants.limits.clone()
        }
    }

    /// Settings that a tool can read, and nothing that could have an effect.
    pub(super) fn grants(&self) -> Grants {
        Grants {
            http: Vec::new(),
            keyvalue: false,
            files: Vec::new(),
            limits: self.limits(),
            ..self.plugin.grants.clone()
        }
    }

    /// A configuration with this component alone.
    pub(super) fn config(&self, grants: Grants) -> Config {
        // Failures are what the check looks for, so they must neither end it nor be replaced.
        let tools = self.plugin.tools.iter().map(|(name, tool)| {
            let tool = ToolSettings {
                fallback: None,
                breaker: None,
                ..tool.clone()
            };
            (name.clone(), tool)
        });
        let plugin = PluginSettings {
            grants,
            required: false,
            breaker: BreakerSettings {
                failure_threshold: MANY,
                ..BreakerSettings::default()
            },
            tools: tools.collect(),
            ..self.plugin.clone()
        };
        Config {
            plugins: vec![plugin],
            ..self.base.clone()
        }
    }

    /// Loads the tools with nothing granted.
    pub(super) async fn load_without_grants(&self) -> Result<Fixture, CheckError> {
        let config = self.config(self.grants());
        Ok(Fixture {
            tools: assembly::load_tools(&config, None, Arc::clone(&self.tls)).await?,
            upstream: None,
            store: None,
            folders: None,
            _temporary: None,
        })
    }

    /// Loads the tools with everything granted that they import: a server that stands for every server, an empty store for each
    /// tenant, and folders with one file. `exports` are the component's names of its tools.
    pub(super) async fn load_with_grants(
        &self,
        imports: Imports,
        exports: &[String],
        deterministic: bool,
        limits: Limits,
    ) -> Result<Fixture, CheckError> {
        let temporary = tempfile::tempdir().map_err(CheckError::Folder)?;
        let files = || Folders::create(temporary.path().join("files"), &self.plugin.grants.files);
        let folders = imports.files.then(files).transpose().map_err(CheckError::Folder)?;
        let mut config = self.config(Grants {
            keyvalue: imports.keyvalue,
            files: folders.as_ref().map(Folders::grants).unwrap_or_default(),
            deterministic,
            limits,
            ..self.grants()
        });
        config.storage.path = Some(temporary.path().join("store"));
        for plugin in &mut config.plugins {
            never_retry(plugin, exports);
        }
        let mut sandbox = assembly::open_sandbox(&config, None, Arc::clone(&self.tls))?;
        let upstream = imports.http.then(FakeUpstream::default);
        if let Some(upstream) = &upstream {
            sandbox = sandbox.with_upstream(Arc::new(upstream.clone()));
        }
        let tools = assembly::load_tools_in(sandbox, &config).await?;
        let store = imports
            .keyvalue
            .then(|| KeyValueStore::open(Path::new(&config.storage.keyvalue_path())));
        Ok(Fixture {
            tools,
            upstream,
            store: store.transpose()?,
            folders,
            _temporary: Some(temporary),
        })
    }
}

/// A retry would hide how often a tool was `unavailable`, and take its time.
fn never_retry(plugin: &mut PluginSettings, exports: &[String]) {
    for export in exports {
        let tool = plugin.tools.entry(export.clone()).or_default();
        (tool.read_only, tool.idempotent) = (Some(false), Some(false));
    }
}
