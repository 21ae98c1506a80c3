//! The host's state for one call. It also counts the guest's host calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime::{CallHook, CallHookHandler, StoreContextMut};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::failure::Stopped;
use super::limiter::Limiter;
use super::log::GuestLog;
use super::setup::CallSetup;
use crate::sandbox::clocks::deterministic;
use crate::sandbox::fairness::{MemoryShare, NoMemory, TurnClock, yield_to_others};
use crate::sandbox::files::{self, Files, Folder};
use crate::sandbox::http::{self, Egress, FIELD_BYTES};
use crate::sandbox::keyvalue::{KeyValueStore, Namespace};

/// Bytes of random data that one host call can request: the host call blocks its thread while it generates them.
const MAX_RANDOM: u64 = 64 * 1024;

/// How long a guest can make host calls before it yields. Fuel makes it yield while it computes, but the host's own work costs no
/// fuel.
const TURN: Duration = Duration::from_millis(1);

/// The data of one store.
pub(in crate::sandbox) struct CallState {
    wasi: WasiCtx,
    pub(in crate::sandbox) files: Files,
    pub(in crate::sandbox) folders: Arc<[Folder]>,
    http: WasiHttpCtx,
    pub(in crate::sandbox) table: ResourceTable,
    pub(in crate::sandbox) egress: Egress,
    pub(in crate::sandbox) config: Arc<WasiConfigVariables>,
    /// The guest's data store, if it was granted one.
    pub(in crate::sandbox) keyvalue: Option<(KeyValueStore, Namespace)>,
    /// Bytes of keys and values that the guest has written to it.
    pub(in crate::sandbox) keyvalue_written: u64,
    pub(in crate::sandbox) log: GuestLog,
    pub(super) limiter: Limiter,
    /// Bytes that the host can still hold for the guest beyond those already charged.
    uncharged: usize,
    pub(in crate::sandbox) host_calls: u64,
    max_host_calls: u64,
    deadline: Instant,
    /// Measures the guest's current turn.
    pub(super) clock: TurnClock,
}

impl CallState {
    pub(super) fn new(
        setup: &CallSetup,
        tenant: Option<&Arc<str>>,
        share: MemoryShare,
        deadline: Instant,
        log: GuestLog,
        egress: Egress,
    ) -> Self {
        let grants = &*setup.grants;
        let limits = &grants.limits;
        // The default is to deny: what isn't set here is not granted, such as standard input.
        let mut wasi = WasiCtx::builder();
        wasi.stdout(log.clone())
            .stderr(log.clone())
            .args(&grants.arguments)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM);
        for (name, value) in &grants.environment {
            wasi.env(name, value);
        }
        if grants.deterministic {
            deterministic::apply(&mut wasi);
        }
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELD_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        Self {
            wasi: wasi.build(),
            files: Files::new(
                limits.file_bytes,
                setup.files.clone(),
                tenant.cloned().unwrap_or_default(),
            ),
            folders: setup.folders.clone(),
            http,
            table,
            egress,
            config: setup.config.clone(),
            keyvalue: setup.keyvalue.as_ref().zip(tenant).map(|((store, plugin), tenant)| {
                let space = Namespace {
                    tenant: tenant.clone(),
                    plugin: plugin.clone(),
                    quota: limits.keyvalue_bytes,
                };
                (store.clone(), space)
            }),
            keyvalue_written: 0,
            log,
            limiter: Limiter::new(limits, share),
            uncharged: http::max_held(limits.handles).saturating_add(files::MAX_HELD),
            host_calls: 0,
            max_host_calls: limits.host_calls,
            deadline,
            clock: TurnClock::new(),
        }
    }

    /// Charges `bytes` that the host holds for the guest, until the end of the call. The total is capped at what the host can
    /// hold at once, so a guest that drops one resource after the other doesn't pay for more.
    pub(in crate::sandbox) fn hold(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let bytes = bytes.min(self.uncharged);
        self.uncharged -= bytes;
        self.limiter.hold(bytes)
    }

    /// Checks whether the host call is allowed. Returns whether the guest has to yield first.
    fn enter_host(&mut self) -> Result<bool, Stopped> {
        if self.host_calls >= self.max_host_calls {
            return Err(Stopped::HostCalls);
        }
        let now = Instant::now();
        if now >= self.deadline {
            return Err(Stopped::Deadline);
        }
        Ok(self.clock.elapsed() >= TURN)
    }
}

/// Closes the call's files, however it ends.
impl Drop for CallState {
    fn drop(&mut self) {
        self.files.close_all(std::mem::take(&mut self.table));
    }
}

/// Runs before every host function, to make a guest yield or stop even if it only calls the host.
pub(super) struct HostCallGate;

#[async_trait::async_trait]
impl CallHookHandler<CallState> for HostCallGate {
    async fn handle_call_event(
        &self,
        mut store: StoreContextMut<'_, CallState>,
        hook: CallHook,
    ) -> wasmtime::Result<()> {
        if matches!(hook, CallHook::CallingHost) && store.data_mut().enter_host()? {
            yield_to_others().await;
        }
        Ok(())
    }
}

// Generated code asks for a view once per host function, and the engine itself never does. Counting here therefore counts
// exactly the guest's calls.

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.host_calls += 1;
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.host_calls += 1;
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.egress,
        }
    }
}
