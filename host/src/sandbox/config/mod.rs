//! `wasi:config/store`: the values that an operator set for a plugin.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};

/// The state of a call with values.
pub(super) trait ConfigView: Send + 'static {
    /// Counts as one host call.
    fn config(&mut self) -> &WasiConfigVariables;
}

/// Prepares the values once per plugin. All its calls share them.
pub(super) fn prepare(granted: &BTreeMap<String, String>) -> Arc<WasiConfigVariables> {
    Arc::new(granted.clone().into_iter().collect::<WasiConfigVariables>())
}

pub(super) fn add_to_linker<T: ConfigView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi_config::add_to_linker(linker, |state: &mut T| WasiConfig::from(state.config()))
}
