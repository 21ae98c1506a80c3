//! Turns untrusted bytes into a component that can be instantiated.

mod cache;
mod compiler;
mod component;
mod engine;
mod inspect;
mod instantiation;
mod precompiled;

use wasmtime::component::Component;

pub(super) use self::cache::CompileCache;
pub(super) use self::compiler::Compiler;
pub use self::compiler::{CompilePlace, run_compiler_if_requested};
pub use self::component::{ComponentError, Digest, read_file};
use self::component::{check_header, check_size};
pub(super) use self::engine::{EngineSize, Engines};
pub use self::inspect::{Import, Inspection};
pub(super) use self::inspect::{export_names, inspect};
pub(super) use self::instantiation::bytes_written;
use super::limits::Limits;

/// Compiles a component, or takes its compiled form from the cache.
pub(super) async fn compile(
    engines: &Engines,
    cache: &CompileCache,
    compiler: &Compiler,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(Component, Digest), ComponentError> {
    check_size(bytes, limits.component_bytes)?;
    check_header(bytes)?;
    let digest = Digest::of(bytes);
    if let Some(component) = cache.get(engines, &digest) {
        return Ok((component, digest));
    }
    let compiled = compiler.compile(bytes, engines.metering(), limits).await?;
    let component = engines
        .load(|engine| precompiled::load_bytes(engine, &compiled))
        .map_err(|error| ComponentError::Invalid(format!("{error:#}")))?;
    cache.put(engines, &digest, &compiled);
    Ok((component, digest))
}
