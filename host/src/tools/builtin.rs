//! The example plugins embedded in the binary, `builtin:NAME` in a configuration. `build.rs` compiles them from `plugins/`.

/// The names that [`builtin`] knows.
pub const BUILTIN_NAMES: [&str; 4] = ["calculator", "weather", "notes", "faulty"];

/// The bytes of the embedded component `name`, or `None` if the name is unknown.
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    match name {
        "calculator" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/calculator.wasm"))),
        "weather" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/weather.wasm"))),
        "notes" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/notes.wasm"))),
        "faulty" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/faulty.wasm"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_name_is_a_component() {
        for name in BUILTIN_NAMES {
            let bytes = builtin(name).unwrap_or_default();
            // The magic number and the component layer's version, which differs from a core module's.
            assert!(bytes.starts_with(b"\0asm\x0d\x00\x01\x00"), "{name}");
        }
        assert!(builtin("nonesuch").is_none());
    }
}
