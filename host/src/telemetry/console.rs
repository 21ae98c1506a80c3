//! Formats console log lines: time, level, message, fields.
//!
//! Control characters in messages and values are escaped. They can come from a tool or a model, and would otherwise control
//! the terminal or forge log lines.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::untrusted::{escape, is_terminal_control};

/// Formats events for the console. Colours the level if the writer supports colour.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsoleFormat;

/// Formats the fields of events and spans for the console.
#[derive(Clone, Debug)]
pub(super) struct ConsoleFields {
    pub(super) hints: Hints,
}

/// What is shown of a hint. By default, all of it and no more.
#[derive(Clone, Default)]
pub struct Hints(Option<Arc<Rewrite>>);

type Rewrite = dyn Fn(&str) -> String + Send + Sync;

impl Hints {
    pub fn rewritten(rewrite: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(rewrite)))
    }

    fn show<'a>(&self, hint: &'a str) -> Cow<'a, str> {
        match &self.0 {
            Some(rewrite) => Cow::Owned(rewrite(hint)),
            None => Cow::Borrowed(hint),
        }
    }
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints").finish_non_exhaustive()
    }
}

impl<S, N> FormatEvent<S, N> for ConsoleFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        let style = if writer.has_ansi_escapes() {
            level_style(level)
        } else {
            Style::new()
        };
        write!(writer, "{:.3} {style}{level:>5}{style:#} ", jiff::Timestamp::now())?;
        context.format_fields(writer.by_ref(), event)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                // Already escaped: the fields were formatted when the span was created.
                write!(writer, "{}", fields.fields)?;
            }
        }
        writeln!(writer)
    }
}

impl<'writer> FormatFields<'writer> for ConsoleFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let hints = &self.hints;
        let mut visitor = FieldVisitor {
            writer,
            hints,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

const fn level_style(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default().bold(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        Level::INFO => AnsiColor::Green.on_default(),
        _ => Style::new().dimmed(),
    }
}

struct FieldVisitor<'writer, 'hints> {
    writer: Writer<'writer>,
    hints: &'hints Hints,
    result: fmt::Result,
}

impl FieldVisitor<'_, '_> {
    fn write(&mut self, field: &Field, value: &str, quoted: bool) {
        let value = match field.name() {
            "hint" => self.hints.show(value),
            _ => Cow::Borrowed(value),
        };
        let value = escape(&value, is_terminal_control);
        let written = match (field.name(), quoted) {
            ("message", _) => write!(self.writer, "{value}"),
            // Redundant: the message already names the event.
            ("event", _) => Ok(()),
            // Metadata of records from the `log` crate.
            (name, _) if name.starts_with("log.") => Ok(()),
            (name, true) if value.is_empty() || value.contains([' ', '"', '=']) => {
                write!(self.writer, " {name}=\"{}\"", value.replace('"', "\\\""))
            }
            (name, _) => write!(self.writer, " {name}={value}"),
        };
        self.result = self.result.and(written);
    }
}

impl Visit for FieldVisitor<'_, '_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write(field, &format!("{value:.3}"), false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, value, true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        self.result = self.result.and(write!(text, "{value:?}"));
        self.write(field, &text, false);
    }
}
