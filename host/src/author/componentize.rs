//! From what a toolchain made to the finished component.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER,
};
use wasm_encoder::ComponentSection as _;
use wit_component::{ComponentEncoder, StringEncoding};

use super::AuthorError;
use super::exports;
use super::project::Project;
use crate::sandbox::DOCS_SECTION;

/// Adds the types of the project's world to a core module, for bindings that don't do so themselves.
pub(super) fn embed(module: &mut Vec<u8>, project: &Project) -> Result<(), AuthorError> {
    wit_component::embed_component_metadata(module, &project.resolve, project.world, StringEncoding::UTF8)
        .map_err(|error| AuthorError::Componentize(format!("{error:#}")))
}

/// Makes a component of a core module that has the types of its world. A module for WASI 0.1 gets the adapter.
pub(super) fn encode(module: &[u8]) -> Result<Vec<u8>, AuthorError> {
    let encode = || {
        let encoder = ComponentEncoder::default().module(module)?;
        encoder.adapter(ADAPTER_NAME, ADAPTER)?.validate(true).encode()
    };
    encode().map_err(|error: anyhow::Error| AuthorError::Componentize(format!("{error:#}")))
}

/// Removes exports that the project's world doesn't have, and appends the world's documentation.
pub(super) fn finish(component: &[u8], project: &Project) -> Result<Vec<u8>, AuthorError> {
    let exports = project.exports();
    let mut component = exports::keep(component, |name| exports.iter().any(|export| export == name))
        .map_err(|error| AuthorError::Componentize(error.to_string()))?;
    let section = wasm_encoder::CustomSection {
        name: Cow::Borrowed(DOCS_SECTION),
        data: Cow::Owned(project.docs().to_string().into_bytes()),
    };
    section.append_to_component(&mut component);
    Ok(component)
}
