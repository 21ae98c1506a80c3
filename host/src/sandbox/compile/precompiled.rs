//! Loads compiled components into the process. The only module with unsafe code.
//!
//! Compiled code is as trusted as the host itself. It has only two sources: a file that the cache wrote to a folder that no other
//! user can write to, and the output of the host's own compiler process over a pipe.

#![allow(unsafe_code)]

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps a file of the cache. `path` must have been written by [`super::cache`].
pub(super) fn load_file(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: only this user can write to the folder (the cache checks this when it opens it). Entries are written whole, renamed
    // into place, and never changed afterwards.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Loads the output of the compiler process.
pub(super) fn load_bytes(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are the output of `Engine::precompile_component`, from this program, over a private pipe.
    unsafe { Component::deserialize(engine, bytes) }
}
