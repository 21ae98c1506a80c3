//! The wasm backtrace of a trap, for the operator: one frame a line, with names as the guest's author wrote them.
//!
//! A guest chooses its names, and a name of a few hundred bytes can demangle to gigabytes. Names are therefore demangled here,
//! into a bounded text, and not by the engine.

use std::fmt::Write as _;

use cpp_demangle::{BorrowedSymbol, DemangleOptions, ParseOptions};
use wasmtime::WasmBacktrace;

use crate::untrusted::display_untrusted;

/// Frames that are read, and how many of the guest's own and of its runtime are shown.
const MAX_FRAMES: usize = 200;
const MAX_OWN: usize = 20;
const MAX_RUNTIME: usize = 10;

/// The longest name that is demangled, and the longest that is shown.
const MAX_MANGLED_BYTES: usize = 1_000;
const MAX_NAME_CHARS: usize = 200;

/// How deep a C++ name can be nested.
const MAX_CPP_DEPTH: u32 = 48;

/// First parts of the names that languages' libraries have. These frames stand above a panic and below `main`, and say little.
const RUNTIME: [&str; 18] = [
    "abort",
    "alloc",
    "cabi_realloc",
    "core",
    "dlmalloc",
    "panic_abort",
    "panic_unwind",
    "runtime",
    "rust_begin_unwind",
    "rust_panic",
    "std",
    "syscall",
    "wasi_snapshot_preview1",
    "wasip1",
    "wasip2",
    "wasip3",
    "wit_bindgen",
    "wit_bindgen_rt",
];

struct Line {
    is_own: bool,
    text: String,
}

/// The frames, the guest's own first, each on a line of its own after a line break. Each keeps its number, so that the order of the
/// calls can be seen.
pub(super) fn display(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let lines = backtrace
        .frames()
        .iter()
        .take(MAX_FRAMES)
        .enumerate()
        .map(|(number, frame)| {
            let name = frame
                .func_name()
                .map_or_else(|| format!("function {}", frame.func_index()), demangled);
            Line {
                is_own: !is_runtime(&name),
                text: format!(
                    "\n  {number}: {name} at {:#x}",
                    frame.module_offset().unwrap_or_default()
                ),
            }
        });
    let (own, runtime): (Vec<Line>, Vec<Line>) = lines.partition(|line| line.is_own);
    let mut shown = String::new();
    for (lines, most) in [(&own, MAX_OWN), (&runtime, MAX_RUNTIME)] {
        lines.iter().take(most).for_each(|line| shown.push_str(&line.text));
    }
    let rest = backtrace.frames().len() - own.len().min(MAX_OWN) - runtime.len().min(MAX_RUNTIME);
    if rest > 0 {
        let _ = write!(shown, "\n  … and {rest} more frames");
    }
    shown
}

/// Whether the name belongs to a language's runtime: `std::…`, `<alloc::… as …>`, `__rust_…`.
fn is_runtime(name: &str) -> bool {
    let name = name.trim_start_matches(['<', '&', '*']).trim_start_matches("mut ");
    let first = name.split([':', '<', ' ', '.', '(']).next().unwrap_or_default();
    first.starts_with("__") || RUNTIME.contains(&first)
}

/// The name in its author's spelling, whole or, if it is very long, without what stands in angle brackets.
fn demangled(name: &str) -> String {
    let mut text = Bounded::default();
    // The two that are demangled know their own names from others.
    let is_rust = name.len() <= MAX_MANGLED_BYTES
        && rustc_demangle::try_demangle(name).is_ok_and(|name| {
            let _ = write!(text, "{name:#}");
            true
        });
    if !is_rust && name.len() <= MAX_MANGLED_BYTES && name.starts_with("_Z") {
        cpp(name, &mut text);
    }
    let name = match (text.0.is_empty(), text.0.len() > MAX_NAME_CHARS) {
        (true, _) => name.to_owned(),
        (false, true) => without_arguments(&text.0),
        (false, false) => text.0,
    };
    let shown = display_untrusted(&name, MAX_NAME_CHARS + 1);
    match shown.chars().count() > MAX_NAME_CHARS {
        true => shown.chars().take(MAX_NAME_CHARS - 1).chain(['…']).collect(),
        false => shown,
    }
}

/// Writes the C++ name as far as it fits.
fn cpp(name: &str, text: &mut Bounded) {
    let parse = ParseOptions::default().recursion_limit(MAX_CPP_DEPTH);
    let Ok((symbol, _)) = BorrowedSymbol::with_tail_and_options(name.as_bytes(), &parse) else {
        return;
    };
    let options = DemangleOptions::new().no_return_type().recursion_limit(MAX_CPP_DEPTH);
    let _ = symbol.structured_demangle(text, &options);
}

/// The name without what stands in angle brackets within it: `Vec<…>::push` for a vector of something complicated.
fn without_arguments(name: &str) -> String {
    let mut depth = 0_u32;
    let mut short = String::new();
    let mut before = ' ';
    for (at, character) in name.char_indices() {
        match character {
            // One that begins the name belongs to a type that implements something.
            '<' if at > 0 => {
                if depth == 0 {
                    short.push_str("<…>");
                }
                depth += 1;
            }
            '>' if before != '-' && depth > 0 => depth -= 1,
            character if depth == 0 => short.push(character),
            _ => {}
        }
        before = character;
    }
    short
}

/// Bytes of a demangled name that are kept.
const MAX_NAME_BYTES: usize = 2_000;

/// A text that stops its writer when it is full.
#[derive(Default)]
struct Bounded(String);

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = MAX_NAME_BYTES.saturating_sub(self.0.len());
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        match text.len() <= room {
            true => Ok(()),
            false => Err(std::fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_they_were_written() {
        for (mangled, shown) in [
            ("_RNvCskwGfYPst2Cb_3foo16example_function", "foo::example_function"),
            (
                "_RNvMNtCs4fqI2P2rA04_4mycr3geoNtB2_5Point4norm",
                "<mycr::geo::Point>::norm",
            ),
            (
                "_ZN7weather7service5fetch17h0123456789abcdefE",
                "weather::service::fetch",
            ),
            (
                "_ZN57_$LT$weather..Report$u20$as$u20$exports..tools..Guest$GT$9call_tool17h0123456789abcdefE",
                "<weather::Report as exports::tools::Guest>::call_tool",
            ),
            ("_ZN4json6Parser5parseERKSs", "json::Parser::parse(std::string const&)"),
            ("call_tool", "call_tool"),
            ("main.run", "main.run"),
            ("_Zno such name", "_Zno such name"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
        ] {
            assert_eq!(demangled(mangled), shown);
        }
    }

    #[test]
    fn the_guests_own_frames_are_recognised() {
        for name in [
            "std::panicking::begin_panic_handler",
            "<alloc::string::String as core::fmt::Write>::write_str",
            "core::panicking::panic_fmt",
            "__rust_start_panic",
            "__cxa_throw",
            "runtime.gopanic",
            "abort",
            "<&mut core::option::Option<T>>::take",
        ] {
            assert!(is_runtime(name), "{name}");
        }
        for name in [
            "weather::fetch",
            "<weather::Report as core::fmt::Display>::fmt",
            "main.run",
            "core_dump::write",
            "function 7",
        ] {
            assert!(!is_runtime(name), "{name}");
        }
    }

    #[test]
    fn a_long_name_loses_its_arguments_first() {
        let arguments = "alloc::vec::Vec<u8>, ".repeat(20);
        let name = format!("<tree::Map<{arguments}> as tree::Walk<fn() -> u8>>::step");
        assert_eq!(without_arguments(&name), "<tree::Map<…> as tree::Walk<…>>::step");
        let name = "x".repeat(50_000);
        assert_eq!(demangled(&name).chars().count(), MAX_NAME_CHARS);
    }

    /// Each pair of letters doubles the name.
    #[test]
    fn a_name_that_explodes_is_cut_off() {
        let bomb = format!("_Z1f1AIiiE{}", "S_S_".repeat(200));
        assert!(demangled(&bomb).chars().count() <= MAX_NAME_CHARS);
        let nested = (0..200).fold("1A".to_owned(), |inner, _| {
            format!("{inner}I{inner}E").chars().take(900).collect()
        });
        assert!(demangled(&format!("_Z1f{nested}")).chars().count() <= MAX_NAME_CHARS);
    }
}
