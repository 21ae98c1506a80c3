//! Builds the guests in `plugins/` for WebAssembly, so that `src/tools/builtin.rs` can embed them.
//!
//! The guests are a separate cargo workspace. This script builds them with a separate cargo process and a separate target
//! folder in `OUT_DIR`, because the outer cargo locks its target folder while it waits for this script. The outer build's
//! flags, wrappers, folders and targets are meant for the host. The script hides them from the guests' build, whether they come
//! from the environment, the command line or cargo's configuration files.
//!
//! If the guests' Rust target is missing, this script runs `rustup target add`, unless `COFFERDAM_BUILD_NO_RUSTUP` is set.
//! `rust-toolchain.toml` lists the target as well, but rustup doesn't install it if `RUSTUP_AUTO_INSTALL=0`. Failing instead
//! would waste the user's time: cargo runs this script minutes into a first build.
//!
//! A build script can't tell whether the outer cargo runs with `--offline`. That matters only if one of the guests' crates
//! isn't downloaded yet; set `CARGO_NET_OFFLINE=true`, which applies to both builds.

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "wasm32-wasip2";
/// If set to anything except `0` or the empty string, this script doesn't change the toolchain.
const NO_RUSTUP: &str = "COFFERDAM_BUILD_NO_RUSTUP";
/// Folders of `plugins/` whose components are embedded.
const COMPONENTS: [&str; 4] = ["calculator", "weather", "notes", "faulty"];
/// The first bytes of a component; a core module differs in the last four.
const COMPONENT_MAGIC: &[u8] = b"\0asm\x0d\x00\x01\x00";

/// Environment variables that concern only the outer build. Cargo passes them to every build script.
const HOST_ONLY: [&str; 13] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
    "DEBUG",
    "OPT_LEVEL",
    "PROFILE",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "TARGET",
];
/// The same, by prefix. `CARGO_HOME`, `CARGO_NET_*`, `CARGO_HTTP_*`, `CARGO_REGISTRIES_*` and the job server in
/// `CARGO_MAKEFLAGS` stay: the guests' crates come from the same registry, and both builds share the processors.
const HOST_ONLY_PREFIXES: [&str; 8] = [
    "CARGO_BUILD_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    refuse_windows()?;
    let host = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let repository = host
        .parent()
        .ok_or("the package `cofferdam` must be inside its repository")?;
    let plugins = repository.join("plugins");
    watch(&plugins, &repository.join("wit"))?;

    ensure_target()?;
    let target_dir = out.join("guests");
    let mut cargo = guest_command(variable("CARGO")?);
    cargo
        // Set to the empty string, because that overrides cargo's configuration files, which the guests' cargo reads too.
        .envs(["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"].map(|name| (name, "")))
        // Configuration files could set it to the folder that the outer cargo has locked.
        .env("CARGO_BUILD_BUILD_DIR", &target_dir)
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&target_dir);
    for component in COMPONENTS {
        cargo.args(["--package", component]);
    }
    let status = cargo
        .current_dir(&plugins)
        .status()
        .map_err(|error| format!("cargo can't be started: {error}"))?;
    if !status.success() {
        let error = "can't build the plugins for WebAssembly: cargo's messages follow below\n\
                     to repeat only that build: cd plugins && cargo build --release --locked --target wasm32-wasip2";
        return Err(error.into());
    }
    for component in COMPONENTS {
        embed(&target_dir, component, &out)?;
    }
    Ok(())
}

/// Fails early: the compiler would otherwise report a hundred errors about sockets, folders and process limits.
fn refuse_windows() -> Result<(), Box<dyn Error>> {
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("windows") => Err("Cofferdam runs on Linux and macOS, not on Windows\n\
             on Windows, use WSL 2, which runs Linux: https://learn.microsoft.com/windows/wsl/install"
            .into()),
        _ => Ok(()),
    }
}

/// Copies one component to where `include_bytes!` expects it.
fn embed(target_dir: &Path, component: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let file = format!("{component}.wasm");
    let built = target_dir.join(TARGET).join("release").join(&file);
    let bytes = fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    if !bytes.starts_with(COMPONENT_MAGIC) {
        return Err(format!("{} isn't a WebAssembly component", built.display()).into());
    }
    let embedded = out.join(file);
    fs::write(&embedded, bytes).map_err(|error| format!("{}: {error}", embedded.display()).into())
}

/// Tells cargo to rerun this script if the guests' sources change. Lists their parts and not whole folders, because manual
/// builds of the plugins leave a `target` folder there.
fn watch(plugins: &Path, wit: &Path) -> Result<(), Box<dyn Error>> {
    let mut sources = vec![wit.to_owned(), plugins.join("Cargo.toml"), plugins.join("Cargo.lock")];
    let packages = fs::read_dir(plugins).map_err(|error| format!("{}: {error}", plugins.display()))?;
    for package in packages {
        let package = package?.path();
        if package.join("Cargo.toml").is_file() {
            sources.extend(["Cargo.toml", "src", "wit"].map(|part| package.join(part)));
        }
    }
    sources.retain(|source| source.exists());
    println!("cargo::rerun-if-changed=build.rs");
    for source in sources {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    Ok(())
}

/// Makes sure that the guests' standard library is installed.
fn ensure_target() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={NO_RUSTUP}");
    if has_target()? {
        return Ok(());
    }
    // rustup sets this variable for every cargo that it starts.
    let Ok(toolchain) = env::var("RUSTUP_TOOLCHAIN") else {
        return Err(format!(
            "the Rust target {TARGET} is missing, and this Rust was not started by rustup (https://rustup.rs)\n\
             install the target the way this Rust was installed, or, with rustup, run: rustup target add {TARGET}"
        )
        .into());
    };
    let command = format!("rustup target add --toolchain {toolchain} {TARGET}");
    if env::var_os(NO_RUSTUP).is_some_and(|value| !value.is_empty() && value != "0") {
        return Err(
            format!("the Rust target {TARGET} is missing, and {NO_RUSTUP} forbids adding it\nrun: {command}").into(),
        );
    }
    add_target(&toolchain).map_err(|reason| {
        format!("the Rust target {TARGET} is missing, and rustup couldn't add it\nrun: {command}\n{reason}").into()
    })
}

/// Runs rustup to add the target. Silent on success, because `rust-toolchain.toml` requests the target anyway.
fn add_target(toolchain: &str) -> Result<(), String> {
    let output = guest_command(rustup())
        .args(["target", "add", "--toolchain", toolchain, TARGET])
        .output()
        .map_err(|error| format!("rustup can't be started: {error}"))?;
    match (output.status.success(), has_target()) {
        (true, Ok(true)) => Ok(()),
        (true, _) => Err("rustup reported success, but the target's standard library isn't there".to_owned()),
        (false, _) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// The rustup beside this cargo, or else the one on `PATH`.
fn rustup() -> PathBuf {
    let name = format!("rustup{}", env::consts::EXE_SUFFIX);
    let own = env::var_os("CARGO_HOME").map(|home| Path::new(&home).join("bin").join(&name));
    own.filter(|path| path.is_file()).unwrap_or_else(|| name.into())
}

fn has_target() -> Result<bool, Box<dyn Error>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = guest_command(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("rustc can't be started: {error}"))?;
    let folder = String::from_utf8_lossy(&output.stdout);
    // A toolchain without the target still prints the folder where it would be.
    let mut files = fs::read_dir(folder.trim()).into_iter().flatten().flatten();
    Ok(output.status.success() && files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}

/// A command without the outer build's environment variables.
fn guest_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if HOST_ONLY.contains(&&*text) || HOST_ONLY_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

fn variable(name: &str) -> Result<std::ffi::OsString, Box<dyn Error>> {
    env::var_os(name).ok_or_else(|| format!("{name} isn't set: run this script with cargo").into())
}
