//! Handwritten components with typed exports.

use wasm_encoder::{ComponentSection as _, CustomSection};
use wit_parser::Resolve;

use crate::wat_guest::encode;

/// A component of `wit`, whose world is `guest`. `functions` are the exported core functions, and whatever else the module has.
/// There is a memory of `pages` pages, and an allocator that never frees.
pub fn typed_component(wit: &str, pages: u32, functions: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (memory (export "memory") {pages})
            (global $heap (mut i32) (i32.const 65536))
            (func $alloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                (global.set $heap (i32.add (local.get $at) (local.get 3)))
                (block $fits
                    (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
                    (drop (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get 3) (i32.const 65536))))))
                (local.get $at))
            {functions})"#
    );
    let module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"));
    encode(module, Resolve::default(), wit)
}

/// The component with a custom section at its end.
pub fn with_section(mut component: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    let section = CustomSection {
        name: name.into(),
        data: data.into(),
    };
    section.append_to_component(&mut component);
    component
}
