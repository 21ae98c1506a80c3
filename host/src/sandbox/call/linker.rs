//! The imports of guests.

use wasmtime::component::Linker;

use super::state::CallState;
use crate::sandbox::config;
use crate::sandbox::files;
use crate::sandbox::http;
use crate::sandbox::keyvalue;
use crate::sandbox::logging;

/// Links everything that a guest can import. All of it is always linked: functions that weren't granted return an error.
pub(in crate::sandbox) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    config::add_to_linker(&mut linker)?;
    files::add_to_linker(&mut linker)?;
    http::add_to_linker(&mut linker)?;
    logging::add_to_linker(&mut linker)?;
    keyvalue::add_to_linker(&mut linker)?;
    Ok(linker)
}
