//! The progress of a run: the answer streams to stdout, and every other event prints a line on stderr.

mod line;

use std::time::Duration;

use tokio::time::Instant;

pub use self::line::{ProgressLine, metrics_line};
use self::line::{failure_lines, progress_line};
use super::format;
use super::markdown::{Markdown, Page};
use super::output::Sink;
use super::printer::Render;
use super::session_args::SettingNames;
use crate::events::{Ending, ErrorInfo, Event, EventKind, Outcome};

/// How long the model can be silent before the terminal says so.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a tool can run before the terminal says so.
const LONG_CALL: Duration = Duration::from_secs(1);

/// The longest name of a tool in such a line, in characters.
const MAX_NAME_CHARS: usize = 40;

/// Renders one run, or several of one session, in the `text` format.
#[derive(Debug)]
pub struct ProgressRenderer {
    pub stdout: Sink,
    pub stderr: Sink,
    /// Streams the model's text to stdout.
    pub answer: bool,
    /// Writes a line to stderr for other events.
    pub show_progress: bool,
    /// Writes why tools failed, even without progress.
    show_failures: bool,
    /// Whether the answer must match a schema. It is printed at the end, if it does.
    structured: bool,
    /// Whether this turn's text was streamed. If not, it is written when the turn ends.
    streamed: bool,
    /// On a terminal, the text is rendered.
    markdown: Option<Markdown>,
    /// Why the last attempt of this turn failed.
    last_failure: Option<String>,
    /// That the model says nothing.
    waiting: Option<Waiting>,
    /// The tools that run now, oldest first.
    running: Vec<RunningCall>,
    /// What was said of the session's model and tools.
    session: String,
}

/// Since when the run waits for the model.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    /// When the next attempt is due. The model is asked since then.
    until: Option<Instant>,
}

impl Waiting {
    fn now() -> Self {
        Self {
            since: Instant::now(),
            until: None,
        }
    }

    fn for_ms(delay: u64) -> Self {
        let now = Self::now();
        let until = now.since.checked_add(Duration::from_millis(delay));
        Self { until, ..now }
    }

    /// What a terminal shows of it, once it has been long.
    fn status(self, now: Instant) -> Option<String> {
        let (since, end) = match self.until {
            Some(until) if now < until => (self.since, Some(until - self.since)),
            until => (until.unwrap_or(self.since), None),
        };
        let waited = now.saturating_duration_since(since);
        let end = end.map_or_else(String::new, |end| format!(" of {}", end.as_secs_f64().ceil()));
        (waited >= SILENCE).then(|| format!("waiting for the model, {}{end} s", waited.as_secs()))
    }
}

#[derive(Debug)]
struct RunningCall {
    id: String,
    tool: String,
    since: Instant,
}

impl ProgressRenderer {
    pub const fn new(stdout: Sink, stderr: Sink, answer: bool, show_progress: bool) -> Self {
        Self {
            stdout,
            stderr,
            answer,
            show_progress,
            show_failures: show_progress,
            structured: false,
            streamed: false,
            markdown: None,
            last_failure: None,
            waiting: None,
            running: Vec::new(),
            session: String::new(),
        }
    }

    /// Renders the model's text as Markdown if stdout is a terminal.
    #[must_use]
    pub fn with_markdown(mut self) -> Self {
        self.markdown = self.stdout.is_terminal().then(Markdown::default);
        self
    }

    /// Says why tools failed, whether or not there is progress.
    #[must_use]
    pub const fn with_failures(mut self, shown: bool) -> Self {
        self.show_failures = self.show_progress || shown;
        self
    }

    fn write_answer(&mut self, text: &str) {
        match (&mut self.markdown, page(&self.stdout)) {
            (Some(markdown), Some(page)) => {
                let rendered = markdown.push(text, page);
                if !rendered.is_empty() {
                    self.stdout.write(&rendered);
                }
                // A block appears when it is complete, which can take a while. Until then, its end is shown as it is written.
                let end = format::end_of_line(markdown.pending(), page.width.saturating_sub(3));
                if self.show_progress && !end.is_empty() {
                    self.stdout.status(&format!("… {end}"));
                }
            }
            _ => self.stdout.write_untrusted(text),
        }
    }

    /// Writes what still waits for the end of its block, and ends the line. A truncated or cancelled answer leaves it unfinished.
    fn end_answer(&mut self) {
        if let (Some(markdown), Some(page)) = (&mut self.markdown, page(&self.stdout)) {
            self.stdout.write(&markdown.finish(page));
        }
        self.stdout.end_line();
    }

    /// Follows for whom the run waits.
    fn follow(&mut self, event: &EventKind) {
        match event {
            EventKind::ToolCallStarted { call_id, tool, .. } => self.running.push(RunningCall {
                id: call_id.clone(),
                tool: tool.clone(),
                since: Instant::now(),
            }),
            EventKind::ToolCallFinished(call) => self.running.retain(|running| running.id != call.call_id),
            EventKind::SessionFinished { .. } => self.running.clear(),
            _ => {}
        }
        self.waiting = match event {
            EventKind::TurnStarted {} | EventKind::ModelFallback { .. } => Some(Waiting::now()),
            EventKind::ModelWaiting {
                retry_after_ms: Some(delay),
                ..
            } => Some(Waiting::for_ms(*delay)),
            EventKind::ModelRetry { delay_ms, .. } => Some(Waiting::for_ms(*delay_ms)),
            // Nothing may follow for a while. A line of text that isn't rendered stays as it is.
            EventKind::TextDelta { .. } if self.markdown.is_some() => Some(Waiting::now()),
            EventKind::TextDelta { .. }
            | EventKind::ModelResponse { .. }
            | EventKind::ModelAttempt { .. }
            | EventKind::SessionFinished { .. } => None,
            // Others, such as an alert, say nothing of the model.
            _ => return,
        };
        self.stderr.clear_status();
    }

    fn print(&self, line: &ProgressLine) {
        // On a terminal both streams share a screen, so a progress line must not continue a line of the answer.
        if self.stdout.is_terminal() {
            self.stdout.end_line();
        }
        self.stderr.foreign_line(&line.render());
    }
}

/// What a terminal shows while a tool runs for long, and `others` beside it.
pub fn running(tool: &str, others: usize, since: Duration) -> String {
    let more = match others {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let tool = format::one_line(tool, MAX_NAME_CHARS);
    format!("running {tool}{more}, {} s", since.as_secs())
}

fn page(stdout: &Sink) -> Option<Page> {
    let styled = stdout.colors() != anstream::ColorChoice::Never;
    stdout.width().map(|width| Page { width, styled })
}

impl Render for ProgressRenderer {
    fn event(&mut self, event: &Event) {
        self.follow(&event.kind);
        match &event.kind {
            EventKind::SessionStarted { structured, .. } => self.structured = *structured,
            EventKind::SessionFinished {
                outcome: Ending::Completed,
                answer,
                ..
            } if self.structured && self.answer => {
                self.stdout.write_untrusted(answer);
                self.stdout.end_line();
            }
            // It isn't what was asked for, so it isn't on stdout.
            EventKind::SessionFinished {
                outcome, answer, error, ..
            } if self.structured
                && self.answer
                && !answer.is_empty()
                && (*outcome == Ending::Truncated || error.as_ref().is_some_and(ErrorInfo::is_invalid_answer)) =>
            {
                self.stderr.write_untrusted(&format!(
                    "The last answer, which wasn't taken:\n{}\n",
                    answer.trim_end()
                ));
            }
            EventKind::TurnStarted {} => {
                self.streamed = false;
                self.last_failure = None;
            }
            EventKind::TextDelta { .. } | EventKind::ModelResponse { .. } if self.structured => {}
            EventKind::TextDelta { text } if self.answer => {
                self.streamed = true;
                self.write_answer(text);
            }
            EventKind::ModelResponse { text, .. } if self.answer => {
                if !self.streamed {
                    self.write_answer(text);
                }
                self.end_answer();
            }
            // The text of an attempt that failed or was cancelled ends here. What follows can take a while, and a second Ctrl-C
            // ends the process meanwhile.
            EventKind::ModelAttempt { error: Some(_), .. } | EventKind::SessionFinished { .. } => self.end_answer(),
            _ => {}
        }
        if self.show_progress {
            let line = progress_line(&event.kind, self.last_failure.as_deref());
            let line = line.filter(|line| match event.kind {
                // Each prompt of a conversation is a run. It is said again once it has changed.
                EventKind::SessionStarted { .. } => {
                    let line = line.render();
                    std::mem::replace(&mut self.session, line.clone()) != line
                }
                _ => true,
            });
            line.iter().for_each(|line| self.print(line));
            if let EventKind::ModelRetry { error, .. } = &event.kind {
                self.last_failure = Some(error.message.clone());
            }
        }
        if let EventKind::ToolCallFinished(call) = &event.kind
            && self.show_failures
            && call.outcome != Outcome::Ok
        {
            if !self.show_progress {
                progress_line(&event.kind, None)
                    .iter()
                    .for_each(|line| self.print(line));
            }
            failure_lines(call).iter().for_each(|line| self.print(line));
        }
    }

    fn tick(&mut self) {
        let status = self.waiting.and_then(|waiting| waiting.status(Instant::now()));
        if let Some(status) = status.filter(|_| self.show_progress) {
            // Each stream removes its own.
            match self.streamed && self.markdown.is_some() {
                true => self.stdout.status(&status),
                false => self.stderr.status(&status),
            }
        }
        if let Some(first) = self.running.first()
            && self.show_progress
            && first.since.elapsed() >= LONG_CALL
        {
            self.stderr
                .status(&running(&first.tool, self.running.len() - 1, first.since.elapsed()));
        }
    }
}

/// Writes every event as a line of JSON on stdout.
#[derive(Debug)]
pub struct JsonLines {
    stdout: Sink,
    /// Hints are those of the report.
    names: SettingNames,
}

impl JsonLines {
    pub const fn new(stdout: Sink, names: SettingNames) -> Self {
        Self { stdout, names }
    }
}

impl Render for JsonLines {
    fn event(&mut self, event: &Event) {
        let mut event = event.clone();
        if let Some(error) = event.kind.error_mut() {
            self.names.apply(error);
        }
        self.stdout.json_line(&event);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::cli::output::tests::memory;
    use crate::events::Usage;

    pub(crate) fn event(kind: EventKind) -> Event {
        Event {
            at: jiff::Timestamp::UNIX_EPOCH,
            session_id: Arc::from("s"),
            tenant: Arc::from("default"),
            turn: 1,
            kind,
        }
    }

    fn delta(text: &str) -> Event {
        event(EventKind::TextDelta { text: text.into() })
    }

    pub(super) fn response(text: &str) -> Event {
        event(EventKind::ModelResponse {
            model: "m".into(),
            stop_reason: "end_turn".into(),
            usage: Usage {
                input_tokens: 1200,
                output_tokens: 52,
                ..Usage::default()
            },
            duration_ms: 640,
            request_id: None,
            text: text.into(),
        })
    }

    #[test]
    fn the_answer_streams_and_ends_with_a_newline() {
        let ((stdout, out), (stderr, err)) = (memory(false), memory(false));
        let mut renderer = ProgressRenderer::new(stdout, stderr, true, false);
        for event in [delta("25 * 17 "), delta("= 425."), response("25 * 17 = 425.")] {
            renderer.event(&event);
        }
        assert_eq!((out.text().as_str(), err.text().as_str()), ("25 * 17 = 425.\n", ""));
    }

    #[test]
    fn an_answer_that_did_not_stream_is_written_whole() {
        let ((stdout, out), (stderr, _)) = (memory(false), memory(false));
        let mut renderer = ProgressRenderer::new(stdout, stderr, true, false);
        for event in [
            delta("one"),
            response("one"),
            event(EventKind::TurnStarted {}),
            response("two"),
        ] {
            renderer.event(&event);
        }
        assert_eq!(out.text(), "one\ntwo\n");
    }

    #[test]
    fn markdown_is_rendered_on_a_terminal_alone() {
        let written = |terminal: bool, markdown: bool, events: &[Event]| {
            let ((stdout, out), (stderr, _)) = (memory(terminal), memory(terminal));
            let mut renderer = ProgressRenderer::new(stdout, stderr, true, false);
            if markdown {
                renderer = renderer.with_markdown();
            }
            events.iter().for_each(|event| renderer.event(event));
            out.text()
        };
        let answer = [delta("**a"), delta("** b\n\nc"), response("**a** b\n\nc")];
        assert_eq!(written(true, true, &answer), "**a** b\n\nc\n");
        assert_eq!(written(true, false, &answer), "**a** b\n\nc\n");
        assert_eq!(written(false, true, &answer), "**a** b\n\nc\n");
        // Text that is cut off is shown, and a turn that didn't stream is as well.
        let finished = event(EventKind::SessionFinished {
            outcome: Ending::Cancelled,
            duration_ms: 1,
            error: None,
            answer: String::new(),
        });
        assert_eq!(written(true, true, &[delta("**a"), finished]), "**a\n");
        assert_eq!(written(true, true, &[response("**a**")]), "**a**\n");
    }

    #[test]
    fn model_and_tools_are_said_once_and_when_they_change() {
        let ((stdout, _), (stderr, err)) = (memory(false), memory(false));
        let mut renderer = ProgressRenderer::new(stdout, stderr, true, true);
        for model in ["m", "m", "n", "n", "m"] {
            renderer.event(&event(EventKind::SessionStarted {
                agent: "agent".into(),
                model: model.into(),
                tools: Vec::new(),
                prompt: "Go.".into(),
                structured: false,
            }));
        }
        let lines: Vec<String> = err.text().lines().map(str::to_owned).collect();
        let line = |model: &str| format!(" session  model {model}, no tools");
        assert_eq!(lines, [line("m"), line("n"), line("m")]);
    }

    #[test]
    fn a_wait_is_shown_with_its_end_if_that_is_known() {
        let waiting = Waiting::for_ms(11_600);
        let after = |seconds| waiting.status(waiting.since + Duration::from_secs(seconds));
        let asked = |seconds| {
            let asked = Waiting { until: None, ..waiting };
            asked.status(waiting.since + Duration::from_secs(seconds))
        };
        assert_eq!((after(1), asked(1)), (None, None));
        assert_eq!(after(3).unwrap(), "waiting for the model, 3 of 12 s");
        assert_eq!(asked(3).unwrap(), "waiting for the model, 3 s");
        // Then it is asked.
        assert_eq!(after(12), None);
        assert_eq!(after(16).unwrap(), "waiting for the model, 4 s");
    }

    #[test]
    fn progress_starts_a_new_line_on_a_terminal() {
        for (terminal, answer) in [(true, "half\n"), (false, "half")] {
            let ((stdout, out), (stderr, err)) = (memory(terminal), memory(true));
            let mut renderer = ProgressRenderer::new(stdout, stderr, true, true);
            renderer.event(&delta("half"));
            renderer.event(&event(EventKind::Alert {
                rule: "cost".into(),
                message: "much".into(),
            }));
            assert_eq!(
                (out.text().as_str(), err.text().as_str()),
                (answer, "   alert  cost: much\n")
            );
        }
    }
}
