//! An isolated environment for the real binary: its own folders, a configuration and a scripted model.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use cofferdam::simulator::{Answer, Script, Simulator, SimulatorOptions, ToolCall};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// Far longer than any command needs, so that a hang fails the test.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// The API key of the tests. No output may contain it.
pub const KEY: &str = "sk-ant-api03-test-key-that-must-not-leak";

/// The folders, configuration and model of one test.
#[derive(Debug)]
pub struct Lab {
    pub folder: TempDir,
    pub simulator: Simulator,
    program: PathBuf,
    cache: PathBuf,
}

/// The result of a command.
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

    /// Standard output as one JSON document per line, as `--output stream-json` prints it.
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self}"));
        self.stdout.lines().map(parse).collect()
    }

    /// Checks the exit code, and that the output contains neither the key nor a panic.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        assert!(
            !self.stdout.contains(KEY) && !self.stderr.contains(KEY),
            "the key was shown: {self}"
        );
        // What a tool has printed about its own panic isn't one of ours.
        let mut lines = self
            .stderr
            .lines()
            .filter(|line| !line.trim_start().starts_with("printed"));
        assert!(!lines.any(|line| line.contains("panicked at")), "{self}");
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
    /// `program` is the binary: `env!("CARGO_BIN_EXE_cofferdam-under-test")`. `cache` is its compilation cache, which all tests
    /// share.
    pub fn new(program: &str, cache: PathBuf, answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut script = answers.into_iter().fold(Script::new(), Script::answer);
        if script.answers.is_empty() {
            // A script must have an answer, even if the test makes no model request.
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

    /// Writes the configuration: the scripted model, followed by `more`, which can begin with further keys of `[model]`.
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

    /// The command in the lab's folder, with a clean environment.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command_of(&self.program, arguments)
    }

    /// Another program in the same folder and environment.
    pub fn command_of<'a>(&self, program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("ANTHROPIC_API_KEY", KEY)
            .env("CHAT_API_KEY", KEY)
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

    /// Waits for the first model request.
    pub async fn wait_for_model_request(&self) {
        let mut requests = self.simulator.watch();
        if self.simulator.requests().is_empty() {
            let request = tokio::time::timeout(COMMAND_TIMEOUT, requests.recv()).await;
            request.expect("no model request arrived").unwrap();
        }
    }

    /// `tool call --output json`.
    pub async fn call_tool(&self, tool: &str, input: &Value) -> Ran {
        self.call(["tool", "call", tool, &input.to_string(), "--output", "json"])
            .await
    }

    /// The output of `tool inspect` for a component.
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

/// Waits for a command to exit.
pub async fn finish(child: Child) -> Ran {
    let output = tokio::time::timeout(COMMAND_TIMEOUT, child.wait_with_output())
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
