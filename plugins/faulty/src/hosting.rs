//! Misdeeds by way of the host's functions.

use std::io::Write;
use std::mem::forget;

use serde_json::{Value, json};
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{Fields, OutgoingRequest};

use crate::component::exports::cofferdam::tool::tools::Error;
use crate::logging::Level;
use crate::{Outcome, number, size, string, text};

pub fn sleep(input: &Value) -> Outcome {
    let ms = number(input, "ms", 0);
    monotonic_clock::subscribe_duration(ms.saturating_mul(1_000_000)).block();
    text(format!("slept {ms} ms"))
}

pub fn never_ready(_: &Value) -> Outcome {
    monotonic_clock::subscribe_duration(u64::MAX).block();
    text("the timer fired")
}

pub fn spin_clock(input: &Value) -> Outcome {
    let count = number(input, "count", u64::MAX);
    for _ in 0..count {
        monotonic_clock::now();
    }
    text(format!("read the clock {count} times"))
}

pub fn leak_handles(input: &Value) -> Outcome {
    let count = number(input, "count", u64::MAX);
    let fields = string(input, "kind", "pollable") == "fields";
    for _ in 0..count {
        if fields {
            forget(Fields::new());
        } else {
            forget(monotonic_clock::subscribe_duration(u64::MAX));
        }
    }
    text(format!("leaked {count} handles"))
}

pub fn hoard(input: &Value) -> Outcome {
    const HEADER_BYTES: usize = 4096;
    let bytes = vec![b'x'; 64 * 1024];
    let bodies = string(input, "kind", "fields") == "bodies";
    let mut held: u64 = 0;
    for _ in 0..number(input, "count", 1) {
        let fields = Fields::new();
        if bodies {
            let request = OutgoingRequest::new(fields);
            if let Ok(body) = request.body() {
                if let Ok(stream) = body.write() {
                    while let Ok(room @ 1..) = stream.check_write() {
                        let piece = bytes
                            .get(..usize::try_from(room).unwrap_or(usize::MAX))
                            .unwrap_or(&bytes);
                        if stream.write(piece).is_err() {
                            break;
                        }
                        held += piece.len() as u64;
                    }
                    forget(stream);
                }
                forget(body);
            }
            forget(request);
        } else {
            for _ in 0..number(input, "headers", 3) {
                if fields.append("x", &bytes[..HEADER_BYTES]).is_ok() {
                    held += HEADER_BYTES as u64;
                }
            }
            forget(fields);
        }
    }
    monotonic_clock::subscribe_duration(number(input, "hold_ms", 0) * 1_000_000).block();
    text(held.to_string())
}

pub fn random(input: &Value) -> Outcome {
    let mut bytes = Vec::new();
    for _ in 0..number(input, "count", 1) {
        bytes = wasip2::random::random::get_random_bytes(number(input, "bytes", 0));
    }
    text(format!("{} random bytes", bytes.len()))
}

pub fn read_env(_: &Value) -> Outcome {
    let variables: serde_json::Map<String, Value> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into()))
        .collect();
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let preopens = wasip2::filesystem::preopens::get_directories();
    let preopens: Vec<&String> = preopens.iter().map(|(_, path)| path).collect();
    crate::json(&json!({ "env": variables, "args": arguments, "preopens": preopens }))
}

pub fn read_config(input: &Value) -> Outcome {
    config_value(string(input, "key", ""))
}

pub fn long_key(input: &Value) -> Outcome {
    config_value(&"k".repeat(size(input, "bytes", 0)))
}

fn config_value(key: &str) -> Outcome {
    match support::config::value(key) {
        Ok(value) => crate::json(&json!({ "value": value })),
        Err(message) => Err(Error::Failed(message)),
    }
}

pub fn log(input: &Value) -> Outcome {
    let levels = [
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
        Level::Critical,
    ];
    let message = string(input, "message", "");
    for _ in 0..number(input, "times", 1) {
        for level in levels {
            crate::logging::log(level, string(input, "context", ""), message);
        }
    }
    text("logged")
}

pub fn chance(_: &Value) -> Outcome {
    let clock = wasip2::clocks::wall_clock::now();
    crate::json(&json!({
        "wall": [clock.seconds, u64::from(clock.nanoseconds)],
        "monotonic": [monotonic_clock::now(), monotonic_clock::now()],
        "random": wasip2::random::random::get_random_u64(),
        "insecure": wasip2::random::insecure::get_insecure_random_u64(),
        "seed": format!("{:?}", wasip2::random::insecure_seed::insecure_seed()),
    }))
}

pub fn flood_log(input: &Value) -> Outcome {
    let bytes = size(input, "bytes", 0);
    let mut stream: Box<dyn Write> = if string(input, "stream", "stdout") == "stderr" {
        Box::new(std::io::stderr())
    } else {
        Box::new(std::io::stdout())
    };
    let line = [[b'~'; 1023].as_slice(), b"\n"].concat();
    let mut left = bytes;
    while left > 0 {
        let part = &line[line.len() - left.min(line.len())..];
        if let Err(error) = stream.write_all(part) {
            return Err(Error::Failed(format!("{error} after {} bytes", bytes - left)));
        }
        left -= part.len();
    }
    text(format!("wrote {bytes} bytes"))
}

pub fn invalid_utf8_stdout(_: &Value) -> Outcome {
    match std::io::stdout().write_all(b"before \xff\xfe\xc3\x28 after\n") {
        Ok(()) => text("wrote it"),
        Err(error) => Err(Error::Failed(error.to_string())),
    }
}
