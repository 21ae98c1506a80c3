//! Finds and runs the programs of a language's toolchain.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::AuthorError;
use super::build::Progress;

/// Folders of a project that hold programs of its own, before those of `PATH`.
const PROJECT_FOLDERS: [&str; 2] = [".venv/bin", "node_modules/.bin"];

/// Where programs are looked for.
pub(super) struct Toolchain<'a> {
    project: PathBuf,
    path: OsString,
    progress: Progress<'a>,
}

impl<'a> Toolchain<'a> {
    pub(super) fn new(project: &Path, progress: Progress<'a>) -> Self {
        // Commands run in the project, which would change what a relative path means.
        let project = std::path::absolute(project).unwrap_or_else(|_| project.to_owned());
        let own = PROJECT_FOLDERS.map(|folder| project.join(folder));
        let rest = std::env::var_os("PATH").unwrap_or_default();
        // An empty or relative entry would mean another folder for each command.
        let absolute = std::env::split_paths(&rest).filter(|folder| folder.is_absolute());
        let all = own.into_iter().chain(absolute);
        Self {
            // A folder whose name holds a colon can't be part of a path.
            path: std::env::join_paths(all).unwrap_or(rest),
            project,
            progress,
        }
    }

    pub(super) fn project(&self) -> &Path {
        &self.project
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
            .stdin(Stdio::null());
        command
    }

    /// Runs a command. What it prints goes to stderr, or with [`Progress::Quiet`] into the error.
    pub(super) fn run(&self, command: &mut Command, hint: Option<&'static str>) -> Result<(), AuthorError> {
        self.announce(command);
        let output = match self.progress {
            Progress::Shown(_) => {
                let status = command.stdout(Stdio::from(std::io::stderr())).status();
                status.map(|status| (status, String::new()))
            }
            Progress::Quiet => command.output().map(|output| {
                let text = [output.stdout, output.stderr].concat();
                (
                    output.status,
                    format!("\n{}", String::from_utf8_lossy(&text).trim_end()),
                )
            }),
        };
        let (status, output) = output.map_err(|source| start_error(command, source))?;
        check(command, status, output, hint)
    }

    /// Runs a command whose stdout is data.
    pub(super) fn output(&self, command: &mut Command, hint: Option<&'static str>) -> Result<Vec<u8>, AuthorError> {
        self.announce(command);
        let stderr = match self.progress {
            Progress::Shown(_) => Stdio::inherit(),
            Progress::Quiet => Stdio::piped(),
        };
        let output = command
            .stderr(stderr)
            .output()
            .map_err(|source| start_error(command, source))?;
        let printed = match self.progress {
            Progress::Shown(_) => String::new(),
            Progress::Quiet => format!("\n{}", String::from_utf8_lossy(&output.stderr).trim_end()),
        };
        check(command, output.status, printed, hint)?;
        Ok(output.stdout)
    }

    fn announce(&self, command: &Command) {
        if let Progress::Shown(show) = self.progress {
            show(&render(command));
        }
    }
}

fn check(
    command: &Command,
    status: std::process::ExitStatus,
    output: String,
    hint: Option<&'static str>,
) -> Result<(), AuthorError> {
    match status.success() {
        true => Ok(()),
        false => Err(AuthorError::Failed {
            command: render(command),
            status,
            output,
            hint,
        }),
    }
}

fn start_error(command: &Command, source: std::io::Error) -> AuthorError {
    AuthorError::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    }
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
        let toolchain = Toolchain::new(folder.path(), Progress::Quiet);
        // A file that can't be executed is no program.
        assert_ne!(toolchain.find(&["sh"]), Some(program.clone()));
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(toolchain.find(&["no-such-program", "sh"]), Some(program));
        assert_eq!(toolchain.find(&["no-such-program"]), None);
    }

    #[test]
    fn a_failure_says_what_ran_and_what_it_printed() {
        let folder = tempfile::tempdir().unwrap();
        let toolchain = Toolchain::new(folder.path(), Progress::Quiet);
        let shell = toolchain.find(&["sh"]).unwrap();
        let mut command = toolchain.command(&shell);
        let error = toolchain
            .run(command.args(["-c", "echo out; echo err >&2; exit 3"]), None)
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("out") && text.contains("err"),
            "{text}"
        );
    }
}
