//! Core modules for WASI 0.1 that are programs (they export `_start`) are adapted to components: the engine's authors publish
//! an adapter, itself a core module, that implements WASI 0.1 with WASI 0.2.
//!
//! The bytes are untrusted, so the work is done where components are compiled. The result is as untrusted as the module, and is
//! checked, compiled and limited as any component.

use wasi_preview1_component_adapter_provider as adapter;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{ImportSection, Module, RawSection};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What a program exports.
pub(super) const ENTRY: &str = "_start";

/// The function of WASI 0.1 that ends a program with a status. The adapter makes a 1 of every status but 0, so programs call the
/// host's own function instead. Both take the status as an `i32`.
const EXIT: &str = "proc_exit";
const HOST_EXIT: (&str, &str) = ("wasi:cli/exit@0.2.12", "exit-with-code");
const HOST_EXIT_WIT: &str = "package cofferdam:adapted;
world program { import wasi:cli/exit@0.2.12; }
package wasi:cli@0.2.12 {
    interface exit {
        exit: func(status: result);
        exit-with-code: func(status-code: u8);
    }
}";

/// The most imports of a program. WASI 0.1 has 46 functions, and the time to adapt grows with the square of the imports.
const MAX_IMPORTS: u32 = 1_000;

/// The most bytes that adapting adds to a module: the adapter, and what connects the two.
pub(super) const MAX_ADDED: u64 = 1 << 20;

/// The version of `wit-component`, which doesn't say it itself. A test compares it with `Cargo.lock`.
const ENCODER: &str = "0.254.2";

/// What an adapted form depends on besides the module: the adapter, what encodes the component, and this file.
pub(super) fn identity() -> impl std::hash::Hash {
    (
        adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        ENCODER,
        HOST_EXIT_WIT,
        env!("CARGO_PKG_VERSION"),
    )
}

/// Whether a core module is a program. Reads no more than the list of exports.
pub(super) fn is_program(module: &[u8]) -> bool {
    for payload in Parser::new(0).parse_all(module) {
        match payload {
            Ok(Payload::ExportSection(exports)) => {
                return exports.into_iter().flatten().any(|export| export.name == ENTRY);
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// The component that runs the program.
pub(super) fn adapt(module: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("it can't be adapted: {error}");
    let imports = count_imports(module).map_err(|error| failed(&error))?;
    if imports > MAX_IMPORTS {
        return Err(failed(&format!(
            "it has {imports} imports, and a program can have {MAX_IMPORTS}"
        )));
    }
    let redirected = redirect_exit(module).map_err(|error| failed(&error))?;
    let encode = || {
        let mut module = redirected.as_deref().unwrap_or(module).to_vec();
        if redirected.is_some() {
            let mut resolve = Resolve::default();
            let package = resolve.push_str("adapted.wit", HOST_EXIT_WIT)?;
            let world = resolve.select_world(&[package], Some("program"))?;
            embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
        }
        ComponentEncoder::default()
            .validate(true)
            .module(&module)?
            .adapter(
                adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
            )?
            .encode()
    };
    encode().map_err(|error| failed(&format!("{error:#}")))
}

fn count_imports(module: &[u8]) -> Result<u32, wasmparser::BinaryReaderError> {
    let mut imports = 0;
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ImportSection(section) = payload? {
            // What a group of imports stands for isn't counted by the section.
            for import in section.into_imports() {
                import?;
                imports += 1;
            }
        }
    }
    Ok(imports)
}

/// The module with its import of [`EXIT`] replaced by [`HOST_EXIT`]; `None` if it has no such import.
fn redirect_exit(module: &[u8]) -> Result<Option<Vec<u8>>, wasmparser::BinaryReaderError> {
    let mut redirected = Module::new();
    let mut found = false;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let Payload::ImportSection(section) = &payload {
            let mut imports = ImportSection::new();
            for import in section.clone().into_imports() {
                let import = import?;
                let is_exit = (import.module, import.name) == (adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, EXIT);
                let (from, name) = if is_exit {
                    HOST_EXIT
                } else {
                    (import.module, import.name)
                };
                found |= is_exit;
                // A type that can't be encoded is none that a program needs; the encoder says what is wrong with it.
                let Ok(ty) = RoundtripReencoder.entity_type(import.ty) else {
                    return Ok(None);
                };
                imports.import(from, name, ty);
            }
            redirected.section(&imports);
        } else if let Some((id, range)) = payload.as_section() {
            let Some(data) = module.get(range) else { return Ok(None) };
            redirected.section(&RawSection { id, data });
        }
    }
    Ok(found.then(|| redirected.finish()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PROGRAM: &str = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (call $exit (i32.const 3))))"#;

    fn module(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn a_program_becomes_a_component() {
        let program = module(PROGRAM);
        assert!(is_program(&program));
        let component = adapt(&program).unwrap();
        assert!(component.starts_with(b"\0asm\x0d\0\x01\0"));
        assert!(component.len() as u64 <= program.len() as u64 + MAX_ADDED);
    }

    #[test]
    fn only_the_import_of_exit_is_replaced() {
        let program = module(PROGRAM);
        let redirected = redirect_exit(&program).unwrap().unwrap();
        let text = PROGRAM
            .replace("wasi_snapshot_preview1", HOST_EXIT.0)
            .replace(EXIT, HOST_EXIT.1);
        assert_eq!(redirected, module(&text));
        assert_eq!(redirect_exit(&module(&text)).unwrap(), None);
        assert!(redirect_exit(&program[..program.len() - 1]).is_err());
    }

    #[test]
    fn a_program_has_a_thousand_imports_at_most() {
        let with = |imports: usize| {
            let import = r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#;
            let imports = import.repeat(imports);
            adapt(&module(&format!(
                r#"(module {imports} (memory (export "memory") 1) (func (export "_start")))"#
            )))
        };
        assert!(with(1_000).is_ok());
        assert_eq!(
            with(1_001).unwrap_err(),
            "it can't be adapted: it has 1001 imports, and a program can have 1000"
        );
    }

    #[test]
    fn other_modules_are_no_programs() {
        for text in ["(module)", r#"(module (func (export "_initialize")))"#] {
            assert!(!is_program(&module(text)), "{text}");
        }
        assert!(!is_program(b"\0asm\x01\0\0\0\x07\xff"));
    }

    #[test]
    fn what_the_adapter_lacks_is_named() {
        let text = PROGRAM.replace("wasi_snapshot_preview1", "wasi_unstable");
        let error = adapt(&module(&text)).unwrap_err();
        assert!(error.contains("wasi_unstable"), "{error}");
        assert!(adapt(b"\0asm\x01\0\0\0\x07\xff").is_err());
    }

    fn locked_version(name: &str) -> String {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
        let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
        after.split('"').next().unwrap().to_owned()
    }

    /// The adapter calls the host as the engine of its version expects it.
    #[test]
    fn the_adapter_has_the_version_of_the_engine() {
        assert_eq!(
            locked_version("wasi-preview1-component-adapter-provider"),
            locked_version("wasmtime")
        );
    }

    /// Otherwise a newer encoder's components would be taken for those of an older one that are in the cache.
    #[test]
    fn the_encoder_has_the_version_that_is_locked() {
        assert_eq!(ENCODER, locked_version("wit-component"));
    }
}
