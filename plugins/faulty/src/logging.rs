//! `wasi:logging`, as any plugin can use it.

wit_bindgen::generate!({ path: "../../wit/wasi-logging", world: "imports" });

pub use wasi::logging::logging::{Level, log};
