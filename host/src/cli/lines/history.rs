//! The lines of earlier runs, in a file that only its owner can read.
//!
//! Whatever is wrong with the file, lines are still read. At the beginning a person reads of it; later errors are logged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The most lines that are kept.
const MAX_LINES: usize = 1000;

/// The longest line that is kept, in bytes of the file. A longer one can be recalled until the program ends.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// The size from which the file is rewritten without its oldest lines, and the most that is read of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A line of the file is an entry, with its line breaks and backslashes escaped.
#[derive(Clone, Debug)]
pub struct HistoryFile {
    path: PathBuf,
}

impl HistoryFile {
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Why the file can't be used, as far as that is known without writing to it.
    pub fn problem(&self) -> Option<io::Error> {
        let usable = check_regular(&self.path).and_then(|()| {
            let opened = OpenOptions::new().read(true).append(true).open(&self.path);
            opened.map(drop)
        });
        usable.err().filter(|error| error.kind() != io::ErrorKind::NotFound)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lines of earlier runs, oldest first.
    pub fn load(&self) -> Vec<String> {
        self.try_load().unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                self.log(&error);
            }
            Vec::new()
        })
    }

    /// Adds a line, unless it begins with a blank.
    pub fn append(&self, line: &str) {
        if line.is_empty() || line.starts_with(char::is_whitespace) {
            return;
        }
        let escaped = escape(line);
        if escaped.len() > MAX_LINE_BYTES {
            return;
        }
        if let Err(error) = self.try_append(&escaped) {
            self.log(&error);
        }
    }

    fn log(&self, error: &io::Error) {
        tracing::debug!(%error, path = %self.path.display(), "the history of lines can't be used");
    }

    fn try_load(&self) -> io::Result<Vec<String>> {
        check_regular(&self.path)?;
        let mut file = File::open(&self.path)?;
        let size = file.metadata()?.len();
        let skipped = size.saturating_sub(MAX_FILE_BYTES);
        file.seek(SeekFrom::Start(skipped))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let cut = usize::from(skipped > 0);
        let first = cut.max(lines.len().saturating_sub(MAX_LINES));
        let kept = lines.get(first..).unwrap_or_default();
        // Only once it is twice as long, so that it isn't rewritten at every start.
        if skipped > 0 || lines.len() > 2 * MAX_LINES {
            self.rewrite(kept)?;
        }
        Ok(kept.iter().map(|line| unescape(line)).collect())
    }

    /// Another program may append at the same time. What it appends during the rewrite is lost.
    fn rewrite(&self, lines: &[&str]) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // A temporary file is its owner's.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        for line in lines {
            writeln!(file, "{line}")?;
        }
        file.persist(&self.path)?;
        Ok(())
    }

    fn try_append(&self, escaped: &str) -> io::Result<()> {
        match check_regular(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create_folder()?,
            checked => checked?,
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.path)?;
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        // A full disk, or a crash, can have cut the last line off.
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        let begin = if last == *b"\n" { "" } else { "\n" };
        // In one write, so that lines of several programs don't mix.
        file.write_all(format!("{begin}{escaped}\n").as_bytes())
    }

    fn create_folder(&self) -> io::Result<()> {
        let Some(folder) = self.path.parent() else {
            return Ok(());
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)
    }
}

/// Opening a pipe would wait for its other end.
fn check_regular(path: &Path) -> io::Result<()> {
    match fs::metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it isn't a regular file")),
    }
}

fn escape(line: &str) -> String {
    line.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescape(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn history(folder: &tempfile::TempDir) -> HistoryFile {
        HistoryFile::new(folder.path().join("data/history"))
    }

    #[test]
    fn lines_are_kept_in_a_file_of_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let history = history(&folder);
        assert_eq!(history.load(), Vec::<String>::new());
        for line in ["one", "", " a secret", "two\nlines \\n"] {
            history.append(line);
        }
        assert_eq!(history.load(), ["one", "two\nlines \\n"]);
        // As a full disk leaves it.
        fs::write(&history.path, "one\ncut o").unwrap();
        history.append("two");
        history.append("three");
        assert_eq!(history.load(), ["one", "cut o", "two", "three"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(
                (mode(&history.path), mode(history.path.parent().unwrap())),
                (0o600, 0o700)
            );
            fs::set_permissions(&history.path, fs::Permissions::from_mode(0o644)).unwrap();
            history.append("four");
            assert_eq!(mode(&history.path), 0o600);
        }
    }

    #[test]
    fn the_file_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let history = history(&folder);
        history.append(&"x".repeat(MAX_LINE_BYTES + 1));
        assert_eq!(history.load().len(), 0);
        let lines = |count: usize| (0..count).map(|n| format!("{n}\n")).collect::<String>();
        history.append("first");
        for (content, first) in [
            (lines(2 * MAX_LINES), MAX_LINES.to_string()),
            (lines(2 * MAX_LINES + 1), (MAX_LINES + 1).to_string()),
        ] {
            fs::write(&history.path, &content).unwrap();
            let loaded = history.load();
            assert_eq!((loaded.len(), &loaded[0]), (MAX_LINES, &first));
        }
        assert_eq!(fs::read_to_string(&history.path).unwrap().lines().count(), MAX_LINES);
        // The oldest line is cut in half by the bound on what is read, so it is dropped.
        let long = "y".repeat(MAX_LINE_BYTES);
        fs::write(&history.path, format!("{long}\n").repeat(17)).unwrap();
        assert_eq!(history.load(), vec![long; 15]);
        assert!(fs::metadata(&history.path).unwrap().len() <= MAX_FILE_BYTES);
    }

    #[test]
    fn without_a_usable_file_there_is_no_history() {
        let folder = tempfile::tempdir().unwrap();
        let history = HistoryFile::new(folder.path().to_owned());
        history.append("one");
        assert_eq!(history.load(), Vec::<String>::new());
        #[cfg(unix)]
        {
            let pipe = folder.path().join("pipe");
            rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
            let history = HistoryFile::new(pipe);
            history.append("one");
            assert_eq!(history.load(), Vec::<String>::new());
        }
    }

    proptest! {
        #[test]
        fn an_escaped_line_is_one_line_and_the_same_again(line in "(.|\n|\r|\\\\){0,20}") {
            let escaped = escape(&line);
            prop_assert!(!escaped.contains(['\n', '\r']));
            prop_assert_eq!(unescape(&escaped), line);
        }
    }
}
