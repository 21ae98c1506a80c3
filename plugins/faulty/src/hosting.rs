//! Misuse of host functions.

use std::io::Write;
use std::mem::forget;

use serde_json::{Value, json};
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

use crate::component::exports::cofferdam::tool::tools::Error;
use crate::logging::Level;
use crate::{Outcome, number, size, string, text};

pub fn sleep(input: &Value) -> Outcome {
    let ms = number(input, "ms", 0);
    monotonic_clock::subscribe_duration(ms.saturating_mul(1_000_000)).block();
    text(format!("slept {ms} ms"))
}

pub fn never_ready(input: &Value) -> Outcome {
    let timers: Vec<_> = (0..number(input, "count", 1))
        .map(|_| monotonic_clock::subscribe_duration(u64::MAX))
        .collect();
    wasip2::io::poll::poll(&timers.iter().collect::<Vec<_>>());
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
    let hold = match string(input, "kind", "fields") {
        "bodies" => hold_body,
        "methods" => hold_method,
        "authorities" => hold_authority,
        "paths" => hold_path,
        "schemes" => hold_scheme,
        "everything" => hold_everything,
        "trailers" => return hold_trailers(input),
        _ => hold_fields,
    };
    let held: usize = (0..number(input, "count", 1)).map(|_| hold(input)).sum();
    monotonic_clock::subscribe_duration(number(input, "hold_ms", 0) * 1_000_000).block();
    text(held.to_string())
}

/// Fills a handle with as much as the host accepts. Returns the number of bytes.
fn hold_fields(input: &Value) -> usize {
    const HEADER_BYTES: usize = 4096;
    let fields = Fields::new();
    let value = [b'x'; HEADER_BYTES];
    let taken = (0..number(input, "headers", 3)).filter(|_| fields.append("x", &value).is_ok());
    let held = taken.count() * HEADER_BYTES;
    forget(fields);
    held
}

fn hold_body(_: &Value) -> usize {
    let bytes = vec![b'x'; 64 * 1024];
    let mut held = 0;
    let request = OutgoingRequest::new(Fields::new());
    if let Ok(body) = request.body() {
        if let Ok(stream) = body.write() {
            while let Ok(room @ 1..) = stream.check_write() {
                let room = usize::try_from(room).unwrap_or(usize::MAX);
                let piece = bytes.get(..room).unwrap_or(&bytes);
                if stream.write(piece).is_err() {
                    break;
                }
                held += piece.len();
            }
            forget(stream);
        }
        forget(body);
    }
    forget(request);
    held
}

/// Everything one handle can hold: headers with tiny values (which cost the host most), a path, a body and trailers.
fn hold_everything(_: &Value) -> usize {
    const VALUES: usize = 390;
    let fields = || {
        let fields = Fields::new();
        let set = fields.set("a", &vec![vec![b'v']; VALUES]);
        (fields, set.map_or(0, |()| VALUES))
    };
    let (headers, in_headers) = fields();
    let request = OutgoingRequest::new(headers);
    let path = "/".repeat(8 * 1024);
    let in_path = request.set_path_with_query(Some(&path)).map_or(0, |()| path.len());
    let mut in_body = 0;
    let mut in_trailers = 0;
    if let Ok(body) = request.body() {
        if let Ok(stream) = body.write() {
            while let Ok(room @ 1..) = stream.check_write() {
                let piece = vec![b'x'; usize::try_from(room).unwrap_or(0)];
                if stream.write(&piece).is_err() {
                    break;
                }
                in_body += piece.len();
            }
        }
        let (trailers, taken) = fields();
        if OutgoingBody::finish(body, Some(trailers)).is_ok() {
            in_trailers = taken;
        }
    }
    forget(request);
    in_headers + in_path + in_body + in_trailers
}

/// Uses the headers of one request as the trailers of many, so that each has a copy.
fn hold_trailers(input: &Value) -> Outcome {
    let fields = Fields::new();
    let values = vec![Vec::new(); 400];
    if fields.set("a", &values).is_err() {
        return text("refused");
    }
    let first = OutgoingRequest::new(fields);
    let mut copies = 0;
    for _ in 0..number(input, "count", 1) {
        let request = OutgoingRequest::new(Fields::new());
        if let Ok(body) = request.body() {
            copies += u64::from(OutgoingBody::finish(body, Some(first.headers())).is_ok());
        }
        forget(request);
    }
    text(copies.to_string())
}

fn hold_method(_: &Value) -> usize {
    hold_part(|request, text| request.set_method(&Method::Other(text.to_owned())))
}

fn hold_authority(_: &Value) -> usize {
    hold_part(|request, text| request.set_authority(Some(text)))
}

fn hold_scheme(_: &Value) -> usize {
    hold_part(|request, text| request.set_scheme(Some(&Scheme::Other(text.to_owned()))))
}

fn hold_path(_: &Value) -> usize {
    hold_part(|request, text| request.set_path_with_query(Some(&format!("/{text}"))))
}

/// Sets a part of a request to the longest text the host accepts: 1 MiB, half of that, and so on.
fn hold_part(set: impl Fn(&OutgoingRequest, &str) -> Result<(), ()>) -> usize {
    let request = OutgoingRequest::new(Fields::new());
    let long = "A".repeat(1 << 20);
    let lengths = (0..=20).map(|halved| long.len() >> halved);
    let held = lengths
        .into_iter()
        .find(|length| set(&request, &long[..*length]).is_ok());
    forget(request);
    held.unwrap_or(0)
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
