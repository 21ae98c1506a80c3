//! Runs one call in a fresh store and instance. All limits are applied here, and everything is dropped at the end, whatever
//! happened. A store is never used twice.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Engine, Store};

use super::failure::CallFailure;
use super::halt::{Halt, Halted};
use super::program::Program;
use super::setup::CallSetup;
use super::state::{CallState, HostCallGate};
use crate::sandbox::http::{Egress, HttpUse};
use crate::sandbox::limits::Limits;
use crate::sandbox::logging::GuestLog;
use crate::sandbox::metering::Metering;

/// What one call used.
#[derive(Clone, Debug, Default)]
pub struct CallUse {
    pub duration: Duration,
    /// How much of that it waited for the processor because of others. Calls of its own plugin for the same tenant are not others.
    pub kept_waiting: Duration,
    /// Units; 0 with [`Metering::Epoch`].
    pub fuel: u64,
    /// The highest total of memories, tables and what the engine keeps for the instance, in bytes.
    pub peak_memory: u64,
    pub host_calls: u64,
    /// Standard output and standard error, up to `log_bytes`.
    pub log: String,
    pub log_bytes_dropped: u64,
    pub http: HttpUse,
}

/// Instantiates `pre`, looks up its exports with `load`, and runs `function` with them on behalf of `tenant`, under all limits of
/// `setup` and until `halt` at the latest. An error of `load` counts as the host's, because only `function` calls the guest.
pub(super) async fn run<F, T>(
    pre: &InstancePre<CallState>,
    setup: &CallSetup,
    tenant: Option<&Arc<str>>,
    halt: Halt<'_>,
    load: impl FnOnce(&mut Store<CallState>, &Instance) -> wasmtime::Result<F>,
    function: impl AsyncFnOnce(&mut Store<CallState>, F) -> wasmtime::Result<T>,
) -> (Result<T, CallFailure>, CallUse) {
    run_program(pre, setup, None, tenant, halt, load, function).await
}

/// The same, for a command: with arguments and streams of its own.
pub(super) async fn run_program<F, T>(
    pre: &InstancePre<CallState>,
    setup: &CallSetup,
    program: Option<&Program>,
    tenant: Option<&Arc<str>>,
    halt: Halt<'_>,
    load: impl FnOnce(&mut Store<CallState>, &Instance) -> wasmtime::Result<F>,
    function: impl AsyncFnOnce(&mut Store<CallState>, F) -> wasmtime::Result<T>,
) -> (Result<T, CallFailure>, CallUse) {
    let started = Instant::now();
    let (limits, metering) = (setup.limits(), setup.grants.metering);
    let log = GuestLog::new(limits.log_bytes, setup.masker.clone());
    // `list-tools` runs without a tenant.
    let on_behalf_of = tenant.cloned().unwrap_or_else(|| "".into());
    let account = setup.turns.account(&on_behalf_of);
    let egress = Egress::new(setup.http.clone(), on_behalf_of, account.clone());
    let share = match tenant {
        Some(tenant) => setup.memory.share(tenant.clone()),
        None => setup.memory.share_for_list(),
    };
    let state = CallState::new(setup, tenant, share, halt.deadline, log.clone(), egress, program);
    let mut store = match prepare_store(pre.engine(), state, metering, limits) {
        Ok(store) => store,
        Err(error) => return (Err(CallFailure::Host(format!("{error:#}"))), CallUse::default()),
    };

    let clock = store.data().clock.clone();
    let mut called = false;
    let guest = async {
        store.data_mut().limiter.hold_instance(setup.instance_bytes)?;
        let instance = pre.instantiate_async(&mut store).await?;
        let functions = load(&mut store, &instance)?;
        called = true;
        function(&mut store, functions).await
    };
    // A panic of a host function ends only this call. The panic can leave the store inconsistent, so it is only read for its
    // counters and dropped.
    let guest = setup.turns.run(&account, &clock, guest);
    let guest = AssertUnwindSafe(halt.bound(guest)).catch_unwind();
    let ended = guest.await;

    let usage = CallUse {
        duration: started.elapsed(),
        kept_waiting: setup.turns.kept_waiting(&account, &clock),
        fuel: metering.spent(&store, limits),
        peak_memory: store.data().limiter.peak_memory(),
        host_calls: store.data().host_calls(),
        http: store.data().http_use(),
        ..CallUse::default()
    };
    let refused = store.data().limiter.refused();
    drop(store);
    let (log, log_bytes_dropped) = log.take();
    let usage = CallUse {
        log,
        log_bytes_dropped,
        ..usage
    };

    let result = match ended {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(CallFailure::of(&error, called, refused, limits, setup.stack)),
        Ok(Err(Halted::Deadline)) => Err(CallFailure::timeout(limits.timeout)),
        Ok(Err(Halted::Cancelled)) => Err(CallFailure::Cancelled),
        Err(panic) => Err(CallFailure::Host(format!(
            "a host function panicked: {}",
            panic_text(&*panic)
        ))),
    };
    (result, usage)
}

fn prepare_store(
    engine: &Engine,
    state: CallState,
    metering: Metering,
    limits: &Limits,
) -> wasmtime::Result<Store<CallState>> {
    let mut store = Store::try_new(engine, state)?;
    store.limiter(|state| &mut state.limiter);
    store.call_hook_async(HostCallGate);
    metering.apply(&mut store, limits)?;
    store.set_max_component_handles(limits.handles as usize);
    let host_call_bytes = store.data().host_call_bytes();
    store.set_hostcall_fuel(host_call_bytes);
    Ok(store)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
