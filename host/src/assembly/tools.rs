//! Builds a configuration's tools: sandbox, plugins and the key-value store. They need no model, API key or ledger.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::HostError;
use crate::config::Config;
use crate::sandbox::{CompilePlace, KeyValueError, KeyValueStore, Limits, Sandbox};
use crate::tools::ToolSet;

/// Loads a configuration's plugins without model and ledger, for `cofferdam tool`.
///
/// # Errors
///
/// As [`HostBuilder::build`](super::HostBuilder::build).
pub async fn load_tools(
    config: &Config,
    place: Option<CompilePlace>,
    tls: Arc<rustls::ClientConfig>,
) -> Result<ToolSet, HostError> {
    if config.omits_plugins() {
        tracing::warn!(hint = Config::OMITTED_PLUGINS_HINT, "{}", Config::OMITTED_PLUGINS);
    }
    // This also checks the configuration.
    let sandbox = open_sandbox(config, place, tls)?;
    load_tools_in(sandbox, config).await
}

/// Loads a configuration's plugins in a sandbox that [`open_sandbox`] made for it.
///
/// # Errors
///
/// As [`load_tools`].
pub async fn load_tools_in(mut sandbox: Sandbox, config: &Config) -> Result<ToolSet, HostError> {
    if config.plugins.iter().any(|plugin| plugin.grants.keyvalue) {
        // A problem with the file must only affect the plugins that store data in it.
        sandbox = match open_keyvalue(config.storage.keyvalue_path()).await {
            Ok(store) => sandbox.with_keyvalue(store),
            Err(reason) => sandbox.without_keyvalue(reason),
        };
    }
    let concurrency = config.engine.host_concurrency;
    Ok(ToolSet::load(&sandbox, &config.plugins, concurrency, config.queue_timeout).await?)
}

/// Builds a configuration's sandbox, without its plugins.
///
/// # Errors
///
/// As [`HostBuilder::build`](super::HostBuilder::build).
pub fn open_sandbox(
    config: &Config,
    place: Option<CompilePlace>,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Sandbox, HostError> {
    config.check()?;
    let place = match place {
        Some(place) => place,
        None => CompilePlace::Child(std::env::current_exe().map_err(HostError::Program)?),
    };
    let limits: Vec<&Limits> = config
        .plugins
        .iter()
        .map(|plugin| &plugin.grants.limits)
        .chain(std::iter::once(&*config.limits))
        .collect();
    Sandbox::new(&config.engine, limits, place, tls).map_err(|error| HostError::Engine(format!("{error:#}")))
}

async fn open_keyvalue(path: PathBuf) -> Result<KeyValueStore, KeyValueError> {
    let open = move || KeyValueStore::open(&path);
    tokio::task::spawn_blocking(open)
        .await
        .unwrap_or(Err(KeyValueError::Interrupted))
}
