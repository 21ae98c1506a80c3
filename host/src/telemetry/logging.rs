//! Logging for the command line: a console log for people and a file for programs.
//!
//! Each output has its own level, which applies to Cofferdam's own lines. Dependencies are logged from `warn` up only, because at
//! `debug` an HTTP library alone would fill the file. An embedder with its own subscriber needs none of this.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt as log_fmt};

pub use super::console::Hints;
use super::console::{ConsoleFields, ConsoleFormat};
use super::daily_file::DailyFile;
use super::sink::Sink;

/// The target prefix of our own lines: the library and the binary are crates with this name.
const OWN_TARGET: &str = "cofferdam";
/// How long to wait at exit for the remaining lines to be written.
const EXIT_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Which levels are logged where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingSettings {
    /// On standard error, for people; default `info`.
    pub console: LogLevel,
    /// In the file, one JSON object per line; default `debug`.
    pub file: LogLevel,
    /// The folder of the daily files. Default `None`: no file is written.
    pub directory: Option<PathBuf>,
    /// Whether to log the text of users, models and tools; default false. Takes effect through
    /// [`EventBus::with_contents`](super::EventBus::with_contents).
    pub contents: bool,
}

impl Default for LoggingSettings {
    fn default() -> Self {
        Self {
            console: LogLevel::Info,
            file: LogLevel::Debug,
            directory: None,
            contents: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub const ALL: [Self; 6] = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    const fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }

    fn targets(self) -> Targets {
        let dependencies = self.min(Self::Warn);
        Targets::new()
            .with_target(OWN_TARGET, self.filter())
            // Reports a client that has gone as an error, and every call at the level of warnings.
            .with_target("rmcp", LevelFilter::OFF)
            .with_default(dependencies.filter())
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text isn't a log level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of off, error, warn, info, debug, trace")]
pub struct UnknownLogLevel(String);

impl FromStr for LogLevel {
    type Err = UnknownLogLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLogLevel> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| UnknownLogLevel(text.to_owned()))
    }
}

/// Why logging can't be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    #[error("can't write logs in `{}`", directory.display())]
    Unwritable { directory: PathBuf, source: io::Error },
    #[error("can't start the thread that writes logs")]
    NoThread { source: io::Error },
    #[error("this process already has a logger")]
    AlreadyInstalled,
}

impl LoggingError {
    /// What an operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unwritable { .. } => {
                Some("make the folder writable, set another `[logging] directory`, or leave it empty to write no file")
            }
            Self::NoThread { .. } => Some("check whether the process has reached its thread limit (`ulimit -u`)"),
            Self::AlreadyInstalled => None,
        }
    }
}

/// Checks that the log file can be written, as [`init`] does.
///
/// # Errors
///
/// [`LoggingError::Unwritable`].
pub fn check(settings: &LoggingSettings) -> Result<(), LoggingError> {
    match &settings.directory {
        Some(directory) if settings.file != LogLevel::Off => open_file(directory).map(drop),
        Some(_) | None => Ok(()),
    }
}

fn open_file(directory: &Path) -> Result<DailyFile<fn() -> jiff::Timestamp>, LoggingError> {
    let now: fn() -> jiff::Timestamp = jiff::Timestamp::now;
    DailyFile::open(directory, now).map_err(|source| LoggingError::Unwritable {
        directory: directory.to_owned(),
        source,
    })
}

/// What the console shows.
#[derive(Clone, Debug, Default)]
pub struct ConsoleLines {
    /// Overrides the configured level, for `--quiet` and `--verbose`.
    pub level: Option<LogLevel>,
    /// Targets whose lines are shown from `info` up, whatever the level.
    pub shown: [Option<&'static str>; 2],
    /// A target whose lines aren't shown, whatever the level.
    pub hidden: Option<&'static str>,
    /// What is shown of hints.
    pub hints: Hints,
}

/// Sets up logging for this process. No other code installs a `tracing` subscriber. `console` is where the console log goes, usually
/// standard error; a write has whole lines.
///
/// # Errors
///
/// If the log folder isn't writable, a writer thread can't be started, or the process already has a subscriber. Then nothing is
/// installed.
pub fn init(
    settings: &LoggingSettings,
    lines: ConsoleLines,
    console: impl Write + Send + 'static,
) -> Result<LoggingGuard, LoggingError> {
    let no_thread = |source| LoggingError::NoThread { source };
    let mut guard = LoggingGuard { sinks: Vec::new() };
    let level = lines.level.unwrap_or(settings.console);
    let console_output = if level == LogLevel::Off {
        None
    } else {
        let colour = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
        let sink = Sink::start("the console", console).map_err(no_thread)?;
        guard.sinks.push(sink.clone());
        Some(Console {
            sink,
            level,
            lines,
            colour,
        })
    };
    let file_output = match &settings.directory {
        Some(directory) if settings.file != LogLevel::Off => {
            let file = open_file(directory)?;
            let sink = Sink::start(directory.display().to_string(), file).map_err(no_thread)?;
            guard.sinks.push(sink.clone());
            Some((sink, settings.file))
        }
        Some(_) | None => None,
    };
    subscriber(console_output, file_output)
        .try_init()
        .map_err(|_| LoggingError::AlreadyInstalled)?;
    Ok(guard)
}

/// Keeps the log open. Dropping it writes the remaining lines, for at most 2 s, and reports lost lines on standard error.
/// Nothing is logged after that.
#[derive(Debug)]
#[must_use = "logging stops when the guard is dropped"]
pub struct LoggingGuard {
    sinks: Vec<Sink>,
}

impl LoggingGuard {
    /// Waits for at most `wait` until all lines logged so far are written. Call it before writing to the console directly.
    pub fn flush(&self, wait: Duration) {
        for sink in &self.sinks {
            sink.flush_within(wait);
        }
    }
}

impl Drop for LoggingGuard {
    fn drop(&mut self) {
        for sink in &self.sinks {
            if let Some(report) = sink.finish(EXIT_FLUSH_TIMEOUT) {
                // If standard error fails too, there is nowhere left to report it.
                let _ = writeln!(io::stderr(), "warning: {report}");
            }
        }
    }
}

struct Console {
    sink: Sink,
    level: LogLevel,
    lines: ConsoleLines,
    colour: bool,
}

impl Console {
    fn targets(&self) -> Targets {
        let shown = self
            .lines
            .shown
            .into_iter()
            .flatten()
            .map(|target| (target, self.level.max(LogLevel::Info).filter()));
        let hidden = self.lines.hidden.map(|target| (target, LogLevel::Off.filter()));
        self.level.targets().with_targets(shown.chain(hidden))
    }
}

fn subscriber(console: Option<Console>, file: Option<(Sink, LogLevel)>) -> impl Subscriber + Send + Sync {
    let console = console.map(|console| {
        let targets = console.targets();
        let hints = console.lines.hints;
        log_fmt::layer()
            .event_format(ConsoleFormat)
            .fmt_fields(ConsoleFields { hints })
            .with_ansi(console.colour)
            .with_writer(console.sink)
            .log_internal_errors(false)
            .with_filter(targets)
    });
    let file = file.map(|(sink, level)| {
        log_fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(sink)
            .log_internal_errors(false)
            .with_filter(level.targets())
    });
    tracing_subscriber::registry().with(console).with(file)
}

#[cfg(test)]
#[path = "logging_tests.rs"]
pub(super) mod tests;
