//! Misuse of processor and memory.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Outcome, size, string, text};

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
        // The addition after the call prevents a tail call, which would be a loop.
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

/// Pure computation. The host's benchmark measures the cost of interrupting it.
pub fn work(input: &Value) -> Outcome {
    fn fib(number: u64) -> u64 {
        match number {
            0 | 1 => number,
            _ => fib(number - 1) + fib(number - 2),
        }
    }
    let size = size(input, "size", 0);
    let result = match string(input, "what", "fib") {
        "sha256" => Sha256::digest(black_box(vec![7_u8; size]))[0].into(),
        "parse" => {
            let item = r#"{"name":"Ångström","values":[1,-2.5,3e7,null,true],"nested":{"text":"a \"quoted\" line\n"}}"#;
            let text = format!("[{}]", vec![item; size].join(","));
            serde_json::from_str::<Value>(black_box(&text))
                .map_or(0, |parsed| parsed.as_array().map_or(0, Vec::len) as u64)
        }
        _ => fib(black_box(size as u64)),
    };
    text(result.to_string())
}

/// Counts the traces that earlier calls left in the same memory, plus one for this call.
pub fn state(input: &Value) -> Outcome {
    let found = leave_traces();
    let again = input["twice"].as_bool().unwrap_or(false);
    text((if again { leave_traces() } else { found }).to_string())
}

fn leave_traces() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    static MARKS: [AtomicU64; 8_192] = [const { AtomicU64::new(0) }; 8_192];
    const PAGES: usize = 2;
    let marked = MARKS
        .iter()
        .filter(|mark| mark.swap(u64::MAX, Ordering::Relaxed) != 0)
        .count();
    let pages = core::arch::wasm32::memory_grow::<0>(PAGES);
    let begin = pages.saturating_mul(65_536) as *mut u8;
    let stale = match pages {
        usize::MAX => 0,
        // SAFETY: `memory.grow` above created these pages, and nothing else refers to them.
        _ => unsafe {
            let fresh = core::slice::from_raw_parts_mut(begin, PAGES * 65_536);
            let stale = fresh.iter().filter(|byte| **byte != 0).count();
            fresh.fill(0x5a);
            black_box(fresh);
            stale
        },
    };
    CALLS.fetch_add(1, Ordering::Relaxed) + 1 + (marked + stale) as u64
}
