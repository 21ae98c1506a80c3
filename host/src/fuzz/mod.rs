//! What strangers' bytes go through, for a fuzzer to try: each function takes any bytes, and panics where something does not
//! hold. Part of no build that users get. `tests/fuzz` has the programs; the bytes that they found worth keeping are tried
//! with every run of the tests.

pub use crate::config::fuzz::configuration;
pub use crate::model::fuzz::{response, stream};
pub use crate::sandbox::fuzz::destination;
pub use crate::tools::fuzz::{result, schema};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]

    use std::path::Path;

    fn replay(target: &str, try_out: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fuzz/corpus")
            .join(target);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
        assert!(files.len() >= 10, "{} files in {}", files.len(), folder.display());
        for file in files {
            let path = file.unwrap().path();
            // Shown where it fails.
            eprintln!("{}", path.display());
            try_out(&std::fs::read(path).unwrap());
        }
    }

    #[test]
    fn streams() {
        replay("stream", super::stream);
    }

    #[test]
    fn responses() {
        replay("response", super::response);
    }

    #[test]
    fn schemas() {
        replay("schema", super::schema);
    }

    #[test]
    fn results() {
        replay("result", super::result);
    }

    #[test]
    fn configurations() {
        replay("configuration", super::configuration);
    }

    #[test]
    fn destinations() {
        replay("destination", super::destination);
    }
}
