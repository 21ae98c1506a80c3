//! Core modules that were made for another host, recognised by what they import.

use wasmparser::{Parser, Payload};

/// A host that isn't this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What such a module is.
    pub what: &'static str,
    /// How to make a component instead.
    pub instead: &'static str,
}

const EXTISM: Foreign = Foreign {
    what: "an Extism plugin",
    instead: "Extism's functions have no types that a host could read: export the same functions from a component; `cofferdam tool new` makes a project for one",
};
const WASM_BINDGEN: Foreign = Foreign {
    what: "made for JavaScript by wasm-bindgen",
    instead: "build it for wasm32-wasip2, without wasm-bindgen; `cofferdam tool new NAME --lang rust` makes a project that does",
};
const GO_FOR_JAVASCRIPT: Foreign = Foreign {
    what: "made by Go for JavaScript (GOOS=js)",
    instead: "build it with GOOS=wasip1, as a program; `cofferdam tool new NAME --lang go` makes a project that does",
};
const EMSCRIPTEN: Foreign = Foreign {
    what: "made by Emscripten for JavaScript",
    instead: "build it for WASI with zig or the WASI SDK; `cofferdam tool new NAME --lang c` makes a project that does",
};

/// Whom a core module was made for, if it is known. Reads no more than the list of imports.
pub(super) fn recognise(module: &[u8]) -> Option<Foreign> {
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::ImportSection(imports) => {
                let mut imports = imports.into_imports().map_while(Result::ok);
                return imports.find_map(|import| match (import.module, import.name) {
                    (module, _) if module.starts_with("extism:host/") => Some(EXTISM),
                    ("__wbindgen_placeholder__" | "__wbindgen_externref_xform__" | "wbg", _) => Some(WASM_BINDGEN),
                    ("gojs" | "go", _) => Some(GO_FOR_JAVASCRIPT),
                    ("env", name) if name.starts_with("emscripten_") || name.starts_with("_emscripten_") => {
                        Some(EMSCRIPTEN)
                    }
                    _ => None,
                });
            }
            Payload::CodeSectionStart { .. } => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn modules_of_other_hosts_are_recognised() {
        for (import, found) in [
            ("\"extism:host/env\" \"input_length\"", Some(EXTISM)),
            ("\"wbg\" \"__wbg_log_1\"", Some(WASM_BINDGEN)),
            ("\"gojs\" \"runtime.wasmExit\"", Some(GO_FOR_JAVASCRIPT)),
            ("\"env\" \"emscripten_resize_heap\"", Some(EMSCRIPTEN)),
            ("\"env\" \"log\"", None),
            ("\"wasi_snapshot_preview1\" \"fd_write\"", None),
        ] {
            let text = format!("(module (import \"env\" \"first\" (func)) (import {import} (func)))");
            assert_eq!(recognise(&wat::parse_str(text).unwrap()), found, "{import}");
        }
        assert_eq!(recognise(b"\0asm\x01\0\0\0"), None);
        assert_eq!(recognise(b"\0asm\x01\0\0\0\x02\xff"), None);
    }
}
