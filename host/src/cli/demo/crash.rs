//! `cofferdam demo --crash`: a run is killed in the middle of an answer, and another process goes on with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use super::checks::Check;
use super::script::interrupted_script;
use super::{CliError, Context, print_checks};
use crate::cli::Output;
use crate::simulator::{Simulator, SimulatorOptions};

const PROMPT: &str = "What is 25 * 17?";

const INTRO: &str = "\
This is a demonstration: the model is simulated on this machine. No key, no network, no cost. Everything else is real: each
line that begins with $ is a process of its own, and the first of them is killed in the middle of the model's answer.
";

/// How much of the answer is there to read before the kill.
const READING: Duration = Duration::from_millis(1_500);
/// The longest that the first process takes to ask for the answer.
const START: Duration = Duration::from_secs(60);

/// The folder and the program of the processes.
struct Stage<'a> {
    cx: &'a Context,
    program: PathBuf,
    config: PathBuf,
    folder: &'a Path,
}

impl Stage<'_> {
    /// Shows the command as a user would write it, and runs it.
    fn start(&self, arguments: &[&str], stdout: Stdio) -> Result<Child, CliError> {
        let words = arguments.iter().map(|word| match word.contains(' ') {
            true => format!("\"{word}\""),
            false => (*word).to_owned(),
        });
        let words: Vec<String> = words.collect();
        self.cx.note(&format!("\n$ cofferdam {}", words.join(" ")));
        self.run(arguments, stdout)
    }

    fn run(&self, arguments: &[&str], stdout: Stdio) -> Result<Child, CliError> {
        Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(stdout)
            .kill_on_drop(true)
            .spawn()
            .map_err(process)
    }

    /// The only session.
    async fn session(&self) -> Result<Value, CliError> {
        let listed = self.run(&["--quiet", "--output", "json", "session", "list"], Stdio::piped())?;
        let listed = listed.wait_with_output().await.map_err(process)?;
        let mut sessions: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        Ok(sessions.pop().unwrap_or_default())
    }
}

fn process(source: std::io::Error) -> CliError {
    CliError::Thread {
        what: "the processes of the demo",
        source,
    }
}

pub async fn demo(cx: &Context) -> Result<u8, CliError> {
    if cx.global.output != Output::Text {
        return Err(CliError::usage(
            "`demo --crash` shows processes, and has no report",
            "leave `--output` out",
        ));
    }
    let folder = tempfile::tempdir().map_err(CliError::TemporaryFolder)?;
    let model =
        Simulator::start(interrupted_script(), SimulatorOptions::default()).map_err(|source| CliError::Listen {
            what: "simulator",
            source,
        })?;
    let config = folder.path().join("cofferdam.toml");
    let text = format!(
        "[model]\nprovider = \"simulated\"\nbase_url = \"{}\"\n[storage]\npath = \"data\"\n[plugins.calculator]\ncomponent = \"builtin:calculator\"\n",
        model.url()
    );
    std::fs::write(&config, text).map_err(|source| CliError::Write {
        path: config.clone(),
        source,
    })?;
    let stage = Stage {
        cx,
        program: std::env::current_exe().map_err(process)?,
        config,
        folder: folder.path(),
    };
    cx.note(INTRO.trim_end());

    let mut first = stage.start(&["run", PROMPT], Stdio::inherit())?;
    let is_answering = async {
        while model.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(READING).await;
    };
    let has_ended = tokio::select! {
        ended = first.wait() => ended.is_ok(),
        reached = tokio::time::timeout(START, is_answering) => reached.is_err(),
    };
    first.kill().await.map_err(process)?;
    cx.note("\n\n(killed, as by `kill -9` or a power failure)");

    let cut_off = stage.session().await?;
    stage
        .start(&["session", "list"], Stdio::inherit())?
        .wait()
        .await
        .map_err(process)?;
    let id = cut_off["id"].as_str().unwrap_or_default().to_owned();
    let resumed = stage.start(&["session", "resume", &id], Stdio::inherit())?;
    let resumed = resumed.wait_with_output().await.map_err(process)?;
    let completed = stage.session().await?;
    let calls = model.requests().len();
    let checks = [
        (
            "a process was killed in the middle of an answer",
            !has_ended && cut_off["outcome"].is_null(),
        ),
        (
            "another one went on, without calculating again",
            resumed.status.success() && calls == 3,
        ),
        ("the run completed", completed["outcome"] == "completed"),
    ];
    Ok(print_checks(
        cx,
        "The model was",
        &checks.map(|(what, passed)| Check { what, passed }),
    ))
}
