//! The contract `cofferdam:tool@0.1.0`, as generated from `wit/0.1.0`.

#![allow(missing_debug_implementations)]

wasmtime::component::bindgen!({
    path: "../wit/0.1.0",
    world: "plugin",
    exports: { default: async },
});

pub use exports::cofferdam::tool::tools::{Annotations, Content, Error, Image, Tool};

/// The interface that a component exports to be a plugin.
pub const INTERFACE: &str = "cofferdam:tool/tools@0.1.0";
