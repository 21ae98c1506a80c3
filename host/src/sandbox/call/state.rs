//! The host's state for one call. It also counts the guest's host calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime::{CallHook, CallHookHandler, StoreContextMut};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::failure::Stopped;
use super::limiter::Limiter;
use super::output::Output;
use super::program::{CommandErrors, Program};
use super::setup::CallSetup;
use crate::sandbox::clocks::deterministic;
use crate::sandbox::config::ConfigView;
use crate::sandbox::fairness::{CallMemory, MemoryShare, NoMemory, TurnClock, yield_to_others};
use crate::sandbox::files::{self, Files, FilesCtx, FilesView, Folder};
use crate::sandbox::http::{self, Egress, FIELD_BYTES, HttpCtx, HttpUse, HttpView};
use crate::sandbox::keyvalue::{KeyValue, KeyValueCtx, KeyValueView, Namespace};
use crate::sandbox::logging::{GuestLog, LoggingView};

/// Bytes of a host call, beyond the result itself, for what isn't payload: list elements, names, tags.
const HOST_CALL_SLACK: u64 = 64 * 1024;

/// Bytes of random data that one host call can request: the host call blocks its thread while it generates them.
const MAX_RANDOM: u64 = 64 * 1024;

/// How long a guest can make host calls before it yields. Fuel makes it yield while it computes, but the host's own work costs no
/// fuel.
const TURN: Duration = Duration::from_millis(1);

/// The data of one store.
pub(in crate::sandbox) struct CallState {
    wasi: WasiCtx,
    files: Files,
    folders: Arc<[Folder]>,
    http: WasiHttpCtx,
    table: ResourceTable,
    egress: Egress,
    config: Arc<WasiConfigVariables>,
    keyvalue: KeyValue,
    log: GuestLog,
    pub(super) limiter: Limiter,
    host_calls: u64,
    max_host_calls: u64,
    /// Bytes that the engine can lift from the guest in a host call, and beyond that for the result.
    host_call_bytes: usize,
    extra_result_bytes: usize,
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
        program: Option<&Program>,
    ) -> Self {
        let grants = &*setup.grants;
        let limits = &grants.limits;
        // The default is to deny: what isn't set here is not granted, such as a plugin's standard input.
        let mut wasi = WasiCtx::builder();
        match program {
            None => wasi
                .stdout(Output(log.clone()))
                .stderr(Output(log.clone()))
                .args(&grants.arguments),
            Some(program) => wasi
                .stdin(MemoryInputPipe::new(program.stdin.clone()))
                .stdout(Output(program.stdout.clone()))
                .stderr(Output(CommandErrors {
                    log: log.clone(),
                    tail: program.tail.clone(),
                }))
                .args(&program.arguments),
        };
        wasi.allow_tcp(false)
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
        let keyvalue = setup.keyvalue.as_ref().zip(tenant).map(|((store, plugin), tenant)| {
            let space = Namespace {
                tenant: tenant.clone(),
                plugin: plugin.clone(),
                quota: limits.keyvalue_bytes,
            };
            (store.clone(), space)
        });
        let max_held = http::max_held(limits.handles).saturating_add(files::MAX_HELD);
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
            keyvalue: KeyValue::new(keyvalue),
            log,
            limiter: Limiter::new(limits, CallMemory::new(share, max_held)),
            host_calls: 0,
            max_host_calls: limits.host_calls,
            host_call_bytes: usize::try_from(limits.output_bytes.saturating_add(HOST_CALL_SLACK)).unwrap_or(usize::MAX),
            extra_result_bytes: 0,
            deadline,
            clock: TurnClock::new(),
        }
    }

    /// Charges `bytes` of a converted result, until the end of the call.
    pub(super) fn hold_values(&mut self, bytes: usize) -> Result<(), NoMemory> {
        self.limiter.shared().take(bytes)
    }

    pub(super) fn host_calls(&self) -> u64 {
        self.host_calls
    }

    pub(super) fn http_use(&self) -> HttpUse {
        self.egress.take_use()
    }

    /// Lets the result take more than a host call can.
    pub(super) fn set_extra_result_bytes(&mut self, bytes: usize) {
        self.extra_result_bytes = bytes;
    }

    /// For [`set_hostcall_fuel`](wasmtime::Store::set_hostcall_fuel), while a host call runs.
    pub(super) fn host_call_bytes(&self) -> usize {
        self.host_call_bytes
    }

    /// The same, for the result.
    pub(super) fn result_bytes(&self) -> usize {
        self.host_call_bytes.saturating_add(self.extra_result_bytes)
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
        match hook {
            CallHook::CallingHost => {
                if store.data().extra_result_bytes > 0 {
                    let bytes = store.data().host_call_bytes();
                    store.set_hostcall_fuel(bytes);
                }
                if store.data_mut().enter_host()? {
                    yield_to_others().await;
                }
            }
            CallHook::ReturningFromHost if store.data().extra_result_bytes > 0 => {
                let bytes = store.data().result_bytes();
                store.set_hostcall_fuel(bytes);
            }
            _ => {}
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
        HttpView::http(self).wasi
    }
}

impl HttpView for CallState {
    fn http(&mut self) -> HttpCtx<'_> {
        self.host_calls += 1;
        HttpCtx {
            wasi: WasiHttpCtxView {
                ctx: &mut self.http,
                table: &mut self.table,
                hooks: &mut self.egress,
            },
            memory: self.limiter.shared(),
        }
    }
}

impl FilesView for CallState {
    fn files(&mut self) -> FilesCtx<'_> {
        self.host_calls += 1;
        FilesCtx {
            files: &self.files,
            folders: &self.folders,
            table: &mut self.table,
            memory: self.limiter.shared(),
        }
    }
}

impl KeyValueView for CallState {
    fn keyvalue(&mut self) -> KeyValueCtx<'_> {
        self.host_calls += 1;
        KeyValueCtx {
            keyvalue: &mut self.keyvalue,
            table: &mut self.table,
        }
    }
}

impl ConfigView for CallState {
    fn config(&mut self) -> &WasiConfigVariables {
        self.host_calls += 1;
        &self.config
    }
}

impl LoggingView for CallState {
    fn log(&mut self) -> &mut GuestLog {
        self.host_calls += 1;
        &mut self.log
    }
}
