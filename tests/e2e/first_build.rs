//! The build script of the host on a machine whose Rust lacks the guests' target. The script is the real one; the Rust
//! around it is a stand-in made of shell scripts, because a test must not change the toolchain that it runs with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A toolchain without the target, and a rustup that can or can't add it.
struct Machine {
    folder: tempfile::TempDir,
}

const WORKING_RUSTUP: &str = r#"echo "$@" >> "$MACHINE/rustup.log"; touch "$MACHINE/lib/libstd-0.rlib""#;
const OFFLINE_RUSTUP: &str =
    r#"echo "$@" >> "$MACHINE/rustup.log"; echo "error: could not reach the server" >&2; exit 1"#;
/// It says that it worked and did nothing.
const LYING_RUSTUP: &str = "exit 0";

impl Machine {
    fn new(rustup: &str) -> Self {
        let machine = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in ["bin", "lib", "out"] {
            fs::create_dir(machine.path(folder)).unwrap();
        }
        machine.script("rustup", rustup);
        machine.script("rustc", r#"echo "$MACHINE/lib""#);
        // The guests' build: a component's first bytes for each.
        machine.script(
            "cargo",
            r#"out="$MACHINE/out/guests/wasm32-wasip2/release"; mkdir -p "$out"
for name in calculator weather notes faulty; do printf '\000asm\015\000\001\000' > "$out/$name.wasm"; done"#,
        );
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        let file = self.path("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn build(&self, changes: impl Fn(&mut Command) -> &mut Command) -> Output {
        let mut command = Command::new(build_script(&self.path("build")));
        command
            .env("MACHINE", self.folder.path())
            .env("CARGO_MANIFEST_DIR", repository().join("host"))
            .env("OUT_DIR", self.path("out"))
            .env("CARGO_HOME", self.folder.path())
            .env("CARGO", self.path("bin/cargo"))
            .env("RUSTC", self.path("bin/rustc"))
            .env("RUSTUP_TOOLCHAIN", "this-one")
            .env("RUSTUP_AUTO_INSTALL", "0")
            .env_remove("COFFERDAM_BUILD_NO_RUSTUP");
        changes(&mut command).output().unwrap()
    }

    /// How rustup was called.
    fn rustup_log(&self) -> String {
        fs::read_to_string(self.path("rustup.log")).unwrap_or_default()
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Compiles the build script as cargo would, for it is no target of its own.
fn build_script(program: &Path) -> &Path {
    let status = Command::new("rustc")
        .args(["--edition", "2024", "-C", "debuginfo=0"])
        .arg(repository().join("host/build.rs"))
        .arg("-o")
        .arg(program)
        .status()
        .unwrap();
    assert!(status.success());
    program
}

/// What cargo shows as errors.
fn errors(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.strip_prefix("cargo::error="));
    lines.flat_map(|line| [line, "\n"]).collect()
}

const COMMAND: &str = "rustup target add --toolchain this-one wasm32-wasip2";

#[test]
fn a_missing_target_is_added() {
    let machine = Machine::new(WORKING_RUSTUP);
    let output = machine.build(|command| command);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(machine.rustup_log(), "target add --toolchain this-one wasm32-wasip2\n");
    assert!(machine.path("out/calculator.wasm").is_file());
    // The next build finds it.
    assert!(machine.build(|command| command).status.success());
    assert_eq!(machine.rustup_log().lines().count(), 1);
}

#[test]
fn a_target_that_may_not_be_added_is_asked_for() {
    let machine = Machine::new(WORKING_RUSTUP);
    let output = machine.build(|command| command.env("COFFERDAM_BUILD_NO_RUSTUP", "1"));
    let errors = errors(&output);
    assert!(errors.contains(&format!("run: {COMMAND}\n")), "{errors}");
    assert!(errors.contains("COFFERDAM_BUILD_NO_RUSTUP forbids"), "{errors}");
    assert_eq!(machine.rustup_log(), "");
    // Neither is a prohibition.
    for value in ["", "0"] {
        let machine = Machine::new(WORKING_RUSTUP);
        let output = machine.build(|command| command.env("COFFERDAM_BUILD_NO_RUSTUP", value));
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn a_target_that_cannot_be_added_is_asked_for_with_the_reason() {
    for (rustup, reason) in [
        (OFFLINE_RUSTUP, "error: could not reach the server"),
        (LYING_RUSTUP, "the target's standard library isn't there"),
    ] {
        let errors = errors(&Machine::new(rustup).build(|command| command));
        assert!(errors.contains(&format!("run: {COMMAND}\n")), "{errors}");
        assert!(errors.contains(reason), "{errors}");
    }
}

#[test]
fn windows_ends_in_one_error_that_names_wsl() {
    let machine = Machine::new(WORKING_RUSTUP);
    let errors = errors(&machine.build(|command| command.env("CARGO_CFG_TARGET_OS", "windows")));
    assert!(errors.contains("WSL 2") && errors.lines().count() == 2, "{errors}");
}

#[test]
fn without_rustup_the_error_names_the_target() {
    let machine = Machine::new(WORKING_RUSTUP);
    let errors = errors(&machine.build(|command| command.env_remove("RUSTUP_TOOLCHAIN")));
    assert!(errors.contains("the Rust target wasm32-wasip2 is missing"), "{errors}");
    assert!(errors.contains("was not started by rustup"), "{errors}");
    assert_eq!(machine.rustup_log(), "");
}

/// A library, the profile and the features that it is built with.
type Unit = (String, String, Vec<String>);

/// What cargo would build, by its own account.
fn libraries(command: &[&str]) -> std::collections::BTreeSet<Unit> {
    let output = Command::new(env!("CARGO"))
        .args(command)
        .args(["--offline", "--locked", "--unit-graph", "-Zunstable-options"])
        // The account is an unstable option of a stable cargo.
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let graph: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let units = graph["units"].as_array().unwrap().iter();
    let libraries = units.filter(|unit| {
        let kinds = unit["target"]["kind"].as_array().unwrap();
        unit["mode"] == "build" && kinds.iter().any(|kind| kind == "lib" || kind == "proc-macro")
    });
    libraries
        .map(|unit| {
            let features = unit["features"].as_array().unwrap().iter();
            let mut profile = unit["profile"].clone();
            // `dev` or `test`; what they are made of is the same, and cargo builds dependencies for both but once.
            profile.as_object_mut().unwrap().remove("name");
            (
                unit["pkg_id"].as_str().unwrap().to_owned(),
                profile.to_string(),
                features.map(|feature| feature.as_str().unwrap().to_owned()).collect(),
            )
        })
        .collect()
}

/// Running the demo builds every dependency that the tests need of the product. Only the product itself is built again, with what lets
/// a test end it at any step.
#[test]
fn both_commands_of_the_readme_build_the_same_dependencies() {
    let run = libraries(&["build"]);
    let test = libraries(&["test", "--workspace"]);
    assert!(run.len() > 100, "{run:?}");
    let with_fault_points = |(package, profile, features): &Unit| {
        let mut features = features.clone();
        features.push("fault-points".to_owned());
        (package.clone(), profile.clone(), features)
    };
    let is_product = |unit: &&Unit| test.contains(&with_fault_points(unit));
    let (product, built_twice): (Vec<&Unit>, Vec<&Unit>) = run.difference(&test).partition(is_product);
    assert_eq!(product.len(), 1, "{product:#?}");
    assert!(built_twice.is_empty(), "built again for the tests: {built_twice:#?}");
}
