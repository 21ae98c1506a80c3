//! Components that are none, or not for long.

use cofferdam_tests::{WatGuest, WatTool, component};

/// A component that does nothing wrong.
pub(crate) fn good() -> Vec<u8> {
    WatGuest::named("misdeed").build()
}

/// What every component begins with.
const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

fn section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend_from_slice(content);
}

pub(crate) fn spoiled(how: &str) -> Vec<u8> {
    match how {
        "none" => Vec::new(),
        "random" => {
            let mut bytes = HEADER.to_vec();
            let mut state = 1_u64;
            bytes.extend(
                std::iter::repeat_with(|| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    u8::try_from(state >> 56).unwrap()
                })
                .take(100_000),
            );
            bytes
        }
        "truncated" => {
            let mut bytes = good();
            bytes.truncate(bytes.len() / 2);
            bytes
        }
        "core module" => wat::parse_str("(module)").unwrap(),
        "oversized" => {
            // A section of its own that means nothing.
            let mut bytes = good();
            let mut nothing = vec![1, b'x'];
            nothing.resize(2 << 20, 0);
            section(&mut bytes, 0, &nothing);
            bytes
        }
        // Thousands of functions with long bodies, different each time, so that no cache has it.
        "slow" => {
            let body = "(local.set 0 (i32.mul (i32.add (local.get 0) (i32.const 7)) (local.get 0)))".repeat(200);
            let functions: String = (0..2000).map(|_| format!("(func (param i32) {body})")).collect();
            let tool = WatTool {
                description: format!("{:?}", std::time::SystemTime::now()),
                ..WatTool::named("misdeed")
            };
            WatGuest::new([tool]).items(&functions).build()
        }
        "made of C" => component(include_bytes!("../guests/slots.wasm").to_vec()),
        // A plugin of another host, which imports that host's functions and exports its own.
        "made for another host" => {
            let text = r#"(module
                (import "extism:host/env" "input_length" (func (result i64)))
                (memory (export "memory") 1)
                (func (export "call") (result i32) (i32.const 0)))"#;
            wat::parse_str(text).unwrap()
        }
        // Deeper than a text of it can be read.
        "deeply nested" => (0..2_000).fold(HEADER.to_vec(), |inner, _| {
            let mut outer = HEADER.to_vec();
            section(&mut outer, 4, &inner);
            outer
        }),
        "thousands of functions" => WatGuest::named("misdeed").items(&"(func)".repeat(20_000)).build(),
        "too many functions" => {
            let text = format!("(component (core module {}))", "(func)".repeat(1_000_001));
            wat::parse_str(text).unwrap()
        }
        "thousands of types" => {
            let types: String = (0..20_000)
                .map(|n| format!("(type (record (field \"f{n}\" u8)))"))
                .collect();
            wat::parse_str(format!("(component {types})")).unwrap()
        }
        "thousands of imports" => {
            let imports: String = (0..20_000).map(|n| format!("(import \"f{n}\" (func))")).collect();
            wat::parse_str(format!("(component {imports} (export \"f\" (func 0)))")).unwrap()
        }
        // Each doubles the one before: a type of 2^100 parts.
        "an exponential type" => {
            let types: String = (1..100)
                .map(|n| format!("(type $t{n} (tuple $t{0} $t{0}))", n - 1))
                .collect();
            wat::parse_str(format!("(component (type $t0 (tuple u8 u8)) {types})")).unwrap()
        }
        "unknown import" => {
            let text = r#"(component
                (import "acme:secrets/vault@1.0.0" (instance (export "open" (func))))
                (type $t (instance))
                (instance (export "cofferdam:tool/tools@0.1.0")))"#;
            wat::parse_str(text).unwrap()
        }
        other => panic!("`bytes = {other}` is not known"),
    }
}
