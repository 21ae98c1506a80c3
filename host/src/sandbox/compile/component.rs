//! Untrusted bytes: their digest, the first checks, and why they can't be used as a component.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::adapt::ENTRY;
use super::compiled_form::MAX_DESCRIPTION;
use super::foreign::Foreign;
use super::instantiation;
use super::known_files::FileState;
use crate::regular_file;
use crate::sandbox::grants::SetIn;
use crate::sandbox::http::SecretError;
use crate::sandbox::keyvalue::KeyValueError;
use crate::sandbox::limits::LimitValue;
use crate::sha256::hex;
use crate::untrusted::{NAME_CHARS, Untrusted, display_untrusted_list};

/// The SHA-256 of a component's bytes.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of what a file holds, without keeping it.
    pub(super) fn of_file(mut file: impl io::Read) -> io::Result<Self> {
        let mut digest = Sha256::new();
        let mut piece = vec![0; 256 << 10];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(Self(digest.finalize().into())),
                Ok(length) => digest.update(piece.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn hex(&self) -> String {
        hex(&self.0)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// A component, in memory or in a file, which is read only if the cache doesn't know it.
#[derive(Debug)]
pub struct ComponentBytes(Source);

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File {
        path: PathBuf,
        file: File,
        state: FileState,
        limit: u64,
    },
}

impl ComponentBytes {
    /// What the file was like when it was opened; `None` for a component in memory.
    pub(super) const fn state(&self) -> Option<&FileState> {
        match &self.0 {
            Source::Memory(_) => None,
            Source::File { state, .. } => Some(state),
        }
    }

    /// Reads the file, at most one byte past the limit. This blocks.
    ///
    /// # Errors
    ///
    /// [`ComponentError::Unreadable`] or [`ComponentError::TooLarge`].
    pub fn read(self) -> Result<Bytes, ComponentError> {
        self.read_unchanged().map(|(bytes, _)| bytes)
    }

    /// The same with the state of the file, if nobody wrote to it since it was opened.
    pub(super) fn read_unchanged(self) -> Result<(Bytes, Option<FileState>), ComponentError> {
        match self.0 {
            Source::Memory(bytes) => Ok((bytes, None)),
            Source::File {
                path,
                file,
                state,
                limit,
            } => {
                let mut bytes = Vec::with_capacity(usize::try_from(state.size).unwrap_or_default());
                let read = (&file).take(limit.saturating_add(1)).read_to_end(&mut bytes);
                read.map_err(|error| unreadable(&path, error))?;
                check_size(&bytes, limit)?;
                let after = FileState::of(&file).map_err(|error| unreadable(&path, error))?;
                Ok((bytes.into(), Some(after).filter(|after| *after == state)))
            }
        }
    }
}

impl From<Bytes> for ComponentBytes {
    fn from(bytes: Bytes) -> Self {
        Self(Source::Memory(bytes))
    }
}

impl From<Vec<u8>> for ComponentBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for ComponentBytes {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

/// The reason of [`ComponentError::Invalid`] for a component that is valid for other hosts. It is kept and sent as a text, as the
/// engine's own reasons are.
pub(super) const OF_WASI_3: &str =
    "uses async functions, `future` or `stream` of WASI 0.3, and this host runs WASI 0.2";

fn invalid(reason: &Untrusted) -> String {
    match reason.raw() {
        OF_WASI_3 => OF_WASI_3.to_owned(),
        _ => format!("is not valid: {}", reason.display_sentence()),
    }
}

/// Why a component can't be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    #[error("can't read {path}: {source}")]
    Unreadable { path: PathBuf, source: Arc<io::Error> },
    #[error("{} is an address, and components are read from files", .0.display())]
    NotAFile(PathBuf),
    #[error("there is no built-in plugin `{0}`")]
    UnknownBuiltin(String),
    #[error("the component has {size} bytes, more than component_bytes allows ({})", LimitValue::Bytes(*.limit))]
    TooLarge { size: u64, limit: u64 },
    #[error("this is a core WebAssembly module that doesn't export `_start`: neither a component nor a program")]
    CoreModule,
    #[error("this is a core WebAssembly module, {}, and no component", .0.what)]
    Foreign(Foreign),
    #[error("this is not WebAssembly")]
    NotWasm,
    #[error("this is an unknown kind of WebAssembly (version {0:#010x})")]
    UnknownVersion(u32),
    #[error("the component {}", invalid(.0))]
    Invalid(Untrusted),
    #[error("the digest is {found}, but the configuration pins {expected}")]
    DigestMismatch { expected: String, found: Digest },
    #[error("compiling took longer than compile_timeout allows ({0:?})")]
    CompileTimeout(Duration),
    #[error("compiling needed more memory than compile_memory allows ({})", LimitValue::Bytes(*.0))]
    CompileMemory(u64),
    #[error("it compiles to more than {} MiB", .0 >> 20)]
    CompiledTooLarge(u64),
    #[error(
        "it compiles to {} MiB of names, types and lists, more than this host allows ({} MiB)",
        .0 >> 20,
        MAX_DESCRIPTION >> 20
    )]
    DescriptionTooLarge(u64),
    #[error("the compiler failed: {}", .0.display_sentence())]
    CompilerFailed(Untrusted),
    #[error("{} ignored the request to compile", .0.display())]
    NoCompiler(PathBuf),
    #[error("the host couldn't prepare it: {0}")]
    Host(String),
    #[error("making one instance of the component takes {needs} bytes, more than memory allows ({})", LimitValue::Bytes(*.limit))]
    InstanceTooLarge { needs: u64, limit: u64 },
    #[error(
        "making one instance of the component takes {needs} steps that can't be interrupted, more than this host allows ({})",
        instantiation::MAX_STEPS
    )]
    InstanceTooSlow { needs: u64 },
    #[error("the component is made of {needs} core instances, more than core_instances allows ({limit})")]
    TooManyCoreInstances { needs: u64, limit: u32 },
    #[error(
        "the component is made of {needs} instances of nested components, more than this host allows ({})",
        instantiation::MAX_COMPONENT_INSTANCES
    )]
    TooManyComponentInstances { needs: u64 },
    #[error("the component instantiates a component that it imports, so what one instance takes can't be known")]
    UncountableInstance,
    #[error(
        "what the memories and tables of the component start with takes {needs} bytes, more than memory allows ({})",
        LimitValue::Bytes(*.limit)
    )]
    ImagesTooLarge { needs: u64, limit: u64 },
    #[error(
        "the component has no tools: it exports neither `{}` nor a function of its own{}",
        crate::sandbox::contract::INTERFACE,
        others(.exports)
    )]
    NoTools { exports: Vec<Untrusted> },
    #[error("it is a program (it exports `{export}`), which says neither what it is for nor what it takes")]
    UndescribedCommand {
        /// The plugin's name, for the lines that describe it.
        plugin: String,
        /// What makes it a program.
        export: &'static str,
    },
    #[error("`command` describes a program, but the component exports no `wasi:cli/run` of WASI 0.2{}", others(.exports))]
    NoCommand { exports: Vec<Untrusted> },
    #[error(
        "its `{key}` are too long for a program for WASI 0.1: the longest text and 8 bytes for each are {needs} bytes, and it can be \
         passed {}",
        crate::sandbox::contract::MAX_ADAPTED
    )]
    GrantTooLong {
        /// The key of the plugin.
        key: &'static str,
        needs: u64,
    },
    #[error("the component has a tool `{0}` of its own, so its program can't have that name")]
    CommandNameTaken(String),
    #[error(
        "the component speaks `{}`, this host speaks `{}`",
        .found.display(),
        crate::sandbox::contract::INTERFACE
    )]
    ContractVersion { found: Untrusted },
    #[error("the component imports what this host does not offer: {}", .0.display_sentence())]
    UnknownImport(Untrusted),
    #[error("the folder {folder} that it was granted can't be used: {source}")]
    Folder { folder: PathBuf, source: Arc<io::Error> },
    #[error(transparent)]
    Secret(SecretError),
    #[error("it was granted a store for its data, and this sandbox has none")]
    NoStore,
    #[error("it was granted a store for its data, and there is none: {0}")]
    Store(#[source] Arc<KeyValueError>),
    #[error("`list-tools` failed: {}{details}", .reason.display_sentence())]
    ListTools {
        reason: Untrusted,
        /// What was refused and printed meanwhile, ready to show.
        details: String,
    },
    #[error("it lists {found} tools, more than this host allows ({max})")]
    TooManyTools { found: usize, max: usize },
}

impl ComponentError {
    /// The limit that was too low.
    pub const fn limit(&self) -> Option<&'static str> {
        Some(match self {
            Self::TooLarge { .. } => "component_bytes",
            Self::CompileTimeout(_) => "compile_timeout",
            Self::CompileMemory(_) => "compile_memory",
            Self::InstanceTooLarge { .. } | Self::ImagesTooLarge { .. } => "memory",
            Self::TooManyCoreInstances { .. } => "core_instances",
            _ => return None,
        })
    }

    /// What to do about it, where the plugin is set.
    pub fn hint(&self, set_in: SetIn) -> Option<String> {
        if let Some(limit) = self.limit() {
            let raise = match set_in {
                SetIn::Configuration => format!("raise {limit} in the plugin's limits"),
                SetIn::CommandLine => format!("raise it with `--limit {limit}=…`"),
            };
            let until_then = match self {
                Self::CompileTimeout(_) => {
                    "; under the same limit the host tries again in a minute, which is enough if the machine was busy"
                }
                Self::CompileMemory(_) => "; under the same limit the host tries again in an hour",
                _ => "",
            };
            return Some(format!("{raise} if you trust it{until_then}"));
        }
        let hint = match self {
            Self::Unreadable { .. } => {
                "check the path; in a configuration file, relative paths start at its folder, on the command line at the current one"
            }
            Self::NotAFile(_) => {
                "download it first, for example with `curl -O`, or from a registry with `wkg oci pull` or `oras pull`, and name the file"
            }
            Self::UnknownBuiltin(_) => "built-in plugins are `calculator`, `weather`, `notes` and `faulty`",
            Self::CoreModule => {
                "a program for WASI 0.1 has a `main` and exports `_start`: link it as one; wrap a library with `wasm-tools component new`, or build it for wasm32-wasip2"
            }
            Self::Foreign(foreign) => foreign.instead,
            Self::Invalid(reason) if reason.raw() == OF_WASI_3 => {
                "export plain functions, in JavaScript without `async`: one function that is async, or has a `future` or a `stream`, is \
                 enough to keep the others out"
            }
            Self::NotWasm | Self::UnknownVersion(_) | Self::Invalid(_) => {
                "expected a WebAssembly component, such as `cargo build --target wasm32-wasip2` makes, or a program for WASI 0.1"
            }
            Self::DigestMismatch { .. } => "if the new component is wanted, put its digest into `digest`",
            Self::InstanceTooSlow { .. } | Self::TooManyComponentInstances { .. } => {
                "ask the plugin's author for a simpler component; this bound can't be raised"
            }
            Self::UncountableInstance => "ask the plugin's author to link it with what it imports",
            Self::CompiledTooLarge(_) | Self::DescriptionTooLarge(_) => {
                "ask the plugin's author for a smaller one; this bound can't be raised"
            }
            Self::CompilerFailed(_) => {
                "try again; if it fails each time, the component brings down the compiler: do without it"
            }
            Self::NoCompiler(_) => {
                "its `main` must begin with cofferdam::sandbox::run_compiler_if_requested(); where there is no such `main`, as in tests, \
                 HostBuilder::compile_place takes CompilePlace::ThisProcess"
            }
            Self::Host(_)
            | Self::TooLarge { .. }
            | Self::CompileTimeout(_)
            | Self::CompileMemory(_)
            | Self::InstanceTooLarge { .. }
            | Self::ImagesTooLarge { .. }
            | Self::TooManyCoreInstances { .. } => return None,
            Self::NoTools { .. } => {
                "export functions of your own, or build it against the world `plugin` of the contract in the folder `wit/`; see host/docs/writing-a-tool.md"
            }
            Self::UndescribedCommand { plugin, .. } => {
                return Some(format!(
                    "describe it in a configuration; host/docs/programs.md has every key:\n\
                     [plugins.{plugin}]\n\
                     component = \"…\"\n\
                     [plugins.{plugin}.command]\n\
                     description = \"What it does, and what it prints.\"\n\
                     args = [[\"--city\", \"${{city}}\"]]"
                ));
            }
            Self::NoCommand { .. } => {
                "remove the section `command`, or build the program for wasm32-wasip1 or wasm32-wasip2"
            }
            Self::GrantTooLong { .. } => {
                "shorten them, or build the program for wasm32-wasip2, which has no such limit"
            }
            Self::CommandNameTaken(_) => "give the command another with `name` in the section `command`",
            Self::ContractVersion { .. } => "build it against the world `plugin` of the contract in the folder `wit/`",
            Self::UnknownImport(_) => {
                "this host offers WASI 0.2, wasi:http, wasi:config, wasi:keyvalue/store and wasi:logging; see `cofferdam tool inspect`"
            }
            Self::Folder { .. } => match set_in {
                SetIn::Configuration => "make the folder, or correct `files` of the plugin",
                SetIn::CommandLine => "make the folder, or correct `--dir`",
            },
            Self::Secret(_) => "correct `[secrets]`, or what it names: the environment variable or file",
            Self::NoStore => "open one with `Sandbox::with_keyvalue`",
            Self::Store(error) => return Some(error.hint()),
            Self::TooManyTools { .. } => "ask the plugin's author to split it; this bound can't be raised",
            Self::ListTools { .. } => {
                "ask the plugin's author; `cofferdam tool inspect` shows what the component imports"
            }
        };
        Some(hint.to_owned())
    }
}

fn others(exports: &[Untrusted]) -> String {
    match exports {
        [] => "; it exports nothing".to_owned(),
        exports => format!("; it exports {}", display_untrusted_list(exports, NAME_CHARS)),
    }
}

/// Opens a component file. It is read where its bytes are needed.
///
/// # Errors
///
/// [`ComponentError::Unreadable`] or [`ComponentError::TooLarge`].
pub fn open_file(path: &Path, limit: u64) -> Result<ComponentBytes, ComponentError> {
    let file = regular_file::open(path).map_err(|error| unreadable(path, error))?;
    let state = FileState::of(&file).map_err(|error| unreadable(path, error))?;
    let size = state.size;
    if size > limit {
        return Err(ComponentError::TooLarge { size, limit });
    }
    Ok(ComponentBytes(Source::File {
        path: path.to_owned(),
        file,
        state,
        limit,
    }))
}

fn unreadable(path: &Path, source: io::Error) -> ComponentError {
    match source.kind() {
        io::ErrorKind::NotFound if is_address(path) => ComponentError::NotAFile(path.to_owned()),
        _ => ComponentError::Unreadable {
            path: path.to_owned(),
            source: Arc::new(source),
        },
    }
}

/// Whether a path, or the end of one, is rather `scheme://…`. Where paths are put together, one of the slashes is lost.
fn is_address(path: &Path) -> bool {
    let text = path.to_string_lossy();
    ["oci:/", "http:/", "https:/", "file:/"]
        .iter()
        .any(|scheme| text.starts_with(scheme) || text.contains(&format!("/{scheme}")))
}

pub(super) fn check_size(bytes: &[u8], limit: u64) -> Result<(), ComponentError> {
    let size = bytes.len() as u64;
    if size > limit {
        Err(ComponentError::TooLarge { size, limit })
    } else {
        Ok(())
    }
}

/// The export that makes a component a program: that of WASI 0.2, or that of the core module it is adapted from.
pub(in crate::sandbox) const fn program_export(is_adapted: bool) -> &'static str {
    match is_adapted {
        true => ENTRY,
        false => "wasi:cli/run",
    }
}

/// What a `.wasm` file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Component,
    CoreModule,
}

/// Distinguishes components and core modules by the eight bytes of the header.
pub(super) fn kind(bytes: &[u8]) -> Result<Kind, ComponentError> {
    let Some((header, _)) = bytes.split_first_chunk::<8>() else {
        return Err(ComponentError::NotWasm);
    };
    let [0x00, b'a', b's', b'm', version @ ..] = header else {
        return Err(ComponentError::NotWasm);
    };
    match *version {
        [0x0d, 0x00, 0x01, 0x00] => Ok(Kind::Component),
        [0x01, 0x00, 0x00, 0x00] => Ok(Kind::CoreModule),
        version => Err(ComponentError::UnknownVersion(u32::from_le_bytes(version))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_no_file() {
        for path in [
            "oci://ghcr.io/a/b:1",
            "https:/x.y/z.wasm",
            "/etc/cofferdam/oci:/ghcr.io/a",
        ] {
            let error = open_file(Path::new(path), 1).unwrap_err();
            assert!(matches!(error, ComponentError::NotAFile(_)), "{error}");
        }
        let error = open_file(Path::new("missing/https.wasm"), 1).unwrap_err();
        assert!(matches!(error, ComponentError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn headers_are_distinguished() {
        assert!(matches!(kind(b"\0asm\x0d\0\x01\0rest"), Ok(Kind::Component)));
        assert!(matches!(kind(b"\0asm\x01\0\0\0"), Ok(Kind::CoreModule)));
        assert!(matches!(
            kind(b"\0asm\x02\0\0\0"),
            Err(ComponentError::UnknownVersion(2))
        ));
        for bytes in [&b""[..], b"\0asm", b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01\x00"] {
            assert!(matches!(kind(bytes), Err(ComponentError::NotWasm)));
        }
    }

    #[test]
    fn a_digest_in_pieces_is_the_same() {
        for length in [0, 1, 262_144, 262_145, 1_000_000] {
            let bytes: Vec<u8> = (0..length).map(|number: u32| number.to_le_bytes()[1]).collect();
            assert_eq!(Digest::of_file(&bytes[..]).ok(), Some(Digest::of(&bytes)), "{length}");
        }
    }

    #[test]
    fn digests_are_sha256() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
    }
}
