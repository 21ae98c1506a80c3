//! Turns untrusted bytes into a component that can be instantiated.

mod cache;
mod compiled_form;
mod compiler;
mod component;
mod engine;
mod inspect;
mod instantiation;
mod precompiled;

use wasmtime::component::Component;

pub(super) use self::cache::CompileCache;
use self::compiled_form::MAX_DESCRIPTION;
pub(super) use self::compiler::Compiler;
pub use self::compiler::{CompilePlace, run_compiler_if_requested};
pub use self::component::{ComponentError, Digest, read_file};
use self::component::{check_header, check_size};
pub(super) use self::engine::{EngineSize, Engines};
pub use self::inspect::{Import, Inspection};
pub(super) use self::inspect::{export_names, inspect};
pub(super) use self::instantiation::{Footprint, TABLE_ELEMENT};
use super::limits::Limits;

/// Compiles a component, or loads its compiled form from the cache. Checks the cost of an instance against `limits` before it
/// compiles, because what makes instances expensive also makes compiling and loading expensive.
pub(super) async fn compile(
    engines: &Engines,
    cache: &CompileCache,
    compiler: &Compiler,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(Component, Digest, Footprint), ComponentError> {
    check_size(bytes, limits.component_bytes)?;
    check_header(bytes)?;
    let (digest, footprint) = read(bytes).await?;
    footprint.check(limits)?;
    if let Some(component) = cache.get(engines, &digest) {
        return Ok((component, digest, footprint));
    }
    let compiled = compiler.compile(bytes, engines.metering(), limits).await?;
    let described = compiled_form::description_bytes(&compiled)
        .ok_or_else(|| ComponentError::CompilerFailed("its output isn't a compiled component".to_owned()))?;
    if described > MAX_DESCRIPTION {
        return Err(ComponentError::DescriptionTooLarge(described));
    }
    let component = engines
        .load(|engine| precompiled::load_bytes(engine, &compiled))
        .map_err(|error| ComponentError::Invalid(format!("{error:#}")))?;
    cache.put(engines, &digest, &compiled);
    Ok((component, digest, footprint))
}

/// Hashes the bytes and adds up the footprint, on a blocking thread.
async fn read(bytes: &[u8]) -> Result<(Digest, Footprint), ComponentError> {
    let bytes = bytes.to_vec();
    let read = tokio::task::spawn_blocking(move || (Digest::of(&bytes), instantiation::footprint(&bytes)));
    let (digest, footprint) = read.await.map_err(|error| ComponentError::Host(error.to_string()))?;
    let footprint = footprint.map_err(|error| ComponentError::Invalid(error.to_string()))?;
    Ok((digest, footprint))
}
