//! Fails the build if a tool of the plugin `faulty` has no case in the corpus.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

const CORPUS: &str = "hostile/corpus.toml";
const CATALOG: &str = "../plugins/faulty/src/catalog.rs";

fn main() {
    for file in [CORPUS, CATALOG] {
        println!("cargo::rerun-if-changed={file}");
    }
    let corpus: toml::Table = std::fs::read_to_string(CORPUS).unwrap().parse().unwrap();
    let cases = corpus["case"].as_array().unwrap();
    let tested: BTreeSet<&str> = cases.iter().filter_map(|case| case.get("tool")?.as_str()).collect();
    let catalog = std::fs::read_to_string(CATALOG).unwrap();
    let tools = catalog.split("misdeed(\"").skip(1);
    let missing: Vec<&str> = tools
        .map(|rest| rest.split('"').next().unwrap())
        .filter(|tool| !tested.contains(tool))
        .collect();
    assert!(
        missing.is_empty(),
        "{CORPUS} has no case for these tools of the plugin `faulty`: {missing:?}"
    );
}
