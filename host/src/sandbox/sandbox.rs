//! Loading components: compiled, linked, bound to their grants and limits.

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::{Component, InstancePre};

use super::call::{self, CallSetup, CallState, MAX_ERROR_CHARS, Metering, Plugin, linker};
use super::compile::{
    self, CompileCache, CompilePlace, Compiler, ComponentError, Digest, EngineSize, Engines, Footprint, Inspection,
};
use super::config;
use super::contract::{INTERFACE, Indices};
use super::fairness::{GuestMemory, Turns};
use super::files::{self, FileWork, Folder};
use super::grants::Grants;
use super::http::{self, Masker, Network};
use super::keyvalue::{KeyValueError, KeyValueStore};
use super::limits::{EngineSettings, Limits};
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
        call::make_room(settings.host_concurrency, limits.iter().copied());
        call::check_mappings(settings.host_concurrency);
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
        let (component, digest, footprint) = self.compile(bytes, grants.metering, &grants.limits).await?;
        let keyvalue = match (grants.keyvalue, &self.keyvalue) {
            (false, _) => None,
            (true, Some(Ok(store))) => Some((store.clone(), Arc::from(name))),
            (true, Some(Err(reason))) => return Err(ComponentError::Store(reason.clone())),
            (true, None) => return Err(ComponentError::NoStore),
        };
        let (pre, tools) = self.link(&component)?;
        let setup = CallSetup {
            stack: self.stack,
            instance_bytes: footprint.held(),
            masker: Masker::new(&grants.http).map_err(|error| ComponentError::Host(error.to_string()))?,
            config: config::prepare(&grants.config),
            keyvalue,
            network: self.network.for_plugin(),
            memory: self.memory.for_plugin(name),
            files: self.files.for_plugin(),
            folders,
            grants: Arc::new(grants.clone()),
        };
        Ok(Plugin::new(pre, tools, setup, digest))
    }

    /// What a component asks for and offers, without running any of its code.
    ///
    /// # Errors
    ///
    /// Where the bytes are not a component that compiles.
    pub async fn inspect(&self, bytes: &[u8], limits: &Limits) -> Result<Inspection, ComponentError> {
        let (component, digest, _) = self.compile(bytes, Metering::Fuel, limits).await?;
        let linkable = linker(component.engine()).and_then(|linker| linker.instantiate_pre(&component));
        let problem = linkable.err().map(|error| format!("{error:#}"));
        Ok(compile::inspect(&component, digest, bytes.len() as u64, problem))
    }

    async fn compile(
        &self,
        bytes: &[u8],
        metering: Metering,
        limits: &Limits,
    ) -> Result<(Component, Digest, Footprint), ComponentError> {
        let engines = self.engines(metering);
        let engines = engines.map_err(|error| ComponentError::Host(format!("{error:#}")))?;
        compile::compile(&engines, &self.cache, &self.compiler, bytes, limits).await
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

    fn link(&self, component: &Component) -> Result<(InstancePre<CallState>, Indices), ComponentError> {
        let exports = compile::export_names(component);
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
        let pre = linker.instantiate_pre(component).map_err(|error| {
            ComponentError::UnknownImport(display_untrusted(&format!("{error:#}"), MAX_ERROR_CHARS))
        })?;
        let tools = Indices::new(&pre);
        let tools = tools
            .map_err(|error| ComponentError::Invalid(display_untrusted(&format!("{error:#}"), MAX_ERROR_CHARS)))?;
        Ok((pre, tools))
    }
}

/// A session that is taken up again would tell a server that two tenants, or the host itself, are one and the same.
fn without_memory(tls: &rustls::ClientConfig) -> Arc<rustls::ClientConfig> {
    let mut own = tls.clone();
    own.resumption = rustls::client::Resumption::disabled();
    Arc::new(own)
}
