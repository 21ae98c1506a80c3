//! Compiles untrusted bytes in a child process: compilation can't be interrupted, uses as much memory as the bytes demand,
//! and must not crash the host.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime::Engine;

use super::adapt;
use super::component::{ComponentError, OF_WASI_3};
use super::engine::config;
use crate::sandbox::limits::Limits;
use crate::sandbox::metering::Metering;

/// The arguments that make the program a compiler or an adapter. Internal: neither documented nor stable.
const COMPILE_ARGUMENT: &str = "__compile-component";
const ADAPT_ARGUMENT: &str = "__adapt-module";

/// The child's output begins with this, so that the host never loads the output of another program as code.
const COMPILED_MAGIC: &[u8] = b"cofferdam-compiled\n";
const ADAPTED_MAGIC: &[u8] = b"cofferdam-adapted\n";

/// The most compiled code that the host reads from the child, in bytes; a Python component has 35 MiB.
pub(super) const MAX_COMPILED: u64 = 512 << 20;

/// Bytes of the child's error output that are kept.
const ERROR_BYTES: u64 = 16 * 1024;

/// How many components compile at the same time. `compile_memory` limits each; this limits them all together.
const MAX_PARALLEL: usize = 2;

/// The most threads that compile one component. More of them would only take the processors of others.
const MAX_THREADS: u64 = 4;

/// Bytes of `compile_memory` for each thread. Python's interpreter takes 370 MiB of address space on one thread and 650 MiB on
/// four. What doesn't compile on several threads for lack of memory is tried once more on one.
const MEMORY_PER_THREAD: u64 = 512 << 20;

/// Where the compiler's library reads how many threads it is to use.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// Where Rust reads the stack of a thread. A function that compiles on the first thread must do so on the others as well.
const STACK_VARIABLE: &str = "RUST_MIN_STACK";
const THREAD_STACK: &str = "8388608";

/// Compiles components, a few at a time.
#[derive(Debug)]
pub(in crate::sandbox) struct Compiler {
    place: CompilePlace,
    stack: u64,
    gate: Semaphore,
    max_compiled: u64,
    processors: u64,
}

/// Where components are compiled.
#[derive(Clone, Debug)]
pub enum CompilePlace {
    /// In a child process of this program, which must call [`run_compiler_if_requested`] first thing in `main`.
    Child(PathBuf),
    /// In this process, for programs that trust their components. `compile_timeout` and `compile_memory` have no effect then.
    ThisProcess,
    /// Nowhere: only components whose compiled form is cached can be loaded.
    Nowhere,
}

/// Whether the system enforces `RLIMIT_AS`. macOS accepts the limit but ignores it, so only the deadline stops a compiler there.
const ENFORCES_MEMORY_LIMIT: bool = cfg!(target_os = "linux");

impl Compiler {
    pub(in crate::sandbox) fn new(place: CompilePlace, stack: u64) -> Self {
        if !ENFORCES_MEMORY_LIMIT {
            tracing::info!("this system can't limit the memory of a process: [limits] compile_memory has no effect");
        }
        Self {
            place,
            stack,
            gate: Semaphore::new(MAX_PARALLEL),
            max_compiled: MAX_COMPILED,
            processors: std::thread::available_parallelism().map_or(1, usize::from) as u64,
        }
    }

    #[cfg(test)]
    pub(super) const fn with_processors(mut self, processors: u64) -> Self {
        self.processors = processors;
        self
    }

    /// Returns the compiled form, which loads into every engine of [`super::engine`].
    pub(super) async fn compile(
        &self,
        bytes: &[u8],
        metering: Metering,
        limits: &Limits,
    ) -> Result<Vec<u8>, ComponentError> {
        // The semaphore is never closed. If it were, compiling without a permit would still be correct.
        let _permit = self.gate.acquire().await.ok();
        match &self.place {
            CompilePlace::Child(program) => {
                let deadline = Instant::now() + limits.compile_timeout;
                let threads = self.threads(limits.compile_memory);
                let compile = async |threads| {
                    let job = (bytes, metering, limits);
                    self.compile_on(threads, program, job, deadline).await
                };
                let compiled = match compile(threads).await {
                    // Each thread has a stack and an allocator's arena, so one alone may have enough.
                    Err(failed) if failed.lacked_memory && threads > 1 => compile(1).await,
                    compiled => compiled,
                };
                compiled?.ok_or(ComponentError::CompiledTooLarge(self.max_compiled))
            }
            CompilePlace::Nowhere => Err(not_here()),
            CompilePlace::ThisProcess => {
                let (bytes, stack) = (bytes.to_vec(), self.stack);
                tokio::task::spawn_blocking(move || precompile(&bytes, stack, metering))
                    .await
                    .map_err(|error| ComponentError::CompilerFailed(error.to_string().into()))?
                    .map_err(|failed| match failed {
                        NotCompiled::Invalid(message) => ComponentError::Invalid(message.into()),
                        NotCompiled::NoMemory(message) | NotCompiled::NoEngine(message) => {
                            ComponentError::CompilerFailed(message.into())
                        }
                    })
            }
        }
    }

    /// Compiles in a child on so many threads, which share the memory. `None` if the compiled form is too large.
    async fn compile_on(
        &self,
        threads: u64,
        program: &Path,
        (bytes, metering, limits): (&[u8], Metering, &Limits),
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, Failed> {
        // All threads together.
        let seconds = limits.compile_timeout.as_secs().saturating_mul(threads);
        let numbers = [self.stack, limits.compile_memory, seconds, threads];
        let numbers = numbers.map(|number| number.to_string());
        let [stack, memory, seconds, threads] = numbers.each_ref().map(String::as_str);
        let job = Job {
            arguments: &[COMPILE_ARGUMENT, stack, memory, seconds, metering.as_str()],
            threads,
            magic: COMPILED_MAGIC,
            max_output: self.max_compiled,
        };
        job.run(program, bytes, limits, deadline).await
    }

    /// Threads of a compiler that has so many bytes of memory.
    fn threads(&self, memory: u64) -> u64 {
        (memory / MEMORY_PER_THREAD).clamp(1, MAX_THREADS.min(self.processors))
    }

    /// Returns the component that runs a program for WASI 0.1.
    pub(super) async fn adapt(&self, module: &[u8], limits: &Limits) -> Result<Vec<u8>, ComponentError> {
        let _permit = self.gate.acquire().await.ok();
        match &self.place {
            CompilePlace::Child(program) => {
                let numbers = [limits.compile_memory, limits.compile_timeout.as_secs()];
                let numbers = numbers.map(|number| number.to_string());
                let [memory, seconds] = numbers.each_ref().map(String::as_str);
                let max_output = (module.len() as u64).saturating_add(adapt::MAX_ADDED);
                let job = Job {
                    arguments: &[ADAPT_ARGUMENT, memory, seconds],
                    threads: "1",
                    magic: ADAPTED_MAGIC,
                    max_output,
                };
                let deadline = Instant::now() + limits.compile_timeout;
                let adapted = job.run(program, module, limits, deadline).await?;
                adapted.ok_or(ComponentError::TooLarge {
                    size: max_output.saturating_add(1),
                    limit: max_output,
                })
            }
            CompilePlace::Nowhere => Err(not_here()),
            CompilePlace::ThisProcess => {
                let module = module.to_vec();
                tokio::task::spawn_blocking(move || adapt::adapt(&module))
                    .await
                    .map_err(|error| ComponentError::CompilerFailed(error.to_string().into()))?
                    .map_err(|message| ComponentError::Invalid(message.into()))
            }
        }
    }
}

fn not_here() -> ComponentError {
    ComponentError::CompilerFailed("this process compiles nothing".into())
}

/// What a child is to do.
struct Job<'a> {
    arguments: &'a [&'a str],
    threads: &'a str,
    magic: &'static [u8],
    max_output: u64,
}

/// Why a child returned nothing.
struct Failed {
    error: ComponentError,
    /// Whether memory was missing that fewer threads might not need.
    lacked_memory: bool,
}

impl From<ComponentError> for Failed {
    fn from(error: ComponentError) -> Self {
        let lacked_memory = matches!(error, ComponentError::CompileMemory(_));
        Self { error, lacked_memory }
    }
}

impl From<Failed> for ComponentError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl Job<'_> {
    /// The child's output without its magic; `None` if it is too large. `deadline` is where `compile_timeout` ends.
    async fn run(
        &self,
        program: &Path,
        bytes: &[u8],
        limits: &Limits,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, Failed> {
        if is_child() {
            // A program that ignored the request to compile would start children of itself endlessly.
            return Err(ComponentError::NoCompiler(program.to_owned()).into());
        }
        let failed =
            |what: &str, error: std::io::Error| ComponentError::CompilerFailed(format!("{what}: {error}").into());
        let mut child = Command::new(program)
            .args(self.arguments)
            .env_clear()
            .env(THREADS_VARIABLE, self.threads)
            .env(STACK_VARIABLE, THREAD_STACK)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&format!("can't start {}", program.display()), error))?;
        let (Some(mut input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(ComponentError::CompilerFailed("the child has no pipes".into()).into());
        };
        let mut received = Vec::new();
        let mut message = Vec::new();
        let max_output = self.max_output.saturating_add(self.magic.len() as u64);
        let talk = async {
            let send = async {
                // A child that gives up early closes its end of the pipe; its exit status says why.
                let _ = input.write_all(bytes).await;
                drop(input);
            };
            let complain = async {
                let mut errors = errors.take(ERROR_BYTES);
                let _ = errors.read_to_end(&mut message).await;
                // Drain the rest, because a child that blocks on a full pipe would never exit.
                let _ = tokio::io::copy(&mut errors.into_inner(), &mut tokio::io::sink()).await;
            };
            let receive = async {
                let mut output = output.take(max_output.saturating_add(1));
                // Output beyond the limit isn't read. Closing this end of the pipe makes the child's write fail.
                output.read_to_end(&mut received).await
            };
            let (_, read, ()) = tokio::join!(send, receive, complain);
            read.map_err(|error| failed("can't read the compiled component", error))?;
            child
                .wait()
                .await
                .map_err(|error| failed("can't wait for the child", error))
        };
        let status = match tokio::time::timeout_at(deadline, talk).await {
            Ok(status) => status?,
            Err(_) => {
                // Dropping the child would kill it as well; `kill` also waits, so that no zombie remains.
                let _ = child.kill().await;
                return Err(ComponentError::CompileTimeout(limits.compile_timeout).into());
            }
        };
        let message = String::from_utf8_lossy(&message).trim().to_owned();
        if received.len() as u64 > max_output {
            return Ok(None);
        }
        if status.success() {
            if !received.starts_with(self.magic) {
                return Err(ComponentError::NoCompiler(program.to_owned()).into());
            }
            received.drain(..self.magic.len());
            Ok(Some(received))
        } else if status.code() == Some(INVALID) {
            Err(ComponentError::Invalid(message.into()).into())
        } else if status.code() == Some(NO_MEMORY) || aborted_without_memory(status, &message) {
            Err(ComponentError::CompileMemory(limits.compile_memory).into())
        } else {
            Err(Failed {
                error: ComponentError::CompilerFailed(format!("{status}: {message}").into()),
                // The compiler's library panics if it can't start its threads.
                lacked_memory: status.code() == Some(PANICKED),
            })
        }
    }
}

/// Whether the child aborted because an allocation failed. Errors that the child can report have a status of their own. The text
/// counts only together with the signal: the component can put any words into the message of a panic, which ends a child otherwise.
fn aborted_without_memory(status: ExitStatus, message: &str) -> bool {
    status.signal() == Some(Signal::ABORT.as_raw()) && message.lines().any(|line| line.starts_with(FAILED_ALLOCATION))
}

/// How Rust's abort says it.
const FAILED_ALLOCATION: &str = "memory allocation of ";

/// What this process was started to do, if it is a child.
fn requested() -> Option<&'static str> {
    let argument = std::env::args_os().nth(1)?;
    [COMPILE_ARGUMENT, ADAPT_ARGUMENT]
        .into_iter()
        .find(|known| argument == **known)
}

fn is_child() -> bool {
    requested().is_some()
}

/// The exit status of a child that found the component invalid.
const INVALID: i32 = 3;
/// The exit status of a child that reported that it has too little memory.
const NO_MEMORY: i32 = 4;
/// Rust's exit status of a program that panicked.
const PANICKED: i32 = 101;

/// If the program was started as a compiler, compiles or adapts one component from standard input to standard output and exits;
/// otherwise returns at once. Call it first in `main`: what stands before it runs in the child as well.
pub fn run_compiler_if_requested() {
    let Some(request) = requested() else {
        return;
    };
    let mut arguments = std::env::args().skip(2);
    let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
    let misused = || fail(2, "this command is internal");
    let code = match request {
        ADAPT_ARGUMENT => match (number(), number()) {
            (Some(memory), Some(seconds)) => child(memory, Duration::from_secs(seconds), ADAPTED_MAGIC, |bytes| {
                adapt::adapt(bytes).map_err(NotCompiled::Invalid)
            }),
            _ => misused(),
        },
        _ => {
            let numbers = (number(), number(), number());
            let metering = arguments.next().and_then(|text| Metering::parse(&text));
            match (numbers, metering) {
                ((Some(stack), Some(memory), Some(seconds)), Some(metering)) => {
                    child(memory, Duration::from_secs(seconds), COMPILED_MAGIC, |bytes| {
                        precompile(bytes, stack, metering)
                    })
                }
                _ => misused(),
            }
        }
    };
    // The process exists only to compile, so nothing else runs in it.
    #[allow(clippy::exit)]
    std::process::exit(code);
}

fn child(memory: u64, time: Duration, magic: &[u8], work: impl FnOnce(&[u8]) -> Result<Vec<u8>, NotCompiled>) -> i32 {
    // The parent kills the child at the deadline. This limit applies if the parent has died.
    let seconds = time.as_secs().saturating_add(1);
    let limit = |resource, value| {
        setrlimit(
            resource,
            Rlimit {
                current: Some(value),
                maximum: Some(value),
            },
        )
    };
    // No core dump: it would hold untrusted data and be as large as the child's memory.
    let limited = limit(Resource::Core, 0)
        .and_then(|()| match ENFORCES_MEMORY_LIMIT {
            true => limit(Resource::As, memory),
            false => Ok(()),
        })
        .and_then(|()| limit(Resource::Cpu, seconds));
    if let Err(error) = limited {
        return fail(1, &format!("can't limit the compiler: {error}"));
    }
    let mut bytes = Vec::new();
    if let Err(error) = std::io::stdin().lock().read_to_end(&mut bytes) {
        let code = match error.kind() {
            ErrorKind::OutOfMemory => NO_MEMORY,
            _ => 1,
        };
        return fail(code, &format!("can't read the component: {error}"));
    }
    match work(&bytes) {
        Ok(done) => match answer(magic, &done) {
            Ok(()) => 0,
            Err(error) => fail(1, &format!("can't hand over the compiled component: {error}")),
        },
        Err(NotCompiled::Invalid(message)) => fail(INVALID, &message),
        Err(NotCompiled::NoMemory(message)) => fail(NO_MEMORY, &message),
        Err(NotCompiled::NoEngine(message)) => fail(1, &message),
    }
}

fn answer(magic: &[u8], bytes: &[u8]) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(magic)?;
    output.write_all(bytes)?;
    output.flush()
}

fn fail(code: i32, message: &str) -> i32 {
    let _ = writeln!(std::io::stderr(), "{message}");
    code
}

/// Why there is no compiled form. Only the first follows from the component's bytes.
enum NotCompiled {
    Invalid(String),
    NoMemory(String),
    NoEngine(String),
}

fn precompile(bytes: &[u8], stack: u64, metering: Metering) -> Result<Vec<u8>, NotCompiled> {
    let failed = |error: &wasmtime::Error, other: fn(String) -> NotCompiled| {
        let message = explain(&format!("{error:#}"));
        match ran_out_of_memory(error) {
            true => NotCompiled::NoMemory(message),
            false => other(message),
        }
    };
    let engine = Engine::new(&config(stack, metering));
    let engine = engine.map_err(|error| failed(&error, NotCompiled::NoEngine))?;
    let compiled = engine.precompile_component(bytes);
    compiled.map_err(|error| failed(&error, NotCompiled::Invalid))
}

/// By the types of the errors, because the component can put any words into their texts.
fn ran_out_of_memory(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let system = cause.downcast_ref::<rustix::io::Errno>();
        cause.is::<wasmtime::OutOfMemory>()
            || io == Some(ErrorKind::OutOfMemory)
            || system == Some(&rustix::io::Errno::NOMEM)
    })
}

/// Rewords a common error of the engine.
fn explain(message: &str) -> String {
    if message.contains("component model async feature") {
        return OF_WASI_3.to_owned();
    }
    message.to_owned()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn compiled_by(program: &str, max_compiled: u64) -> ComponentError {
        let compiler = Compiler {
            max_compiled,
            ..Compiler::new(CompilePlace::Child(program.into()), 1 << 20)
        };
        let compiled = compiler.compile(b"\0asm", Metering::Fuel, &Limits::default()).await;
        compiled.unwrap_err()
    }

    /// By the engine's own words, which an upgrade may change.
    #[test]
    fn a_component_of_wasi_3_is_known_by_the_error_of_the_engine() {
        let engine = Engine::default();
        let asynchronous = wat::parse_str(r#"(component (import "f" (func async)))"#).unwrap();
        let error = wasmtime::component::Component::new(&engine, asynchronous).unwrap_err();
        let message = format!("{error:#}");
        assert_eq!(explain(&message), OF_WASI_3, "{message}");
        assert_eq!(explain("another"), "another");
    }

    #[tokio::test]
    async fn endless_output_of_a_compiler_is_cut_off() {
        let error = compiled_by("/usr/bin/yes", 1 << 20).await;
        assert_eq!(error.to_string(), "it compiles to more than 1 MiB");
    }

    #[tokio::test]
    async fn a_program_that_does_not_compile_and_one_that_fails_are_different_errors() {
        let error = compiled_by("/bin/true", MAX_COMPILED).await;
        assert!(matches!(error, ComponentError::NoCompiler(_)), "{error}");
        let error = compiled_by("/bin/false", MAX_COMPILED).await;
        assert!(matches!(error, ComponentError::CompilerFailed(_)), "{error}");
        let error = compiled_by("/nowhere/at/all", MAX_COMPILED).await;
        assert!(error.to_string().contains("can't start /nowhere/at/all"), "{error}");
    }
}
