//! Fails the build if a tool of the plugin `faulty` has no case in the corpus, builds the guests in `guests`, and the shim in `power`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const CORPUS: &str = "hostile/corpus.toml";
const CATALOG: &str = "../plugins/faulty/src/catalog.rs";

/// Packages of the workspace of the plugins, and their components.
const PACKAGES: [&str; 2] = ["pair", "programs"];
const COMPONENTS: [&str; 3] = ["pair", "textdiff", "probe"];
const TARGET: &str = "wasm32-wasip2";

fn main() {
    check_corpus();
    build_guests();
    build_shim();
}

/// Only where `LD_PRELOAD` works, and a program finds the C library at run time.
fn build_shim() {
    const SOURCE: &str = "power/shim.rs";
    println!("cargo::rerun-if-changed={SOURCE}");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    let shim = PathBuf::from(env::var_os("OUT_DIR").unwrap()).join("libpower.so");
    let status = Command::new(env::var_os("RUSTC").unwrap())
        .args(["--edition", "2024", "--crate-type", "cdylib", "--target"])
        .arg(env::var_os("TARGET").unwrap())
        .args(["-O", "-C", "strip=symbols", "-o"])
        .arg(&shim)
        .arg(SOURCE)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "{SOURCE} can't be built: the compiler's messages follow"
    );
    println!("cargo::rustc-env=COFFERDAM_POWER_SHIM={}", shim.display());
}

/// As `host/build.rs` builds the plugins, and for the same reasons: with a cargo, a target folder and settings of its own.
fn build_guests() {
    for source in [
        "guests/pair",
        "guests/programs",
        "../wit/0.1.0",
        "../plugins/Cargo.toml",
        "../plugins/Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={source}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    let mut cargo = Command::new(env::var_os("CARGO").unwrap());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let is_kept = [
            "CARGO_HOME",
            "CARGO_NET_",
            "CARGO_HTTP_",
            "CARGO_REGISTRIES_",
            "CARGO_MAKEFLAGS",
        ];
        let is_for_host = [
            "CARGO_",
            "RUSTC",
            "RUSTDOC",
            "RUSTFLAGS",
            "CLIPPY_",
            "DEBUG",
            "OPT_LEVEL",
            "PROFILE",
            "TARGET",
        ];
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        if begins(&is_for_host) && !begins(&is_kept) {
            cargo.env_remove(&name);
        }
    }
    let target = out.join("guests");
    let status = cargo
        .envs(["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"].map(|name| (name, "")))
        .env("CARGO_BUILD_BUILD_DIR", &target)
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .args(PACKAGES.map(|package| ["--package", package]).concat())
        .current_dir("../plugins")
        .status()
        .unwrap();
    assert!(
        status.success(),
        "the guests for {TARGET} can't be built: cargo's messages follow"
    );
    for component in COMPONENTS {
        let file = format!("{component}.wasm");
        let built = Path::new(&target).join(TARGET).join("release").join(&file);
        std::fs::copy(built, out.join(file)).unwrap();
    }
}

fn check_corpus() {
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
