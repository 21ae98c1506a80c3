//! `wasi:logging`: writes to the same log as standard output and standard error.

mod log;

use wasmtime::component::{HasSelf, Linker};

pub(super) use self::log::GuestLog;

wasmtime::component::bindgen!({ path: "../wit/wasi-logging", world: "imports" });

use wasi::logging::logging::{Host, Level, add_to_linker as add};

/// The state of a call with a log.
pub(super) trait LoggingView: Send + 'static {
    /// Counts as one host call.
    fn log(&mut self) -> &mut GuestLog;
}

impl Host for GuestLog {
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
        self.write_line(&[level, " ", &context, separator, &message]);
    }
}

pub(super) fn add_to_linker<T: LoggingView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    add::<T, HasSelf<GuestLog>>(linker, T::log)
}
