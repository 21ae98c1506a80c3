//! `wasi:logging`: writes to the same log as standard output and standard error.

use wasmtime::component::{HasSelf, Linker};

use super::call::CallState;

wasmtime::component::bindgen!({ path: "../wit/wasi-logging", world: "imports" });

use wasi::logging::logging::{Host, Level, add_to_linker as add};

impl Host for CallState {
    fn log(&mut self, level: Level, context: String, message: String) {
        let level = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Critical => "critical",
        };
        let separator = if context.is_empty() { "" } else { ": " };
        self.host_calls += 1;
        self.log.write_line(&[level, " ", &context, separator, &message]);
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    add::<CallState, HasSelf<CallState>>(linker, |state| state)
}
