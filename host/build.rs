//! Builds the guests in `plugins/` for WebAssembly, so that `src/tools/builtin.rs` can embed them.
//!
//! They are a cargo workspace of their own, built by a cargo of their own in a target folder of their own (`OUT_DIR`): the
//! outer cargo holds a lock on its target folder while it waits for this script. What the outer build was told about
//! flags, wrappers, folders and targets is meant for the host, and is kept from the guests, whether it was told by the
//! environment, the command line or a configuration file of cargo.
//!
//! Where the Rust target of the guests is missing, this script has rustup add it, unless `COFFERDAM_BUILD_NO_RUSTUP` is set.
//! `rust-toolchain.toml` names the target as well, but rustup ignores that file's wishes where `RUSTUP_AUTO_INSTALL=0`, and cargo
//! runs this script minutes into a first build: too late to send anybody away.
//!
//! A script cannot know whether the outer cargo was started with `--offline`. It matters only while a crate of the guests
//! is missing on this machine; `CARGO_NET_OFFLINE=true` then reaches both builds.

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "wasm32-wasip2";
/// Set to anything but `0` or nothing, it keeps this script from changing the toolchain.
const NO_RUSTUP: &str = "COFFERDAM_BUILD_NO_RUSTUP";
/// Folders of `plugins/` whose component is embedded.
const COMPONENTS: [&str; 3] = ["calculator", "weather", "faulty"];
/// The first bytes of a component; a core module differs in the last four.
const COMPONENT_MAGIC: &[u8] = b"\0asm\x0d\x00\x01\x00";

/// The outer build's own business, in the environment of every build script it runs.
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
/// The same, by the beginning of the name. `CARGO_HOME`, `CARGO_NET_*`, `CARGO_HTTP_*`, `CARGO_REGISTRIES_*` and the job server
/// in `CARGO_MAKEFLAGS` stay: the guests come from the same registry, and share the processors.
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
        .ok_or("the package `cofferdam` must lie in its repository")?;
    let plugins = repository.join("plugins");
    watch(&plugins, &repository.join("wit"))?;

    ensure_target()?;
    let target_dir = out.join("guests");
    let mut cargo = guest_command(variable("CARGO")?);
    cargo
        // Set and empty: above the configuration files that the guests' cargo reads too.
        .envs(["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"].map(|name| (name, "")))
        // A folder that they name would be the one that the outer cargo has locked.
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
        let error = "the plugins could not be built for WebAssembly: the messages of their cargo stand below\n\
                     to repeat that build alone: cd plugins && cargo build --release --locked --target wasm32-wasip2";
        return Err(error.into());
    }
    for component in COMPONENTS {
        embed(&target_dir, component, &out)?;
    }
    Ok(())
}

/// Before the compiler says the same in a hundred messages about sockets, folders and limits of processes.
fn refuse_windows() -> Result<(), Box<dyn Error>> {
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("windows") => Err("Cofferdam runs on Linux and macOS, not on Windows\n\
             on a Windows machine, use WSL 2, which is a Linux: https://learn.microsoft.com/windows/wsl/install"
            .into()),
        _ => Ok(()),
    }
}

/// Puts one component where `include_bytes!` looks for it.
fn embed(target_dir: &Path, component: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let file = format!("{component}.wasm");
    let built = target_dir.join(TARGET).join("release").join(&file);
    let bytes = fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    if !bytes.starts_with(COMPONENT_MAGIC) {
        return Err(format!("{} is no WebAssembly component", built.display()).into());
    }
    let embedded = out.join(file);
    fs::write(&embedded, bytes).map_err(|error| format!("{}: {error}", embedded.display()).into())
}

/// Tells cargo what the guests are made of. Whole folders would do, but for a `target` folder that someone who builds
/// the plugins by hand leaves among them.
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

/// Sees to it that the guests' standard library is installed.
fn ensure_target() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={NO_RUSTUP}");
    if has_target()? {
        return Ok(());
    }
    // rustup sets it for every cargo that it starts.
    let Ok(toolchain) = env::var("RUSTUP_TOOLCHAIN") else {
        return Err(format!(
            "the Rust target {TARGET} is missing, and this Rust was not started by rustup (https://rustup.rs)\n\
             install the target the way this Rust was installed, or, with rustup, run: rustup target add {TARGET}"
        )
        .into());
    };
    let by_hand = format!("rustup target add --toolchain {toolchain} {TARGET}");
    if env::var_os(NO_RUSTUP).is_some_and(|value| !value.is_empty() && value != "0") {
        return Err(
            format!("the Rust target {TARGET} is missing, and {NO_RUSTUP} forbids to add it\nrun: {by_hand}").into(),
        );
    }
    add_target(&toolchain).map_err(|reason| {
        format!("the Rust target {TARGET} is missing, and rustup could not add it\nrun: {by_hand}\n{reason}").into()
    })
}

/// Has rustup add the target. Nothing is said where that works: it is what `rust-toolchain.toml` asks for.
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

/// The rustup that belongs to this cargo, or whichever is on the path.
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
    // A toolchain without the target still prints where it would be.
    let mut files = fs::read_dir(folder.trim()).into_iter().flatten().flatten();
    Ok(output.status.success() && files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}

/// A command that knows nothing of the build around it.
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
    env::var_os(name).ok_or_else(|| format!("{name} is not set: this script is run by cargo").into())
}
