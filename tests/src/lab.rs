//! A place to run the real binary in: folders of its own, a configuration, a scripted model.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use cofferdam::simulator::{Answer, Script, Simulator, SimulatorOptions, ToolCall};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// Far beyond what any command needs, so that a hang is a failure and not a wait.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the tests use as a key. It must never be seen again.
pub const KEY: &str = "sk-ant-api03-test-key-that-must-not-leak";

/// Folders, configuration and model of one test.
#[derive(Debug)]
pub struct Lab {
    pub folder: TempDir,
    pub simulator: Simulator,
    program: PathBuf,
    cache: PathBuf,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal: {self}"))
    }

    /// Standard output as one JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Standard output as a JSON document per line: what `--output stream-json` writes.
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self}"));
        self.stdout.lines().map(parse).collect()
    }

    /// Checks the exit code, and that no secret was shown.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        assert!(
            !self.stdout.contains(KEY) && !self.stderr.contains(KEY),
            "the key was shown: {self}"
        );
        assert!(!self.stderr.contains("panicked at"), "{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\n-- stdout\n{}\n-- stderr\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

impl Lab {
    /// `program` is the binary: `env!("CARGO_BIN_EXE_cofferdam-under-test")`. What it compiles is the same for all tests
    /// and is kept in `cache`.
    pub fn new(program: &str, cache: PathBuf, answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut script = answers.into_iter().fold(Script::new(), Script::answer);
        if script.answers.is_empty() {
            // A script needs an answer; a test that asks no model needs none.
            script = script.answer(Answer::error(500));
        }
        let simulator = Simulator::start(script, SimulatorOptions::default()).unwrap();
        let lab = Self {
            folder: tempfile::tempdir().unwrap(),
            simulator,
            program: program.into(),
            cache,
        };
        lab.configure("");
        lab
    }

    /// Writes the configuration: the scripted model, and `more` behind it. `more` may go on in `[model]` first.
    pub fn configure(&self, more: &str) {
        let text = format!(
            "[model]\nbase_url = \"{}\"\n{more}\n[retry]\ninitial_delay = \"10ms\"\njitter = false\n",
            self.simulator.url()
        );
        self.write("cofferdam.toml", text);
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command, in the lab's folder and with an environment of its own.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command_of(&self.program, arguments)
    }

    /// Another program in the same place.
    pub fn command_of<'a>(&self, program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("ANTHROPIC_API_KEY", KEY)
            .env("HOME", self.folder.path())
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_CACHE_HOME", &self.cache)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn call<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        finish(self.command(arguments).spawn().unwrap()).await
    }

    pub async fn call_with_input<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
        input: impl AsRef<[u8]>,
    ) -> Ran {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_ref()).await.unwrap();
        drop(stdin);
        finish(child).await
    }

    /// Waits until the model has been asked.
    pub async fn asked(&self) {
        let mut requests = self.simulator.watch();
        if self.simulator.requests().is_empty() {
            let request = tokio::time::timeout(PATIENCE, requests.recv()).await;
            request.expect("the model is never asked").unwrap();
        }
    }

    /// `tool call --output json`.
    pub async fn call_tool(&self, tool: &str, input: &Value) -> Ran {
        self.call(["tool", "call", tool, &input.to_string(), "--output", "json"])
            .await
    }

    /// What `tool inspect` shows of a component.
    pub async fn inspect(&self, component: &str) -> String {
        self.call(["tool", "inspect", component]).await.expect_code(0).stdout
    }

    /// `run --output json`, and its report.
    #[track_caller]
    pub fn report(&self, code: i32) -> impl Future<Output = Value> {
        let command = self.command(["run", "--output", "json", "Go."]).spawn().unwrap();
        async move { finish(command).await.expect_code(code).json() }
    }
}

/// Waits for the end of a command.
pub async fn finish(child: Child) -> Ran {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .expect("the command hangs")
        .unwrap();
    Ran {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A model that calls one tool.
pub fn tool_call(name: &str, input: Value) -> Answer {
    Answer::tools([ToolCall::new(name, input)])
}

/// `[plugins.faulty]` with these limits.
pub fn faulty(limits: &str) -> String {
    format!("[plugins.faulty]\ncomponent = \"builtin:faulty\"\n[plugins.faulty.limits]\n{limits}\n")
}
