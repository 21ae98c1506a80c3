//! `wasi:config/store`: the values that an operator set for a plugin.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};

use super::call::CallState;

/// Prepares the values once per plugin. All its calls share them.
pub(super) fn prepare(granted: &BTreeMap<String, String>) -> Arc<WasiConfigVariables> {
    Arc::new(granted.clone().into_iter().collect::<WasiConfigVariables>())
}

pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi_config::add_to_linker(linker, |state: &mut CallState| {
        state.host_calls += 1;
        WasiConfig::from(&*state.config)
    })
}
