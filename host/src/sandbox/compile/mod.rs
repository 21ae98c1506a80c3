//! Turns untrusted bytes into a component that can be instantiated.

mod adapt;
mod cache;
mod compiled_form;
mod compiler;
mod component;
mod engine;
mod facts;
mod foreign;
mod inspect;
mod instantiation;
mod known_files;
mod lock;
mod notice;
mod precompiled;
mod refusals;

use bytes::Bytes;
use wasmtime::component::Component;

pub(super) use self::cache::CompileCache;
use self::compiled_form::MAX_DESCRIPTION;
pub(super) use self::compiler::Compiler;
pub use self::compiler::{CompilePlace, run_compiler_if_requested};
pub(super) use self::component::program_export;
pub use self::component::{ComponentBytes, ComponentError, Digest, open_file};
use self::component::{Kind, check_size, kind};
pub(super) use self::engine::{EngineSize, Engines};
use self::facts::Facts;
pub use self::foreign::Foreign;
pub use self::inspect::{Import, Inspection};
pub(super) use self::inspect::{export_names, inspect};
pub(super) use self::instantiation::{Footprint, TABLE_ELEMENT};
use self::known_files::FileState;
pub use self::notice::COMPILING;
use super::contract::Docs;
use super::limits::Limits;

/// A component that can be instantiated.
pub(super) struct Compiled {
    pub(super) component: Component,
    pub(super) digest: Digest,
    pub(super) footprint: Footprint,
    /// What it says about its functions.
    pub(super) docs: Docs,
    /// Whether it was made of a program for WASI 0.1.
    pub(super) is_adapted: bool,
}

impl Compiled {
    fn new(component: Component, facts: Facts) -> Self {
        let Facts {
            digest,
            footprint,
            docs,
        } = facts;
        Self {
            component,
            digest,
            footprint,
            docs,
            is_adapted: false,
        }
    }
}

/// Compiles a component, or loads its compiled form from the cache. Checks the cost of an instance against `limits` before it
/// compiles, because what makes instances expensive also makes compiling and loading expensive. A program for WASI 0.1 is
/// adapted to a component first; the digest is always that of the program.
///
/// Everything that reads all bytes or the disk happens on blocking threads.
pub(super) async fn compile(
    engines: &Engines,
    cache: &CompileCache,
    compiler: &Compiler,
    component: ComponentBytes,
    limits: &Limits,
) -> Result<Compiled, ComponentError> {
    let host = Host {
        engines,
        cache,
        compiler,
        limits,
    };
    if let Some(state) = component.state()
        && let Some(compiled) = host.unchanged(state.clone()).await?
    {
        return Ok(compiled);
    }
    let (bytes, state) = on_blocking_thread(|| component.read_unchanged()).await?;
    check_size(&bytes, limits.component_bytes)?;
    match kind(&bytes)? {
        Kind::Component => {
            let facts = Facts::read(bytes.clone()).await?;
            let component = host.compile(&bytes, &facts).await?;
            let cache = cache.clone();
            on_blocking_thread(move || {
                if let Some(state) = state {
                    cache.put_facts(&state, &facts);
                }
                Ok(Compiled::new(component, facts))
            })
            .await
        }
        Kind::CoreModule => {
            let (digest, adapted) = host.adapt(&bytes).await?;
            let adapted = Bytes::from(adapted);
            let facts = Facts::read(adapted.clone()).await?;
            // The compiled form depends on the adapter as well, so it is kept under the digest of the adapted bytes.
            let component = host.compile(&adapted, &facts).await?;
            Ok(Compiled {
                digest,
                is_adapted: true,
                ..Compiled::new(component, facts)
            })
        }
    }
}

/// What components are compiled with.
struct Host<'a> {
    engines: &'a Engines,
    cache: &'a CompileCache,
    compiler: &'a Compiler,
    limits: &'a Limits,
}

impl Host<'_> {
    /// The component from the cache, if it was there before and nobody has written to its file since.
    async fn unchanged(&self, state: FileState) -> Result<Option<Compiled>, ComponentError> {
        if state.size > self.limits.component_bytes {
            return Ok(None);
        }
        let (engines, cache, limits) = (self.engines.clone(), self.cache.clone(), self.limits.clone());
        on_blocking_thread(move || {
            let Some(facts) = cache.facts(&state) else {
                return Ok(None);
            };
            facts.footprint.check(&limits)?;
            let component = cache.get(&engines, &facts.digest);
            Ok(component.map(|component| Compiled::new(component, facts)))
        })
        .await
    }

    async fn compile(&self, bytes: &Bytes, facts: &Facts) -> Result<Component, ComponentError> {
        let digest = facts.digest.clone();
        facts.footprint.check(self.limits)?;
        if let Some(component) = self.known(&digest).await? {
            return Ok(component);
        }
        let lock = match self.cache.lock_path(self.engines, &digest) {
            Some(path) => lock::Lock::acquire(path, self.limits.compile_timeout).await,
            None => None,
        };
        // It was compiled while this process waited.
        if lock.is_some()
            && let Some(component) = self.known(&digest).await?
        {
            return Ok(component);
        }
        let compiling = self.compiler.compile(bytes, self.engines.metering(), self.limits);
        let compiled = notice::announce_if_slow(
            compiling,
            || notice::compiling(bytes.len()),
            |compiled, elapsed| notice::compiled(compiled.is_ok(), elapsed),
        )
        .await;
        let (engines, cache) = (self.engines.clone(), self.cache.clone());
        on_blocking_thread(move || {
            let _lock = lock;
            let compiled = compiled.and_then(|compiled| match compiled_form::description_bytes(&compiled) {
                None => Err(ComponentError::CompilerFailed(
                    "its output isn't a compiled component".into(),
                )),
                Some(described) if described > MAX_DESCRIPTION => Err(ComponentError::DescriptionTooLarge(described)),
                Some(_) => Ok(compiled),
            });
            let compiled = compiled.inspect_err(|error| cache.refuse(&engines, &digest, error))?;
            // An error here is the host's: too little address space, for example.
            let component = engines
                .load(|engine| precompiled::load_bytes(engine, &compiled))
                .map_err(|error| ComponentError::Invalid(format!("{error:#}").into()))?;
            cache.put(&engines, &digest, &compiled);
            Ok(component)
        })
        .await
    }

    /// The component from the cache, or why it can't be compiled, if the cache knows either.
    async fn known(&self, digest: &Digest) -> Result<Option<Component>, ComponentError> {
        let (engines, cache, limits) = (self.engines.clone(), self.cache.clone(), self.limits.clone());
        let digest = digest.clone();
        on_blocking_thread(move || match cache.get(&engines, &digest) {
            Some(component) => Ok(Some(component)),
            None => cache.refusal(&engines, &digest, &limits).map_or(Ok(None), Err),
        })
        .await
    }

    /// The digest of a core module, and the component that runs it.
    async fn adapt(&self, module: &Bytes) -> Result<(Digest, Vec<u8>), ComponentError> {
        let (engines, cache, limits) = (self.engines.clone(), self.cache.clone(), self.limits.clone());
        let bytes = module.clone();
        let known = on_blocking_thread(move || {
            if !adapt::is_program(&bytes) {
                return Err(match foreign::recognise(&bytes) {
                    Some(foreign) => ComponentError::Foreign(foreign),
                    None => ComponentError::CoreModule,
                });
            }
            let digest = Digest::of(&bytes);
            match cache.adapted(&digest) {
                Some(adapted) => Ok((digest, Some(adapted))),
                None => match cache.refusal(&engines, &digest, &limits) {
                    Some(error) => Err(error),
                    None => Ok((digest, None)),
                },
            }
        });
        let digest = match known.await? {
            (digest, Some(adapted)) => return Ok((digest, adapted)),
            (digest, None) => digest,
        };
        let adapted = self.compiler.adapt(module, self.limits).await;
        let (engines, cache) = (self.engines.clone(), self.cache.clone());
        on_blocking_thread(move || {
            let adapted = adapted.inspect_err(|error| cache.refuse(&engines, &digest, error))?;
            cache.put_adapted(&digest, &adapted);
            Ok((digest, adapted))
        })
        .await
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ComponentError> + Send + 'static,
) -> Result<T, ComponentError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ComponentError::Host(error.to_string()))?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::sandbox::{EngineSettings, Metering};

    /// A compiler that only fails, and counts how often it was started.
    struct FailingCompiler {
        folder: tempfile::TempDir,
        engines: Engines,
        compiler: Compiler,
    }

    impl FailingCompiler {
        /// `fails` is what the program does after it has read the component.
        fn new(fails: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join("compiler");
            let started = folder.path().join("started");
            let script = format!("#!/bin/sh\necho >> '{}'\n{fails}\n", started.display());
            std::fs::write(&program, script).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
            Self {
                folder,
                engines: engines(),
                compiler: Compiler::new(CompilePlace::Child(program), 1 << 20).with_processors(4),
            }
        }

        async fn compile(&self, limits: &Limits) -> ComponentError {
            self.compile_bytes(EMPTY, limits).await
        }

        async fn compile_bytes(&self, bytes: &[u8], limits: &Limits) -> ComponentError {
            let cache = CompileCache::open(Some(&self.folder.path().join("cache")), 1 << 20);
            let compiled = compile(&self.engines, &cache, &self.compiler, bytes.to_vec().into(), limits).await;
            compiled.map(|_| "compiled").unwrap_err()
        }

        fn starts(&self) -> usize {
            starts(self.folder.path())
        }
    }

    fn starts(folder: &Path) -> usize {
        std::fs::read(folder.join("started")).unwrap().len()
    }

    /// The component without anything in it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn engines() -> Engines {
        let settings = EngineSettings {
            host_concurrency: 1,
            ..EngineSettings::default()
        };
        Engines::new(&EngineSize::of(&settings, [&Limits::default()]), Metering::Fuel).unwrap()
    }

    #[tokio::test]
    async fn bytes_that_are_invalid_are_compiled_once() {
        let failing = FailingCompiler::new("echo 'no such type' >&2; exit 3");
        for _ in 0..3 {
            let error = failing.compile(&Limits::default()).await;
            assert_eq!(error.to_string(), "the component is not valid: no such type");
        }
        assert_eq!(failing.starts(), 1);
    }

    /// The component is valid; this host doesn't run it.
    #[tokio::test]
    async fn a_component_of_wasi_3_is_not_called_invalid() {
        let failing = FailingCompiler::new(&format!("echo '{}' >&2; exit 3", component::OF_WASI_3));
        let error = failing.compile(&Limits::default()).await;
        assert_eq!(error.to_string(), format!("the component {}", component::OF_WASI_3));
        assert!(
            error
                .hint(crate::sandbox::SetIn::Configuration)
                .unwrap()
                .contains("plain functions"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_compilation_without_end_is_tried_once_for_each_limit() {
        let failing = FailingCompiler::new("exec sleep 600");
        for (milliseconds, starts) in [(400, 1), (400, 1), (500, 2), (400, 2)] {
            let limits = Limits {
                compile_timeout: Duration::from_millis(milliseconds),
                ..Limits::default()
            };
            let error = failing.compile(&limits).await;
            assert!(matches!(error, ComponentError::CompileTimeout(_)), "{error}");
            assert_eq!(failing.starts(), starts, "{milliseconds}");
        }
    }

    #[tokio::test]
    async fn too_little_memory_is_remembered_and_a_killed_compiler_is_not() {
        // On four threads, and then on one.
        for (fails, starts) in [
            ("exit 4", 2),
            (
                "printf 'a line before it\\nmemory allocation of 9 bytes failed\\n' >&2; kill -6 $$",
                2,
            ),
            ("kill -9 $$", 2),
            // A component's own words in the message of a panic.
            (
                "echo 'no such type: memory allocation of 9 bytes failed' >&2; kill -6 $$",
                2,
            ),
            ("echo 'memory allocation of 9 bytes failed' >&2; exit 101", 4),
        ] {
            let failing = FailingCompiler::new(fails);
            failing.compile(&Limits::default()).await;
            failing.compile(&Limits::default()).await;
            assert_eq!(failing.starts(), starts, "{fails}");
        }
    }

    #[tokio::test]
    async fn a_compiler_has_a_thread_for_each_part_of_its_memory() {
        let failing = FailingCompiler::new("echo \"$RAYON_NUM_THREADS threads\" >&2; exit 1");
        for (mebibytes, threads) in [(64, 1), (1_023, 1), (1_024, 2), (1_536, 3), (2_048, 4), (1 << 20, 4)] {
            let limits = Limits {
                compile_memory: mebibytes << 20,
                ..Limits::default()
            };
            let error = failing.compile(&limits).await.to_string();
            let expected = format!("{threads} threads");
            assert!(error.contains(&expected), "{mebibytes} MiB: {error}");
        }
    }

    #[tokio::test]
    async fn what_lacks_memory_on_several_threads_is_compiled_on_one() {
        for fails in [
            "exit 4",
            "exit 101",
            "echo 'memory allocation of 9 bytes failed' >&2; kill -6 $$",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let program = counting(folder.path(), &format!("[ $RAYON_NUM_THREADS = 1 ] || {{ {fails}; }}"));
            let compiler = Compiler::new(CompilePlace::Child(program), 512 << 10).with_processors(4);
            let cache = CompileCache::open(None, 1 << 20);
            let compiled = compile(&engines(), &cache, &compiler, EMPTY.into(), &Limits::default()).await;
            assert!(compiled.is_ok(), "{fails}: {:?}", compiled.err());
            assert_eq!(starts(folder.path()), 2, "{fails}");
        }
    }

    #[tokio::test]
    async fn the_attempt_on_one_thread_has_what_is_left_of_the_time() {
        let failing = FailingCompiler::new("[ $RAYON_NUM_THREADS = 1 ] || exit 4; exec sleep 600");
        let limits = Limits {
            compile_timeout: Duration::from_millis(800),
            ..Limits::default()
        };
        let error = failing.compile(&limits).await;
        assert!(matches!(error, ComponentError::CompileTimeout(_)), "{error}");
        assert_eq!(failing.starts(), 2);
    }

    #[tokio::test]
    async fn a_compiler_without_an_engine_says_nothing_about_the_component() {
        let failing = FailingCompiler::new("echo 'no engine' >&2; exit 1");
        failing.compile(&Limits::default()).await;
        let error = failing.compile(&Limits::default()).await;
        assert!(matches!(error, ComponentError::CompilerFailed(_)), "{error}");
        assert_eq!(failing.starts(), 2);
    }

    /// A compiler that works after it has done something first, and counts how often it was started.
    fn counting(folder: &Path, first: &str) -> PathBuf {
        let empty = engines().reference().precompile_component(EMPTY).unwrap();
        let output = folder.join("output");
        std::fs::write(&output, [b"cofferdam-compiled\n", &empty[..]].concat()).unwrap();
        let program = folder.join("compiler");
        let (output, started) = (output.display(), folder.join("started"));
        let script = format!(
            "#!/bin/sh\necho >> '{}'\n{first}\ncat > /dev/null\ncat '{output}'\n",
            started.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        program
    }

    #[tokio::test]
    async fn what_another_process_compiles_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let place = CompilePlace::Child(counting(folder.path(), ""));
        let cache_folder = folder.path().join("cache");
        // Each with an engine, a compiler and a cache of its own, as processes have.
        let host = async || {
            let compiler = Compiler::new(place.clone(), 512 << 10);
            let cache = CompileCache::open(Some(&cache_folder), 1 << 20);
            compile(&engines(), &cache, &compiler, EMPTY.into(), &Limits::default())
                .await
                .map(drop)
        };
        let (one, two, three) = tokio::join!(host(), host(), host());
        for compiled in [one, two, three] {
            compiled.unwrap();
        }
        assert_eq!(std::fs::read(folder.path().join("started")).unwrap().len(), 1);
        let locks = std::fs::read_dir(&cache_folder).unwrap().flatten();
        assert_eq!(
            locks
                .filter(|file| file.file_name().to_string_lossy().starts_with(".lock-"))
                .count(),
            0
        );
    }

    #[tokio::test]
    async fn a_component_is_read_again_after_a_write_to_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(Some(&folder.path().join("cache")), 64 << 20);
        let (engines, limits) = (engines(), Limits::default());
        let compiler = Compiler::new(CompilePlace::ThisProcess, 512 << 10);
        let digest = async |component: ComponentBytes| {
            let compiled = compile(&engines, &cache, &compiler, component, &limits).await;
            compiled.map(|compiled| compiled.digest)
        };
        let bytes =
            |number| wat::parse_str(format!("(component (core module (global i32 (i32.const {number}))))")).unwrap();
        let (one, two) = (bytes(1), bytes(2));
        digest(two.clone().into()).await.unwrap();
        let path = folder.path().join("one.wasm");
        std::fs::write(&path, &one).unwrap();
        let open = || open_file(&path, limits.component_bytes).unwrap();
        assert_eq!(digest(open()).await.unwrap(), Digest::of(&one));
        // What is known of the file is what is believed, as long as it has this state.
        let facts = Facts::read(two.clone().into()).await.unwrap();
        cache.put_facts(&FileState::settled(&path), &facts);
        assert_eq!(digest(open()).await.unwrap(), Digest::of(&two));
        let small = Limits {
            component_bytes: one.len() as u64 - 1,
            ..Limits::default()
        };
        let error = compile(&engines, &cache, &compiler, open(), &small)
            .await
            .map(drop)
            .unwrap_err();
        assert!(matches!(error, ComponentError::TooLarge { .. }), "{error}");
        FileState::write_secretly(&path, &one);
        assert_eq!(digest(open()).await.unwrap(), Digest::of(&one));
    }

    #[tokio::test]
    async fn a_program_is_adapted_once_and_known_by_its_own_digest() {
        let program = wat::parse_str(
            r#"(module
                (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
                (memory (export "memory") 1)
                (func (export "_start")))"#,
        );
        let program = Bytes::from(program.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(Some(folder.path()), 64 << 20);
        let (engines, limits) = (engines(), Limits::default());
        let compiler = Compiler::new(CompilePlace::ThisProcess, 512 << 10);
        let component = || ComponentBytes::from(program.clone());
        let compiled = compile(&engines, &cache, &compiler, component(), &limits)
            .await
            .unwrap();
        assert_eq!(compiled.digest, Digest::of(&program));
        assert!(compiled.footprint.held() > 0);
        // From here on the cache has both forms, so a compiler that can only fail isn't asked.
        let broken = Compiler::new(CompilePlace::Child("/nowhere".into()), 512 << 10);
        let again = compile(&engines, &cache, &broken, component(), &limits).await;
        assert_eq!(again.map(|again| again.digest).unwrap(), Digest::of(&program));
        // A damaged form is adapted again.
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            if file.file_name().to_string_lossy().ends_with(".adapted") {
                std::fs::write(file.path(), "damaged").unwrap();
            }
        }
        let error = compile(&engines, &cache, &broken, component(), &limits)
            .await
            .map(drop)
            .unwrap_err();
        assert!(matches!(error, ComponentError::CompilerFailed(_)), "{error}");
        compile(&engines, &cache, &compiler, component(), &limits)
            .await
            .map(drop)
            .unwrap();
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_adapted_is_tried_once() {
        let failing = FailingCompiler::new("echo 'no such import' >&2; exit 3");
        let program = wat::parse_str(r#"(module (func (export "_start")))"#).unwrap();
        for _ in 0..3 {
            let error = failing.compile_bytes(&program, &Limits::default()).await;
            assert_eq!(error.to_string(), "the component is not valid: no such import");
        }
        assert_eq!(failing.starts(), 1);
        let library = wat::parse_str(r#"(module (func (export "_initialize")))"#).unwrap();
        let error = failing.compile_bytes(&library, &Limits::default()).await;
        assert!(matches!(error, ComponentError::CoreModule), "{error}");
        assert_eq!(failing.starts(), 1);
    }

    /// A disk that hangs must not hang the executor: here the entry is a pipe that nobody has written to yet.
    #[tokio::test]
    async fn the_cache_is_read_on_a_blocking_thread() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(Some(folder.path()), 1 << 20);
        let engines = engines();
        let entry: PathBuf = folder.path().join(CompileCache::entry_name(
            &engines,
            &Digest::of(EMPTY),
            b"other than what is read",
        ));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &entry,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let compiler = Compiler::new(CompilePlace::ThisProcess, 512 << 10);
        let limits = Limits::default();
        let compiling = compile(&engines, &cache, &compiler, EMPTY.into(), &limits);
        let (compiled, ()) = tokio::join!(compiling, close_once_read(&entry));
        assert!(compiled.is_ok());
    }

    /// Waits for a reader of the pipe, then ends its input.
    async fn close_once_read(pipe: &Path) {
        let open = || {
            std::fs::OpenOptions::new()
                .write(true)
                .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
                .open(pipe)
        };
        while open().is_err() {
            tokio::task::yield_now().await;
        }
    }
}
