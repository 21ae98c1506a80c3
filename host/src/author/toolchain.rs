//! Finds and runs the programs of a language's toolchain.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Child;

use super::AuthorError;
use super::build::Progress;

/// Folders of a project that hold programs of its own, before those of `PATH`.
const PROJECT_FOLDERS: [&str; 2] = [".venv/bin", "node_modules/.bin"];

/// Where programs are looked for, and how they run.
pub(super) struct Toolchain<'a> {
    project: PathBuf,
    path: OsString,
    scratch: TempDir,
    progress: Progress<'a>,
}

impl<'a> Toolchain<'a> {
    pub(super) fn new(project: &Path, progress: Progress<'a>) -> Result<Self, AuthorError> {
        // Commands run in the project, which would change what a relative path means.
        let project = std::path::absolute(project).unwrap_or_else(|_| project.to_owned());
        let own = PROJECT_FOLDERS.map(|folder| project.join(folder));
        let rest = std::env::var_os("PATH").unwrap_or_default();
        // An empty or relative entry would mean another folder for each command.
        let absolute = std::env::split_paths(&rest).filter(|folder| folder.is_absolute());
        let all = own.into_iter().chain(absolute);
        let scratch = tempfile::tempdir().map_err(|source| AuthorError::Write {
            path: std::env::temp_dir(),
            source,
        })?;
        Ok(Self {
            // A folder whose name holds a colon can't be part of a path.
            path: std::env::join_paths(all).unwrap_or(rest),
            project,
            scratch,
            progress,
        })
    }

    pub(super) fn project(&self) -> &Path {
        &self.project
    }

    /// A folder for the output of commands, which is removed after the build.
    pub(super) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The first program of these names.
    pub(super) fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let folders: Vec<PathBuf> = std::env::split_paths(&self.path).collect();
        let mut candidates = names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        candidates.find(|candidate| is_program(candidate))
    }

    /// A command in the project's folder. The programs that it starts are looked for in the same places.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.project)
            .env("PATH", &self.path)
            // A command that is killed doesn't remove its temporary files.
            .env("TMPDIR", self.scratch())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command. What it prints goes where [`Progress`] says.
    pub(super) async fn run(&self, command: Command, hint: Option<&'static str>) -> Result<(), AuthorError> {
        self.execute(command, Stdout::Text, hint).await.map(drop)
    }

    /// Runs a command whose stdout is data.
    pub(super) async fn output(&self, command: Command, hint: Option<&'static str>) -> Result<Vec<u8>, AuthorError> {
        self.execute(command, Stdout::Data, hint).await
    }

    async fn execute(
        &self,
        mut command: Command,
        stdout: Stdout,
        hint: Option<&'static str>,
    ) -> Result<Vec<u8>, AuthorError> {
        let rendered = render(&command);
        let (to_stdout, to_stderr) = match (self.progress, stdout) {
            (Progress::Shown(_), Stdout::Text) => (Stdio::from(std::io::stderr()), Stdio::inherit()),
            (Progress::Shown(_), Stdout::Data) => (Stdio::piped(), Stdio::inherit()),
            (Progress::Quiet | Progress::Lines { .. }, _) => (Stdio::piped(), Stdio::piped()),
        };
        command.stdout(to_stdout).stderr(to_stderr);
        match self.progress {
            Progress::Shown(show) | Progress::Lines { command: show, .. } => show(&rendered),
            Progress::Quiet => {}
        }
        let kept = RefCell::new(String::new());
        let on_line = |line: &str| match self.progress {
            Progress::Lines { line: show, .. } => show(line),
            Progress::Shown(_) | Progress::Quiet => kept.borrow_mut().extend(["\n", line]),
        };
        let (status, data) = Processes::start(command)?.run(stdout, on_line).await?;
        match status.success() {
            true => Ok(data),
            false => Err(AuthorError::Failed {
                command: rendered,
                status,
                output: kept.into_inner().trim_end().to_owned(),
                hint,
            }),
        }
    }
}

/// What a command's stdout is.
#[derive(Clone, Copy)]
enum Stdout {
    /// For people, as its stderr.
    Text,
    Data,
}

/// A command and the processes that it starts. They are killed if this is dropped before the command has ended.
struct Processes {
    command: Child,
    program: String,
}

impl Processes {
    fn start(command: Command) -> Result<Self, AuthorError> {
        let program = command.get_program().to_string_lossy().into_owned();
        // A group of its own: killing the command alone would leave compilers that it has started.
        let child = tokio::process::Command::from(command).process_group(0).spawn();
        match child {
            Ok(command) => Ok(Self { command, program }),
            Err(source) => Err(AuthorError::Start { program, source }),
        }
    }

    /// Waits until the command has ended. Passes on each line that it prints, and returns the data of its stdout.
    async fn run(mut self, stdout: Stdout, on_line: impl Fn(&str)) -> Result<(ExitStatus, Vec<u8>), AuthorError> {
        let mut data = Vec::new();
        let (output, errors) = (self.command.stdout.take(), self.command.stderr.take());
        let read_output = async {
            match (output, stdout) {
                (Some(mut output), Stdout::Data) => output.read_to_end(&mut data).await.map(drop),
                (Some(output), Stdout::Text) => read_lines(output, &on_line).await,
                (None, _) => Ok(()),
            }
        };
        let read_errors = async {
            match errors {
                Some(errors) => read_lines(errors, &on_line).await,
                None => Ok(()),
            }
        };
        let read = tokio::try_join!(read_output, read_errors);
        let status = match read {
            Ok(_) => self.command.wait().await,
            Err(error) => Err(error),
        };
        match status {
            Ok(status) => Ok((status, data)),
            Err(source) => Err(AuthorError::Start {
                program: self.program.clone(),
                source,
            }),
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // A command that has ended has no id any more.
        let id = self.command.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn read_lines(reader: impl AsyncRead + Unpin, on_line: impl Fn(&str)) -> std::io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? > 0 {
        on_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
    Ok(())
}

/// A command as a person would type it in the project's folder, for programs and arguments without blanks.
fn render(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let folder = command.get_current_dir().unwrap_or(Path::new(""));
    let program = program.strip_prefix(folder).unwrap_or(program);
    let words = std::iter::once(program.as_os_str()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn programs_of_the_project_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join(".venv/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let program = bin.join("sh");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let toolchain = Toolchain::new(folder.path(), Progress::Quiet).unwrap();
        // A file that can't be executed is no program.
        assert_ne!(toolchain.find(&["sh"]), Some(program.clone()));
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(toolchain.find(&["no-such-program", "sh"]), Some(program));
        assert_eq!(toolchain.find(&["no-such-program"]), None);
    }

    /// A command of the shell, which the lines are passed on from.
    async fn run_shell(progress: Progress<'_>, script: &str) -> Result<(), AuthorError> {
        let folder = tempfile::tempdir().unwrap();
        let toolchain = Toolchain::new(folder.path(), progress).unwrap();
        let shell = toolchain.find(&["sh"]).unwrap();
        let mut command = toolchain.command(&shell);
        command.args(["-c", script]);
        toolchain.run(command, None).await
    }

    /// The same, with the lines that were passed on.
    async fn run_shell_and_show(script: &str) -> (Result<(), AuthorError>, Vec<String>) {
        let shown = RefCell::new(Vec::new());
        let progress = Progress::Lines {
            command: &|_| {},
            line: &|line| shown.borrow_mut().push(line.to_owned()),
        };
        let result = run_shell(progress, script).await;
        (result, shown.into_inner())
    }

    #[tokio::test]
    async fn a_failure_says_what_ran_and_what_it_printed() {
        let error = run_shell(Progress::Quiet, "echo out; echo err >&2; exit 3")
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("out") && text.contains("err"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn lines_are_passed_on_and_are_no_part_of_the_error() {
        let (result, shown) = run_shell_and_show("echo wrong; exit 3").await;
        let error = result.unwrap_err();
        assert_eq!(shown, ["wrong"]);
        assert!(error.to_string().ends_with("exit status: 3"), "{error}");
    }

    #[tokio::test]
    async fn temporary_files_of_a_command_are_removed() {
        let (result, shown) = run_shell_and_show("echo kept > $TMPDIR/file; echo $TMPDIR/file").await;
        result.unwrap();
        let file = &shown[0];
        assert!(file.starts_with('/') && !Path::new(file).exists(), "{file}");
    }
}
