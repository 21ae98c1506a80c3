//! The one place with unsafe code: taking compiled components into the process.
//!
//! Compiled code is as trusted as the host itself. It comes from two places only: a file that our cache wrote into a
//! folder that nobody else can write to, and the answer of our own compiling child over a pipe.

#![allow(unsafe_code)]

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps a file of the cache. `path` must have been written by [`super::cache`].
pub(super) fn load_file(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the folder belongs to this user alone (checked by the cache when it opens it), entries are written whole
    // and renamed into place, and none is ever changed afterwards.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Loads what the compiling child answered.
pub(super) fn load_bytes(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are the output of `Engine::precompile_component`, from this program, over a private pipe.
    unsafe { Component::deserialize(engine, bytes) }
}
