//! Reads the imports and exports of a component from its types.

use serde::Serialize;
use wasmtime::component::Component;

use super::component::{Digest, Kind, kind, program_export};
use crate::sandbox::contract::{INTERFACE, TYPED, exports_functions, is_run, toolchain_exports};
use crate::untrusted::Untrusted;

/// What is known about a component without running it.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// The ways in which it is tools; empty if it isn't a plugin.
    pub contracts: Vec<&'static str>,
    /// The export that makes it a program, if it is one.
    pub command: Option<Untrusted>,
    pub imports: Vec<Import>,
    pub exports: Vec<Untrusted>,
    /// The exports that are no tools because a toolchain uses them at build time, and what for.
    pub toolchain_exports: Vec<(Untrusted, &'static str)>,
    /// Why this host can't link it.
    pub problem: Option<Untrusted>,
}

/// An interface that a component imports.
#[derive(Clone, Debug, Serialize)]
pub struct Import {
    pub name: Untrusted,
    /// What the import lets the component do, in plain words.
    pub meaning: &'static str,
}

pub(in crate::sandbox) fn inspect(
    component: &Component,
    digest: Digest,
    bytes: &[u8],
    problem: Option<Untrusted>,
) -> Inspection {
    let engine = component.engine();
    let imports = component
        .component_type()
        .imports(engine)
        .map(|(name, _)| Import::named(name))
        .collect();
    let exports = export_names(component);
    let is_dynamic = exports.iter().any(|name| name.raw() == INTERFACE);
    let ways = [(INTERFACE, is_dynamic), (TYPED, exports_functions(component))];
    let contracts = ways
        .into_iter()
        .filter_map(|(way, is_used)| is_used.then_some(way))
        .collect();
    let command = exports.iter().find(|name| is_run(name.raw())).cloned();
    // What was adapted exports another name than the file.
    let (command, exports) = match (command, kind(bytes)) {
        (Some(_), Ok(Kind::CoreModule)) => (Some(program_export(true).into()), vec![program_export(true).into()]),
        (command, _) => (command, exports),
    };
    Inspection {
        digest: digest.to_string(),
        size: bytes.len() as u64,
        contracts,
        command,
        imports,
        exports,
        toolchain_exports: toolchain_exports(component),
        problem,
    }
}

pub(in crate::sandbox) fn export_names(component: &Component) -> Vec<Untrusted> {
    component
        .component_type()
        .exports(component.engine())
        .map(|(name, _)| Untrusted::from(name))
        .collect()
}

impl Import {
    fn named(name: &str) -> Self {
        let interface = name.split_once('@').map_or(name, |(interface, _)| interface);
        Self {
            name: name.into(),
            meaning: meaning(interface),
        }
    }
}

fn meaning(interface: &str) -> &'static str {
    match interface {
        "wasi:http/outgoing-handler" => "send HTTP requests",
        "wasi:http/types" => "build HTTP requests and read answers",
        "wasi:config/store" => "read its configuration",
        "wasi:keyvalue/store" => "keep data between calls",
        "wasi:logging/logging" => "write log lines",
        "wasi:random/random" => "get secure random bytes",
        "wasi:random/insecure" | "wasi:random/insecure-seed" => "get random numbers",
        "wasi:clocks/wall-clock" => "read the date and time",
        "wasi:clocks/monotonic-clock" => "measure time and wait",
        "wasi:cli/environment" => "read environment variables and arguments",
        "wasi:cli/stdout" | "wasi:cli/stderr" => "print",
        "wasi:cli/stdin" => "read standard input",
        "wasi:cli/exit" => "end its own call",
        name if name.starts_with("wasi:cli/terminal") => "ask whether it writes to a terminal",
        "wasi:filesystem/types" | "wasi:filesystem/preopens" => "open files",
        "wasi:io/error" | "wasi:io/poll" | "wasi:io/streams" => "move bytes and wait",
        name if name.starts_with("wasi:sockets/") => "open network connections",
        _ => "unknown to this host",
    }
}
