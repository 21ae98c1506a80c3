//! A loaded component: compiled, linked, bound to its grants and limits, ready to be called any number of times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::component::Component;
use wasmtime_wasi_config::WasiConfigVariables;

use super::cache::CompileCache;
use super::call::{self, CallSetup, CallUse};
use super::compile::{CompilePlace, Compiler};
use super::component::{self, ComponentError, Digest};
use super::contract::{Content, Error, INTERFACE, PluginPre, Tool};
use super::descriptors;
use super::engine::{EngineSize, Engines};
use super::failure::CallFailure;
use super::files::{self, FileWork, Folder, FolderGrant};
use super::guest_memory::GuestMemory;
use super::halt::Halt;
use super::http::{self, HttpGrant, Masker, Network};
use super::inspect::{self, Inspection};
use super::instantiation;
use super::keyvalue::{KeyValueError, KeyValueStore};
use super::limits::{EngineSettings, Limits};
use super::mappings;
use super::metering::Metering;
use super::state::{CallState, linker};
use super::turns::Turns;
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// Everything that loads components: engines, compiler and cache. One per host.
#[derive(Debug)]
pub struct Sandbox {
    size: EngineSize,
    engines: Engines,
    /// Made when the first plugin asks for them.
    epoch_engines: Mutex<Option<Engines>>,
    cache: CompileCache,
    compiler: Compiler,
    stack: u64,
    network: Network,
    memory: GuestMemory,
    files: FileWork,
    /// Or why there is none.
    keyvalue: Option<Result<KeyValueStore, Arc<KeyValueError>>>,
}

/// Characters that are repeated of what a component says about a failure.
const MAX_SAID_CHARS: usize = 500;

/// What an operator grants a plugin, and what its calls may use. By default nothing is granted, and every limit has its
/// default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grants {
    pub http: Vec<HttpGrant>,
    /// What `wasi:config/store` answers.
    pub config: BTreeMap<String, String>,
    /// Whether it may keep data between calls, apart for every tenant.
    pub keyvalue: bool,
    /// Folders that it sees; no other.
    pub files: Vec<FolderGrant>,
    /// Its environment variables; none of the host's are among them.
    pub environment: BTreeMap<String, String>,
    /// Its command line, as programs that were made for one expect it.
    pub arguments: Vec<String>,
    /// Whether clocks and random numbers are the same in every call.
    pub deterministic: bool,
    /// What stops it while it computes.
    pub metering: Metering,
    pub limits: Limits,
}

impl Sandbox {
    /// Makes the engines, with a pool for the largest of `limits`. Raises the process's own limit of open files
    /// (`RLIMIT_NOFILE`) to what so many calls may need, as far as the system lets it.
    ///
    /// # Errors
    ///
    /// Where the engine does not work on this machine at all.
    pub fn new<'a>(
        settings: &EngineSettings,
        limits: impl IntoIterator<Item = &'a Limits>,
        place: CompilePlace,
        tls: Arc<rustls::ClientConfig>,
    ) -> wasmtime::Result<Self> {
        let limits: Vec<&Limits> = limits.into_iter().collect();
        descriptors::make_room(settings.host_concurrency, limits.iter().copied());
        mappings::check(settings.host_concurrency);
        let size = EngineSize::of(settings, limits);
        Ok(Self {
            engines: Engines::new(&size, Metering::Fuel)?,
            epoch_engines: Mutex::default(),
            size,
            cache: CompileCache::open(settings.cache_dir.as_deref(), settings.cache_bytes),
            compiler: Compiler::new(place, settings.stack),
            stack: settings.stack,
            network: Network {
                tls: without_memory(&tls),
                lookups: http::lookups(),
                turns: Turns::new(),
            },
            memory: GuestMemory::new(settings.host_memory),
            files: files::work(),
            keyvalue: None,
        })
    }

    /// Keeps the data of plugins that may keep any here.
    #[must_use]
    pub fn with_keyvalue(mut self, store: KeyValueStore) -> Self {
        self.keyvalue = Some(Ok(store));
        self
    }

    /// Plugins that may keep data do not load, for this reason; all others do.
    #[must_use]
    pub fn without_keyvalue(mut self, reason: KeyValueError) -> Self {
        self.keyvalue = Some(Err(Arc::new(reason)));
        self
    }

    /// Compiles and links a component, and prepares its calls. `name` is the one under which it keeps data.
    ///
    /// # Errors
    ///
    /// Every reason for which a component cannot serve; see [`ComponentError`].
    pub async fn load(&self, name: &str, bytes: &[u8], grants: &Grants) -> Result<Plugin, ComponentError> {
        for header in grants.http.iter().flat_map(|grant| &grant.headers) {
            header.check().map_err(ComponentError::Secret)?;
        }
        let folders = grants.files.iter().map(|grant| {
            grant.open().map_err(|source| ComponentError::Folder {
                folder: grant.folder.clone(),
                source: Arc::new(source),
            })
        });
        let folders = folders.collect::<Result<Arc<[Folder]>, _>>()?;
        let (component, digest) = self.compile(bytes, grants.metering, &grants.limits).await?;
        let needs = instantiation::bytes_written(bytes).map_err(|error| ComponentError::Invalid(error.to_string()))?;
        if needs > grants.limits.memory {
            return Err(ComponentError::InstanceTooLarge {
                needs,
                limit: grants.limits.memory,
            });
        }
        let keyvalue = match (grants.keyvalue, &self.keyvalue) {
            (false, _) => None,
            (true, Some(Ok(store))) => Some((store.clone(), Arc::from(name))),
            (true, Some(Err(reason))) => return Err(ComponentError::Store(reason.clone())),
            (true, None) => return Err(ComponentError::NoStore),
        };
        let pre = self.link(&component)?;
        let setup = CallSetup {
            stack: self.stack,
            masker: Masker::new(&grants.http).map_err(|error| ComponentError::Host(error.to_string()))?,
            config: Arc::new(grants.config.clone().into_iter().collect::<WasiConfigVariables>()),
            keyvalue,
            network: self.network.of_a_plugin(),
            memory: self.memory.of_plugin(name),
            files: self.files.of_a_plugin(),
            folders,
            grants: Arc::new(grants.clone()),
        };
        Ok(Plugin { pre, setup, digest })
    }

    /// What a component asks for and offers, without running any of its code.
    ///
    /// # Errors
    ///
    /// Where the bytes are not a component that compiles.
    pub async fn inspect(&self, bytes: &[u8], limits: &Limits) -> Result<Inspection, ComponentError> {
        let (component, digest) = self.compile(bytes, Metering::Fuel, limits).await?;
        let linkable = linker(component.engine()).and_then(|linker| linker.instantiate_pre(&component));
        let problem = linkable.err().map(|error| format!("{error:#}"));
        Ok(inspect::inspect(&component, digest, bytes.len() as u64, problem))
    }

    async fn compile(
        &self,
        bytes: &[u8],
        metering: Metering,
        limits: &Limits,
    ) -> Result<(Component, Digest), ComponentError> {
        let engines = self.engines(metering);
        let engines = engines.map_err(|error| ComponentError::Host(format!("{error:#}")))?;
        component::compile(&engines, &self.cache, &self.compiler, bytes, limits).await
    }

    fn engines(&self, metering: Metering) -> wasmtime::Result<Engines> {
        match metering {
            Metering::Fuel => Ok(self.engines.clone()),
            Metering::Epoch => {
                let mut engines = self.epoch_engines.lock().unwrap_or_else(PoisonError::into_inner);
                match &*engines {
                    Some(engines) => Ok(engines.clone()),
                    None => Ok(engines.insert(Engines::new(&self.size, metering)?).clone()),
                }
            }
        }
    }

    fn link(&self, component: &Component) -> Result<PluginPre<CallState>, ComponentError> {
        let exports = inspect::export_names(component);
        if !exports.iter().any(|name| name == INTERFACE) {
            let package = INTERFACE.split_once('@').map_or(INTERFACE, |(package, _)| package);
            let other = exports
                .iter()
                .find(|name| name.split_once('@').is_some_and(|(name, _)| name == package));
            return Err(match other {
                Some(found) => ComponentError::ContractVersion {
                    found: display_untrusted(found, NAME_CHARS),
                },
                None => ComponentError::NoTools { exports },
            });
        }
        let host_error = |error: wasmtime::Error| ComponentError::Host(format!("{error:#}"));
        let linker = linker(component.engine()).map_err(host_error)?;
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| ComponentError::UnknownImport(display_untrusted(&format!("{error:#}"), MAX_SAID_CHARS)))?;
        PluginPre::new(pre)
            .map_err(|error| ComponentError::Invalid(display_untrusted(&format!("{error:#}"), MAX_SAID_CHARS)))
    }
}

/// A session that is taken up again would tell a server that two tenants, or the host itself, are one and the same.
fn without_memory(tls: &rustls::ClientConfig) -> Arc<rustls::ClientConfig> {
    let mut own = tls.clone();
    own.resumption = rustls::client::Resumption::disabled();
    Arc::new(own)
}

/// A component that can be called.
#[derive(Clone)]
pub struct Plugin {
    pre: PluginPre<CallState>,
    setup: CallSetup,
    digest: Digest,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    pub fn limits(&self) -> &Limits {
        self.setup.limits()
    }

    /// Asks the component for its tools, under the limits of a call.
    ///
    /// # Errors
    ///
    /// [`ComponentError::ListTools`] where it fails, however it does.
    pub async fn list_tools(&self) -> Result<Vec<Tool>, ComponentError> {
        let halt = Halt {
            deadline: Instant::now() + self.limits().timeout,
            cancel: &CancellationToken::new(),
        };
        let (listed, usage) = call::run(&self.pre, &self.setup, None, halt, async |call| {
            call.plugin.cofferdam_tool_tools().call_list_tools(call.store).await
        })
        .await;
        let reason = match listed {
            Ok(Ok(tools)) => return Ok(tools),
            Ok(Err(message)) => display_untrusted(&self.setup.masker.text(message), MAX_SAID_CHARS),
            Err(failure) => failure.to_string(),
        };
        Err(ComponentError::ListTools(explained(reason, &usage)))
    }

    /// Calls a tool by the component's own name for it, in an instance of its own, on behalf of `tenant`. `input` is JSON
    /// text; `halt` is the end whatever happens.
    pub async fn call(
        &self,
        tenant: &Arc<str>,
        tool: &str,
        input: &str,
        halt: Halt<'_>,
    ) -> (Result<Vec<Content>, CallFailure>, CallUse) {
        let (called, usage) = call::run(&self.pre, &self.setup, Some(tenant), halt, async |call| {
            call.plugin
                .cofferdam_tool_tools()
                .call_call_tool(call.store, tool, input)
                .await
        })
        .await;
        let result = match called {
            Ok(Ok(content)) => Ok(content.into_iter().map(|part| self.masked(part)).collect()),
            Ok(Err(error)) => Err(self.said(error)),
            Err(failure) => Err(failure),
        };
        (result, usage)
    }

    /// A guest gets no secret from us; should it have one all the same, it ends here.
    fn masked(&self, content: Content) -> Content {
        match content {
            Content::Text(text) => Content::Text(self.setup.masker.text(text)),
            Content::Json(text) => Content::Json(self.setup.masker.text(text)),
            image @ Content::Image(_) => image,
        }
    }

    /// An error that the tool chose to return. Its text is output like any other.
    fn said(&self, error: Error) -> CallFailure {
        let text = match &error {
            Error::InvalidInput(text) | Error::Failed(text) => text,
            Error::Unavailable(unavailable) => &unavailable.message,
        };
        let limit = self.limits().output_bytes;
        if text.len() as u64 > limit {
            return CallFailure::InvalidOutput(format!(
                "the text of its error has {} bytes, more than output_bytes allows ({limit})",
                text.len()
            ));
        }
        let masked = |text| self.setup.masker.text(text);
        match error {
            Error::InvalidInput(message) => CallFailure::InvalidInput(masked(message)),
            Error::Failed(message) => CallFailure::Failed(masked(message)),
            Error::Unavailable(unavailable) => CallFailure::Unavailable {
                message: masked(unavailable.message),
                retry_after: unavailable.retry_after_ms.map(Duration::from_millis),
            },
        }
    }
}

/// The reason, with what else may tell an operator why.
fn explained(mut reason: String, usage: &CallUse) -> String {
    if !usage.http.refused.is_empty() {
        reason.push_str("; refused: ");
        reason.push_str(&usage.http.refused.join(", "));
    }
    let printed = usage.log.trim();
    if !printed.is_empty() {
        reason.push_str("; it printed: ");
        reason.push_str(&display_untrusted(printed, MAX_SAID_CHARS));
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_can_move_between_threads() {
        fn is_send<T: Send>(_: &T) {}
        let _ = |plugin: &Plugin, halt: Halt<'_>| is_send(&plugin.call(&"".into(), "", "", halt));
    }
}
