#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;

const LONG: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// With a single subscriber, `tracing` asks the subscriber of the first thread to reach a callsite whether it is interested, and
/// caches the answer. A concurrent test without a subscriber would then silence the callsite. With a second subscriber alive,
/// `tracing` asks all of them.
fn keep_a_second_subscriber_alive() {
    static SECOND: std::sync::OnceLock<tracing::Dispatch> = std::sync::OnceLock::new();
    SECOND.get_or_init(|| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new()));
}

/// The console and file output while `log` runs.
fn written(console: LogLevel, colour: bool, file: LogLevel, log: impl FnOnce()) -> (String, String) {
    keep_a_second_subscriber_alive();
    let (console_buffer, file_buffer) = (Buffer::default(), Buffer::default());
    let console_sink = Sink::start("console", console_buffer.clone()).unwrap();
    let file_sink = Sink::start("file", file_buffer.clone()).unwrap();
    let console = Console {
        sink: console_sink.clone(),
        level: console,
        lines: ConsoleLines {
            level: None,
            shown: [Some("cofferdam::progress"), None],
            hidden: Some("cofferdam::hidden"),
            hints: Hints::rewritten(|hint| hint.replace("`run`", "`run --fast`")),
        },
        colour,
    };
    tracing::subscriber::with_default(subscriber(Some(console), Some((file_sink.clone(), file))), log);
    assert_eq!((console_sink.finish(LONG), file_sink.finish(LONG)), (None, None));
    (console_buffer.text(), file_buffer.text())
}

/// The JSON file's lines at level `trace` while `log` runs.
pub(in crate::telemetry) fn json_lines(log: impl FnOnce()) -> Vec<Value> {
    let (_, file) = written(LogLevel::Off, false, LogLevel::Trace, log);
    file.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[test]
fn each_output_has_its_own_level_and_dependencies_log_from_warn() {
    let log = || {
        tracing::info!("own info");
        tracing::debug!("own debug");
        tracing::trace!("own trace");
        tracing::info!(target: "hyper", "foreign info");
        tracing::warn!(target: "hyper", "foreign warning");
    };
    let (console, file) = written(LogLevel::Info, false, LogLevel::Debug, log);
    let holds = |text: &str, part: &str| text.contains(part);
    for (part, on_console, in_file) in [
        ("own info", true, true),
        ("own debug", false, true),
        ("own trace", false, false),
        ("foreign info", false, false),
        ("foreign warning", true, true),
    ] {
        assert_eq!(
            (holds(&console, part), holds(&file, part)),
            (on_console, in_file),
            "{part}"
        );
    }
    let (console, file) = written(LogLevel::Off, false, LogLevel::Error, log);
    assert_eq!((console.as_str(), file.as_str()), ("", ""));
}

#[test]
fn progress_is_on_a_console_that_shows_only_errors() {
    let log = || {
        tracing::info!("an event");
        let span = tracing::info_span!(target: "cofferdam::progress", "load", plugin = "letters");
        let _entered = span.enter();
        tracing::info!(target: "cofferdam::progress", "compiling");
        tracing::debug!(target: "cofferdam::progress", "detail");
    };
    let (console, file) = written(LogLevel::Error, false, LogLevel::Error, log);
    assert!(
        console.contains("compiling") && console.contains("plugin=letters"),
        "{console}"
    );
    assert!(
        !console.contains("an event") && !console.contains("detail"),
        "{console}"
    );
    assert_eq!(file, "");
}

#[test]
fn hidden_lines_are_in_the_file_alone() {
    let (console, file) = written(LogLevel::Debug, false, LogLevel::Debug, || {
        tracing::warn!(target: "cofferdam::hidden", "reported elsewhere");
        tracing::warn!(target: "cofferdam::other", "reported here");
    });
    assert!(!console.contains("elsewhere") && console.contains("here"), "{console}");
    assert!(file.contains("elsewhere"), "{file}");
}

#[test]
fn the_console_escapes_terminal_control_characters() {
    let evil = "\x1b]0;owned\x07\ntool finished outcome=ok";
    let (console, file) = written(LogLevel::Info, false, LogLevel::Info, || {
        let span = tracing::info_span!("call", input = evil);
        let _entered = span.enter();
        tracing::info!(output = evil, shown = ?evil, "{evil}");
    });
    assert_eq!(console.lines().count(), 1, "{console}");
    assert!(
        console.trim_end().chars().all(|character| !character.is_control()),
        "{console:?}"
    );
    assert!(console.contains(r"output="), "{console}");
    assert!(console.contains(r"input="), "{console}");
    let line: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(line["output"], evil, "the file keeps the bytes, escaped by JSON");
    assert!(!file.contains('\x1b'));
}

#[test]
fn console_lines_have_time_level_message_and_fields() {
    let log = || {
        tracing::info!(
            event = "tool_call_finished",
            tool = "calculate",
            took = "a b",
            ms = 0.4,
            "tool finished"
        )
    };
    let (console, _) = written(LogLevel::Info, false, LogLevel::Off, log);
    let (time, rest) = console.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(rest, " INFO tool finished tool=calculate took=\"a b\" ms=0.400\n");
    let (console, _) = written(LogLevel::Info, true, LogLevel::Off, log);
    assert!(console.contains("\x1b[32m INFO\x1b[0m"), "{console:?}");
}

#[test]
fn apparent_secrets_reach_no_output() {
    let (console, file) = written(LogLevel::Info, false, LogLevel::Info, || {
        tracing::info!(
            header = "Bearer 0123456789abcdef",
            "the key sk-ant-api03-0123456789 was refused"
        );
    });
    for text in [&console, &file] {
        assert!(!text.contains("0123456789"), "{text}");
        assert!(text.contains("[redacted]"), "{text}");
    }
}

#[test]
fn an_unwritable_folder_is_an_error_with_a_hint_and_installs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let settings = LoggingSettings {
        directory: Some(file.join("logs")),
        ..LoggingSettings::default()
    };
    let off = ConsoleLines {
        level: Some(LogLevel::Off),
        ..ConsoleLines::default()
    };
    let error = init(&settings, off, io::sink()).unwrap_err();
    assert!(matches!(error, LoggingError::Unwritable { .. }));
    assert!(error.hint().unwrap().contains("[logging] directory"));
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn level_names_match_the_configuration() {
    for level in LogLevel::ALL {
        assert_eq!(level.to_string().parse(), Ok(level));
        assert_eq!(serde_json::to_value(level).unwrap(), level.name());
    }
    assert!("verbose".parse::<LogLevel>().is_err());
}

#[test]
fn the_console_shows_hints_as_they_are_rewritten() {
    let (console, file) = written(LogLevel::Warn, false, LogLevel::Warn, || {
        tracing::warn!(hint = "`run` helps", reason = "`run` failed", "a warning");
    });
    assert!(
        console.contains("hint=\"`run --fast` helps\" reason=\"`run` failed\""),
        "{console}"
    );
    assert!(file.contains("\"hint\":\"`run` helps\""), "{file}");
}
