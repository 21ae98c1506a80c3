//! What a fuzzer found worth keeping, tried again. `tests/fuzz` has the programs.

#![allow(clippy::print_stderr)]

use std::path::Path;

use cofferdam_tests::fuzz;

fn replay(target: &str, try_out: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
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
fn components() {
    replay("component", fuzz::component);
}

#[test]
fn values() {
    replay("values", |data| {
        fuzz::values(data);
    });
    // What is tried is what the bytes say.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/values");
    let has_result = |name: &str| fuzz::values(&std::fs::read(folder.join(name)).unwrap());
    assert!(has_result("call_text") && !has_result("call_utf8"));
}
