//! All tools by name, with an accurate description and the schema of their input.

use serde_json::Value;

use crate::{Outcome, computing, filing, hosting, keeping, network, replies};

/// One tool.
pub struct Misdeed {
    pub name: &'static str,
    pub description: &'static str,
    /// The properties of the input's schema, as JSON text.
    pub properties: &'static str,
    pub required: &'static [&'static str],
    /// Declared in the annotations. The host can then retry the call after `unavailable`.
    pub idempotent: bool,
    pub run: fn(&Value) -> Outcome,
}

const fn misdeed(name: &'static str, description: &'static str, run: fn(&Value) -> Outcome) -> Misdeed {
    Misdeed {
        name,
        description,
        properties: "{}",
        required: &[],
        idempotent: false,
        run,
    }
}

impl Misdeed {
    const fn takes(self, properties: &'static str, required: &'static [&'static str]) -> Self {
        Self {
            properties,
            required,
            ..self
        }
    }

    const fn idempotent(self) -> Self {
        Self {
            idempotent: true,
            ..self
        }
    }
}

const BYTES: &str = r#"{ "bytes": { "type": "integer", "minimum": 0, "description": "how many" } }"#;
const MESSAGE: &str = r#"{ "message": { "type": "string", "description": "what it says" } }"#;
const UNAVAILABLE: &str = r#"{
    "message": { "type": "string", "description": "what it says" },
    "retry_after_ms": { "type": "integer", "minimum": 0, "description": "when to try again" },
    "until_unix_ms": { "type": "integer", "minimum": 0, "description": "from then on it answers \"available\"" }
}"#;
pub const MISDEEDS: &[Misdeed] = &[
    // Computation.
    misdeed("loop_forever", "Computes without end and without a host call.", computing::loop_forever),
    misdeed("recurse", "Calls itself until the stack overflows.", computing::recurse),
    misdeed("panic", "Panics with a message on stderr.", computing::panic),
    misdeed("unreachable", "Executes the instruction `unreachable`.", computing::unreachable),
    misdeed("exit", "Exits instead of answering.", computing::exit)
        .takes(r#"{ "code": { "type": "integer", "minimum": 0, "maximum": 255, "default": 1 } }"#, &[]),
    misdeed("eat_memory", "Allocates memory in steps, and writes to it, until it is refused.", computing::eat_memory).takes(
        r#"{
            "step": { "type": "integer", "minimum": 1, "default": 1048576, "description": "bytes at a time" },
            "graceful": { "type": "boolean", "default": false, "description": "answers with what it got instead of aborting" }
        }"#,
        &[],
    ),
    misdeed("work", "Computes for a while: a hash, Fibonacci numbers or the parse of a text.", computing::work).takes(
        r#"{
            "what": { "enum": ["sha256", "fib", "parse"], "default": "fib" },
            "size": { "type": "integer", "minimum": 0, "description": "bytes, index or items" }
        }"#,
        &["size"],
    ),
    misdeed("state", "Leaves traces in all its memory, and answers with what it found of such: 1, unless state survives calls.", computing::state)
        .takes(r#"{ "twice": { "type": "boolean", "default": false, "description": "looks again, and finds its own" } }"#, &[]),
    // The host's functions.
    misdeed("sleep", "Waits in a host call, then answers.", hosting::sleep)
        .takes(r#"{ "ms": { "type": "integer", "minimum": 0 } }"#, &["ms"]),
    misdeed("never_ready", "Waits in a host call for timers of five centuries.", hosting::never_ready)
        .takes(r#"{ "count": { "type": "integer", "minimum": 1, "default": 1, "description": "how many" } }"#, &[]),
    misdeed("spin_clock", "Reads the clock over and over: cheap host calls, without end or as often as told.", hosting::spin_clock)
        .takes(r#"{ "count": { "type": "integer", "minimum": 0 } }"#, &[]),
    misdeed("leak_handles", "Creates host resources and drops none, without end or as many as told.", hosting::leak_handles).takes(
        r#"{
            "count": { "type": "integer", "minimum": 0 },
            "kind": { "enum": ["pollable", "fields"], "default": "pollable" }
        }"#,
        &[],
    ),
    misdeed("hoard", "Fills parts of requests that it never sends, and holds them for a while.", hosting::hoard).takes(
        r#"{
            "kind": { "enum": ["fields", "bodies", "methods", "authorities", "paths", "schemes", "everything", "trailers"], "default": "fields" },
            "count": { "type": "integer", "minimum": 0, "default": 1 },
            "headers": { "type": "integer", "minimum": 0, "default": 3 },
            "hold_ms": { "type": "integer", "minimum": 0, "maximum": 60000, "default": 0 }
        }"#,
        &[],
    ),
    misdeed("random", "Asks the host for random bytes, once or often, and answers with how many came last.", hosting::random)
        .takes(r#"{ "bytes": { "type": "integer", "minimum": 0 }, "count": { "type": "integer", "minimum": 0 } }"#, &["bytes"]),
    misdeed("log", "Logs a line at every level through wasi:logging, as often as told.", hosting::log).takes(
        r#"{
            "context": { "type": "string", "default": "" },
            "message": { "type": "string", "default": "" },
            "times": { "type": "integer", "minimum": 0, "default": 1 }
        }"#,
        &[],
    ),
    misdeed("chance", "Answers with what the clocks and the random numbers say.", hosting::chance),
    misdeed("keep", "Does one thing with the data it keeps between calls, and answers with what came of it.", keeping::keep).takes(
        r#"{
            "do": { "enum": ["get", "set", "delete", "exists", "keys", "fill", "again"], "default": "get" },
            "store": { "type": "string", "default": "" },
            "key": { "type": "string", "default": "key" },
            "bytes": { "type": "integer", "minimum": 0, "default": 1 },
            "count": { "type": "integer", "minimum": 0, "default": 0 }
        }"#,
        &[],
    ),
    misdeed("files", "Does one thing with a file or folder, and answers with what came of it.", filing::files).takes(
        r#"{
            "do": {
                "enum": ["read", "write", "fill", "grow", "create", "fill_nameless", "hold", "streams", "sync", "list_again", "listings", "gap", "folder", "remove", "rename", "hard_link", "symlink", "list"],
                "default": "read"
            },
            "path": { "type": "string" },
            "to": { "type": "string", "default": "" },
            "text": { "type": "string", "default": "" },
            "bytes": { "type": "integer", "minimum": 0, "default": 0 },
            "count": { "type": "integer", "minimum": 0, "default": 1 }
        }"#,
        &["path"],
    ),
    misdeed("read_env", "Answers with all it sees of its environment: variables, arguments, preopened folders.", hosting::read_env),
    misdeed("read_config", "Answers with a value of its configuration.", hosting::read_config)
        .takes(r#"{ "key": { "type": "string" } }"#, &["key"]),
    misdeed("long_key", "Asks for a value of its configuration by a name of this length.", hosting::long_key).takes(BYTES, &["bytes"]),
    misdeed("flood_log", "Writes lines to stdout or stderr, then answers.", hosting::flood_log).takes(
        r#"{
            "bytes": { "type": "integer", "minimum": 0 },
            "stream": { "enum": ["stdout", "stderr"], "default": "stdout" }
        }"#,
        &["bytes"],
    ),
    misdeed("invalid_utf8_stdout", "Writes bytes to stdout that are no UTF-8.", hosting::invalid_utf8_stdout),
    // The network.
    misdeed("fetch", "Sends one HTTP request; answers with status and body, or with the name of the error.", network::fetch).takes(
        r#"{
            "url": { "type": "string" },
            "method": { "type": "string", "default": "GET" },
            "headers": { "type": "object", "additionalProperties": { "type": "string" } }
        }"#,
        &["url"],
    ),
    misdeed("fetch_raw", "Sends one HTTP request; answers with every byte that came back, in hexadecimal, also if the answer breaks off.", network::fetch_raw).takes(
        r#"{
            "url": { "type": "string" },
            "method": { "type": "string", "default": "GET" },
            "headers": { "type": "object", "additionalProperties": { "type": "string" } },
            "between_bytes_ms": { "type": "integer", "minimum": 1 }
        }"#,
        &["url"],
    ),
    misdeed("many_http", "Sends several HTTP requests, one after the other; answers with what came of each.", network::many_http)
        .takes(r#"{ "url": { "type": "string" }, "count": { "type": "integer", "minimum": 0 } }"#, &["url", "count"]),
    misdeed("upload", "Sends one HTTP request with a body; answers with what came of it.", network::upload).takes(
        r#"{
            "url": { "type": "string" },
            "method": { "type": "string", "default": "POST" },
            "bytes": { "type": "integer", "minimum": 0 },
            "announced": { "type": "integer", "minimum": 0, "description": "the `content-length` it sends" },
            "before_handle": { "type": "boolean", "description": "whether it writes the body before the request is sent" }
        }"#,
        &["url", "bytes"],
    ),
    misdeed("sockets", "Resolves `localhost` and connects to a port of 127.0.0.1 past the HTTP grants.", network::sockets)
        .takes(r#"{ "port": { "type": "integer", "minimum": 1, "maximum": 65535 } }"#, &["port"]),
    // Answers.
    misdeed("echo", "Answers with its input.", replies::echo).idempotent(),
    misdeed("fail", "Fails for good.", replies::fail).takes(MESSAGE, &[]),
    misdeed("reject_input", "Rejects any input.", replies::reject_input).takes(MESSAGE, &[]),
    misdeed("unavailable", "Is unavailable, and says it may be called again.", replies::unavailable)
        .takes(UNAVAILABLE, &[])
        .idempotent(),
    misdeed("unavailable_once_only", "Is unavailable, and does not say it may be called again.", replies::unavailable)
        .takes(UNAVAILABLE, &[]),
    misdeed("big_output", "Answers with a long text.", replies::big_output).takes(BYTES, &["bytes"]),
    misdeed("bad_json", "Answers with JSON that is none.", replies::bad_json),
    misdeed("deep_json", "Answers with nested JSON arrays.", replies::deep_json)
        .takes(r#"{ "depth": { "type": "integer", "minimum": 1, "maximum": 10000000 } }"#, &["depth"]),
    misdeed("empty_output", "Succeeds and says nothing.", replies::empty_output),
    misdeed("image", "Answers with a picture of one pixel.", replies::image),
    misdeed("bad_image", "Answers with a picture of an unknown type that is none.", replies::bad_image),
    misdeed("escape_sequences", "Answers with, and logs, text that would steer a terminal.", replies::escape_sequences),
];
