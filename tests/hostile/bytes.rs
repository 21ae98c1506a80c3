//! Components that are none, or not for long.

use cofferdam_tests::{WatGuest, WatTool, component};
use wasm_encoder::{ComponentSection as _, RawSection};

/// A component that does nothing wrong.
pub(crate) fn good() -> Vec<u8> {
    WatGuest::named("misdeed").build()
}

/// What every component begins with.
const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

fn section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    RawSection { id, data: content }.append_to_component(bytes);
}

/// A component that offers a tool, and has further items at its root.
fn beside_a_good_one(items: &str) -> Vec<u8> {
    const EMPTY: &[u8] = &[4, 8, 0, b'a', b's', b'm', 0x0d, 0, 1, 0];
    let text = format!(
        r#"(component
            (component)
            (instance $good (instantiate 0))
            (export "cofferdam:tool/tools@0.1.0" (instance $good "cofferdam:tool/tools@0.1.0"))
            {items})"#
    );
    let bytes = wat::parse_str(text).unwrap();
    // The text format can't say what a nested component is made of in bytes, so one that is empty holds its place.
    let rest = bytes.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix(EMPTY));
    let mut whole = HEADER.to_vec();
    section(&mut whole, 4, &good());
    whole.extend_from_slice(rest.unwrap());
    whole
}

/// So many instances of one module.
fn instances(fields: &str, count: usize) -> String {
    let instances = "(core instance (instantiate $m))".repeat(count);
    format!("(core module $m {fields}) {instances}")
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
        // Programs for WASI 0.1, which are adapted before they are compiled.
        "program that needs another host" => {
            program(r#"(import "extism:host/env" "input_length" (func (result i64)))"#, "")
        }
        "program that breaks off" => {
            let mut bytes = program("", "");
            bytes.truncate(bytes.len() - 3);
            bytes
        }
        "program with types of its own" => {
            let mut bytes = program("", "");
            // What the adapter takes for a description of the world.
            section(&mut bytes, 0, b"\x0ecomponent-typeno description");
            bytes
        }
        "program with many imports" => {
            let import = r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#;
            program(&import.repeat(20_000), "")
        }
        "program with a large memory" => program("", r#"(memory (export "memory") 40000)"#),
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
            let functions: String = (0..4000).map(|_| format!("(func (param i32) {body})")).collect();
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
        // A few kilobytes: each layer makes two hundred instances of the one below.
        "millions of nested instances" => {
            let mut layers = "(component $c0)".to_owned();
            for layer in 1..=3 {
                let instances = "(instance (instantiate $c))".repeat(200);
                let below = layer - 1;
                layers.push_str(&format!(
                    "(component $c{layer} (alias outer 1 $c{below} (component $c)) {instances})"
                ));
            }
            beside_a_good_one(&format!("{layers} (instance (instantiate $c3))"))
        }
        "millions of passive segments" => {
            let segments = "(elem func $f)".repeat(90_000);
            beside_a_good_one(&instances(&format!("(func $f) {segments}"), 60))
        }
        // As much as is let through: it loads, and is called while others are.
        "as many passive segments as may be" => {
            let segments = "(elem func $f)".repeat(2_000);
            beside_a_good_one(&instances(&format!("(func $f) {segments}"), 60))
        }
        // Two bytes, far apart, in each of many memories that no instance has.
        "images full of nothing" => {
            let module = r#"(core module (memory 256) (data (i32.const 0) "x") (data (i32.const 16000000) "y"))"#;
            beside_a_good_one(&module.repeat(40))
        }
        // The same of tables: an element at the end fills what lies before it.
        "tables full of nothing" => {
            let table = "(table 1000000 funcref)".repeat(20);
            beside_a_good_one(&format!(
                "(core module {table} (func $f) (elem (i32.const 999999) func $f))"
            ))
        }
        // Twenty megabytes of `é` that the engine converts in one piece, whenever an instance is made.
        "a giant text between encodings" => {
            let receiver = r#"(component $receiver
                (core module $m (memory (export "memory") 700)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16))
                    (func (export "take") (param i32 i32)))
                (core instance $i (instantiate $m))
                (func (export "take") (param "text" string) (canon lift (core func $i "take")
                    (memory $i "memory") (realloc (func $i "realloc")) string-encoding=utf16)))"#;
            let sender = r#"(component $sender
                (import "take" (func $take (param "text" string)))
                (core module $memory (memory (export "memory") 330))
                (core instance $memory (instantiate $memory))
                (core func $take (canon lower (func $take) (memory $memory "memory") string-encoding=utf8))
                (core module $m
                    (import "memory" "memory" (memory 330))
                    (import "receiver" "take" (func $take (param i32 i32)))
                    (func $send (local $i i32)
                        (loop $next
                            (i32.store (local.get $i) (i32.const 0xa9c3a9c3))
                            (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 20971520))))
                        (call $take (i32.const 0) (i32.const 20971520)))
                    (start $send))
                (core instance (instantiate $m
                    (with "memory" (instance $memory))
                    (with "receiver" (instance (export "take" (func $take)))))))"#;
            beside_a_good_one(&format!(
                r#"{receiver} {sender}
                (instance $receiver (instantiate $receiver))
                (instance (instantiate $sender (with "take" (func $receiver "take"))))"#
            ))
        }
        "megabytes of names" => {
            let exports: String = (0..250)
                .map(|number| format!("(export \"n{number}{}\" (core module $m))", "n".repeat(90_000)))
                .collect();
            beside_a_good_one(&format!("(core module $m) {exports}"))
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

/// A core module that is a program, with these imports and further items.
fn program(imports: &str, items: &str) -> Vec<u8> {
    let memory = match items.contains("(memory") {
        true => "",
        false => r#"(memory (export "memory") 1)"#,
    };
    wat::parse_str(format!(
        r#"(module {imports} {memory} {items} (func (export "_start")))"#
    ))
    .unwrap()
}
