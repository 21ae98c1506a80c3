//! Fuzz targets for every parser of untrusted bytes. Each function takes any bytes and panics if an invariant is broken. No
//! release build contains them. `tests/fuzz` has the fuzz programs, and the tests here replay their corpus.

pub use crate::config::fuzz::configuration;
pub use crate::json_text::fuzz::json;
pub use crate::model::fuzz::{completion, response, stream};
pub use crate::sandbox::fuzz::destination;
pub use crate::tools::fuzz::{result, schema};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]

    use std::path::Path;

    fn replay(target: &str, fuzz_target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fuzz/corpus")
            .join(target);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
        assert!(files.len() >= 10, "{} files in {}", files.len(), folder.display());
        for file in files {
            let path = file.unwrap().path();
            // The test output shows which file failed.
            eprintln!("{}", path.display());
            fuzz_target(&std::fs::read(path).unwrap());
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
    fn completions() {
        replay("completion", super::completion);
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
    fn jsons() {
        replay("json", super::json);
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
