//! Misdeeds that need nothing but a processor and memory.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::{Outcome, size, text};

pub fn loop_forever(_: &Value) -> Outcome {
    forever()
}

pub fn forever() -> ! {
    let mut round = 0_u64;
    loop {
        round = black_box(round.wrapping_add(1));
    }
}

pub fn recurse(_: &Value) -> Outcome {
    fn deeper(depth: u64) -> u64 {
        // The addition after the call keeps it from becoming a loop.
        black_box(if black_box(true) { deeper(depth + 1) } else { depth }) + 1
    }
    text(deeper(0).to_string())
}

pub fn panic(_: &Value) -> Outcome {
    crash()
}

#[allow(clippy::panic, reason = "the misdeed")]
pub fn crash() -> ! {
    panic!("a deliberate panic")
}

pub fn unreachable(_: &Value) -> Outcome {
    core::arch::wasm32::unreachable()
}

pub fn exit(input: &Value) -> Outcome {
    std::process::exit(i32::try_from(size(input, "code", 1)).unwrap_or(1))
}

pub fn eat_memory(input: &Value) -> Outcome {
    let step = size(input, "step", 1 << 20);
    let graceful = input["graceful"].as_bool().unwrap_or(false);
    let mut eaten = Vec::new();
    loop {
        let mut block = Vec::<u8>::new();
        if graceful && (block.try_reserve_exact(step).is_err() || eaten.try_reserve(1).is_err()) {
            let bytes = eaten.len() * step;
            drop(eaten);
            return crate::json(&json!({ "bytes": bytes }));
        }
        block.resize(step, 1);
        eaten.push(black_box(block));
    }
}

pub fn state(_: &Value) -> Outcome {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    text((CALLS.fetch_add(1, Ordering::Relaxed) + 1).to_string())
}
