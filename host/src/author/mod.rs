//! What a tool's author needs: the contract's files, a project to start from, the way from source to component, and a check of
//! the component before others install it. It needs the tools of a host, and no model, API key or ledger.

mod build;
pub mod check;
mod componentize;
mod docs;
mod error;
mod exports;
mod js_exports;
mod language;
mod libc_names;
mod name;
mod project;
mod sources;
mod template;
mod toolchain;
mod wit_files;
mod write;

pub use build::{BuildWarning, Built, Progress, build};
pub use error::AuthorError;
pub use language::{Language, Style};
pub use sources::{changes_in_builds, sources};
pub use template::{Created, create};
pub use wit_files::{CONTRACT, WitFile, wit_files, write_wit_files};
