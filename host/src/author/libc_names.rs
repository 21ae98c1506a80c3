//! The names that a function of a world in Rust can't have: those of the C library, `wasi-libc`, which Rust's standard library is built on.
//!
//! A function that the world exports itself, not in an interface, has its name as a symbol of the linker, such as `read`. The linker takes
//! it for the C library's in all code: in the standard library that reads a file, or in `f64::sin` for a function `sin`. If the parameters
//! differ, such a call traps; if they are the same, it calls the tool. Names of several words have a hyphen, which no symbol of C has, and
//! those of functions in interfaces a `#`.

/// Every symbol of the C library of `wasm32-wasip2` that can be the name of a function in WIT.
const NAMES: &str = include_str!("libc_names.txt");

/// Whether the C library has a function of this name.
pub(super) fn is_of_libc(name: &str) -> bool {
    NAMES.split_ascii_whitespace().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// The symbols of an archive, by the index that it begins with: their number, an offset each, and their names, each with a NUL.
    fn symbols(archive: &[u8]) -> Vec<&str> {
        let (header, index) = archive.strip_prefix(b"!<arch>\n").unwrap().split_at(60);
        assert!(header.starts_with(b"/ "), "the index is missing");
        let count = u32::from_be_bytes(index[..4].try_into().unwrap()) as usize;
        let names = index[4 + 4 * count..].split(|byte| *byte == 0);
        names.take(count).map(|name| str::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn every_function_of_the_c_library_is_known() {
        let printed = Command::new("rustc")
            .args(["--print", "target-libdir", "--target", "wasm32-wasip2"])
            .output()
            .unwrap();
        let folder = String::from_utf8(printed.stdout).unwrap();
        let archive = std::fs::read(Path::new(folder.trim()).join("self-contained/libc.a")).unwrap();
        let symbols = symbols(&archive);
        assert!(symbols.contains(&"read") && symbols.len() > 1_000, "{}", symbols.len());
        let is_kebab = |name: &&str| {
            let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(is_part)
        };
        let names = symbols.into_iter().filter(is_kebab);
        let unknown: Vec<&str> = names.filter(|name| !is_of_libc(name)).collect();
        assert!(unknown.is_empty(), "add them to libc_names.txt: {unknown:?}");
        assert!(!is_of_libc("count-letter") && !is_of_libc("rea"));
    }
}
