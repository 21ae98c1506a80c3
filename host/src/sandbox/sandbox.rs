//! Loads components: compiles them, links them, and binds them to their grants and limits.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::Instrument as _;
use wasmtime::component::{Component, InstancePre};

use super::call::{CallSetup, CallState, Plugin, linker};
use super::compile::{
    self, COMPILING, CompileCache, CompilePlace, Compiled, Compiler, ComponentBytes, ComponentError, EngineSize,
    Engines, Inspection,
};
use super::config;
use super::contract::{
    Command, Contract, Docs, Entry, INTERFACE, Indices, Typed, WitText, exports_functions, oversized_arguments,
    oversized_variables, run_export,
};
use super::fairness::{GuestMemory, Turns};
use super::files::{self, FileWork, Folder};
use super::grants::Grants;
use super::http::{self, HttpSetup, Masker, Network, Upstream};
use super::keyvalue::{KeyValueError, KeyValueStore};
use super::limits::{EngineSettings, Limits};
use super::metering::Metering;
use super::system;
use crate::untrusted::Untrusted;

/// Loads components, with the engines, compiler and cache that this takes. One per host.
#[derive(Debug)]
pub struct Sandbox {
    size: EngineSize,
    engines: Engines,
    /// Created when the first plugin needs them.
    epoch_engines: Mutex<Option<Engines>>,
    cache: CompileCache,
    compiler: Compiler,
    stack: u64,
    network: Network,
    memory: GuestMemory,
    files: FileWork,
    /// The store, or why it can't be used; `None` if none is configured.
    keyvalue: Option<Result<KeyValueStore, Arc<KeyValueError>>>,
}

impl Sandbox {
    /// Creates the engines, with a pool for the largest of `limits`. Raises the process's limit of open files
    /// (`RLIMIT_NOFILE`) to what the concurrent calls can need, or as close to it as the hard limit allows.
    ///
    /// # Errors
    ///
    /// If the engine doesn't work on this machine.
    pub fn new<'a>(
        settings: &EngineSettings,
        limits: impl IntoIterator<Item = &'a Limits>,
        place: CompilePlace,
        tls: Arc<rustls::ClientConfig>,
    ) -> wasmtime::Result<Self> {
        let limits: Vec<&Limits> = limits.into_iter().collect();
        system::make_room(settings.host_concurrency, limits.iter().copied());
        system::check_mappings(settings.host_concurrency);
        let size = EngineSize::of(settings, limits);
        Ok(Self {
            engines: Engines::new(&size, Metering::Fuel)?,
            epoch_engines: Mutex::default(),
            size,
            cache: CompileCache::open(settings.cache_dir.as_deref(), settings.cache_bytes),
            compiler: Compiler::new(place, settings.stack),
            stack: settings.stack,
            network: Network {
                tls: without_resumption(&tls),
                lookups: http::lookups(),
                turns: Turns::new(),
                upstream: None,
            },
            memory: GuestMemory::new(settings.host_memory),
            files: files::work(),
            keyvalue: None,
        })
    }

    /// Sets the store for plugins that are granted one.
    #[must_use]
    pub fn with_keyvalue(mut self, store: KeyValueStore) -> Self {
        self.keyvalue = Some(Ok(store));
        self
    }

    /// Loading a plugin that is granted a store fails with this reason. Other plugins load as usual.
    #[must_use]
    pub fn without_keyvalue(mut self, reason: KeyValueError) -> Self {
        self.keyvalue = Some(Err(Arc::new(reason)));
        self
    }

    /// Answers all requests of guests in place of the network; see [`Upstream`].
    #[must_use]
    pub(crate) fn with_upstream(mut self, upstream: Arc<dyn Upstream>) -> Self {
        self.network.upstream = Some(upstream);
        self
    }

    /// Compiles and links a component, and prepares its calls. `name` identifies its data in the key-value store. `command`
    /// describes the program that the component is, in place of or beside the tools that it lists itself.
    ///
    /// # Errors
    ///
    /// If the component can't be used; see [`ComponentError`].
    pub async fn load(
        &self,
        name: &str,
        component: impl Into<ComponentBytes>,
        grants: &Grants,
        command: Option<&Command>,
    ) -> Result<Plugin, ComponentError> {
        self.load_documented(name, name, component, grants, command, || Ok(Vec::new()))
            .await
    }

    /// The same for a component beside which there may be WIT, whose comments describe the functions that the component itself
    /// doesn't. `wit` reads it, on a blocking thread, if the component exports functions. What the plugin keeps, it shares with others
    /// that keep their data as `kept_as`.
    ///
    /// # Errors
    ///
    /// As [`Self::load`]. WIT that can't be read costs only the descriptions, and is one of the [warnings](Plugin::warnings).
    pub async fn load_documented(
        &self,
        name: &str,
        kept_as: &str,
        component: impl Into<ComponentBytes>,
        grants: &Grants,
        command: Option<&Command>,
        wit: impl FnOnce() -> Result<Vec<WitText>, String> + Send + 'static,
    ) -> Result<Plugin, ComponentError> {
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
        let compiling = self.compile(component.into(), grants.metering, &grants.limits);
        // The name is for the line that says that it takes long.
        let compiling = compiling.instrument(tracing::info_span!(target: COMPILING, "load", plugin = name));
        let compiled = compiling.await?;
        let keyvalue = match (grants.keyvalue, &self.keyvalue) {
            (false, _) => None,
            (true, Some(Ok(store))) => Some((store.clone(), Arc::from(kept_as))),
            (true, Some(Err(reason))) => return Err(ComponentError::Store(reason.clone())),
            (true, None) => return Err(ComponentError::NoStore),
        };
        let (pre, mut contracts) = self.link(name, &compiled, command)?;
        check_adapted(name, grants, &contracts)?;
        // Before the contract's own interface, because a function can be looked up by name. A tool that isn't one of them is one
        // that the component lists.
        let Compiled {
            component,
            digest,
            footprint,
            docs,
            is_adapted: _,
        } = compiled;
        if exports_functions(&component) {
            let typed = find_functions(component, docs, wit, &grants.limits).await?;
            let position = usize::from(command.is_some());
            contracts.insert(position, typed);
        }
        let network = self.network.for_plugin();
        let turns = network.turns.clone();
        let masker = Masker::new(&grants.http).map_err(|error| ComponentError::Host(error.to_string()))?;
        let memory = self.memory.for_plugin(name);
        let setup = CallSetup {
            name: name.into(),
            stack: self.stack,
            instance_bytes: footprint.held(),
            config: config::prepare(&grants.config),
            keyvalue,
            http: Arc::new(HttpSetup {
                grants: grants.http.clone(),
                limits: grants.limits.clone(),
                masker: masker.clone(),
                network,
                memory: memory.clone(),
            }),
            turns,
            masker,
            memory,
            files: Arc::new(self.files.for_plugin()),
            folders,
            grants: Arc::new(grants.clone()),
        };
        Ok(Plugin::new(pre, contracts, setup, digest))
    }

    /// Reports what a component imports and exports, without running any of its code.
    ///
    /// # Errors
    ///
    /// If the bytes aren't a component that compiles.
    pub async fn inspect(
        &self,
        component: impl Into<ComponentBytes>,
        limits: &Limits,
    ) -> Result<Inspection, ComponentError> {
        let component = component.into();
        let read = tokio::task::spawn_blocking(|| component.read()).await;
        let bytes = read.map_err(|error| ComponentError::Host(error.to_string()))??;
        let compiling = self.compile(bytes.clone().into(), Metering::Fuel, limits);
        let Compiled { component, digest, .. } = compiling.await?;
        let linkable = linker(component.engine()).and_then(|linker| linker.instantiate_pre(&component));
        let problem = linkable.err().map(|error| Untrusted::new(format!("{error:#}")));
        Ok(compile::inspect(&component, digest, &bytes, problem))
    }

    async fn compile(
        &self,
        component: ComponentBytes,
        metering: Metering,
        limits: &Limits,
    ) -> Result<Compiled, ComponentError> {
        let engines = self.engines(metering);
        let engines = engines.map_err(|error| ComponentError::Host(format!("{error:#}")))?;
        compile::compile(&engines, &self.cache, &self.compiler, component, limits).await
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

    /// Links the component. The contracts are those that the component implements by an interface of ours or of WASI.
    fn link(
        &self,
        plugin: &str,
        compiled: &Compiled,
        command: Option<&Command>,
    ) -> Result<(InstancePre<CallState>, Vec<Contract>), ComponentError> {
        let Compiled {
            component, is_adapted, ..
        } = compiled;
        let exports = compile::export_names(component);
        let is_dynamic = exports.iter().any(|name| name.raw() == INTERFACE);
        if !is_dynamic && command.is_none() {
            let package = INTERFACE.split_once('@').map_or(INTERFACE, |(package, _)| package);
            let other = exports
                .iter()
                .find(|name| name.raw().split_once('@').is_some_and(|(name, _)| name == package));
            if let Some(found) = other {
                return Err(ComponentError::ContractVersion { found: found.clone() });
            }
            if !exports_functions(component) {
                return Err(match run_export(component) {
                    Some(_) => ComponentError::UndescribedCommand {
                        plugin: plugin.to_owned(),
                        export: compile::program_export(*is_adapted),
                    },
                    None => ComponentError::NoTools { exports },
                });
            }
        }
        let mut contracts = Vec::new();
        if let Some(command) = command {
            let entry = Entry::find(component, *is_adapted).ok_or(ComponentError::NoCommand { exports })?;
            contracts.push(Contract::Command(Arc::new(command.clone()), entry));
        }
        let host_error = |error: wasmtime::Error| ComponentError::Host(format!("{error:#}"));
        let linker = linker(component.engine()).map_err(host_error)?;
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| ComponentError::UnknownImport(format!("{error:#}").into()))?;
        if is_dynamic {
            let tools = Indices::new(&pre);
            let tools = tools.map_err(|error| ComponentError::Invalid(format!("{error:#}").into()))?;
            contracts.push(Contract::Dynamic(tools));
        }
        Ok((pre, contracts))
    }
}

/// Checks what every call of an adapted program is passed.
fn check_adapted(name: &str, grants: &Grants, contracts: &[Contract]) -> Result<(), ComponentError> {
    let is_adapted = |contract: &Contract| matches!(contract, Contract::Command(_, entry) if entry.is_adapted);
    if !contracts.iter().any(is_adapted) {
        return Ok(());
    }
    let name = name.to_owned();
    for (key, needs) in [
        (
            "args",
            oversized_arguments(std::iter::once(&name).chain(&grants.arguments)),
        ),
        ("env", oversized_variables(&grants.environment)),
    ] {
        if let Some(needs) = needs {
            return Err(ComponentError::GrantTooLong { key, needs });
        }
    }
    Ok(())
}

/// Reads the types of the component's functions, on a blocking thread: hundreds of large types take a while.
async fn find_functions(
    component: Component,
    docs: Docs,
    wit: impl FnOnce() -> Result<Vec<WitText>, String> + Send + 'static,
    limits: &Limits,
) -> Result<Contract, ComponentError> {
    let limits = limits.clone();
    let found = tokio::task::spawn_blocking(move || Typed::find(&component, &docs.with_wit(wit()), &limits));
    let found = found.await.map_err(|error| ComponentError::Host(error.to_string()))?;
    Ok(Contract::Typed(Arc::new(found)))
}

/// Disables TLS session resumption, by which a server could link the requests of different tenants, or of the host itself.
fn without_resumption(tls: &rustls::ClientConfig) -> Arc<rustls::ClientConfig> {
    let mut own = tls.clone();
    own.resumption = rustls::client::Resumption::disabled();
    Arc::new(own)
}
