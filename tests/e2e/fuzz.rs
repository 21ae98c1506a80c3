//! Replays the fuzzers' corpus. `tests/fuzz` contains the fuzz targets.

#![allow(clippy::print_stderr)]

use std::path::Path;

use cofferdam_tests::fuzz;

fn replay(target: &str, fuzz_target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert!(files.len() >= 10, "{} files in {}", files.len(), folder.display());
    for file in files {
        let path = file.unwrap().path();
        // Names the input if it fails.
        eprintln!("{}", path.display());
        fuzz_target(&std::fs::read(path).unwrap());
    }
}

#[test]
fn components() {
    replay("component", fuzz::component);
}

#[test]
fn values() {
    replay("values", |data| {
        fuzz::values(data);
    });
    // Check that the bytes really decide what the guest returns.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/values");
    let has_result = |name: &str| fuzz::values(&std::fs::read(folder.join(name)).unwrap());
    assert!(has_result("call_text") && !has_result("call_utf8"));
}
