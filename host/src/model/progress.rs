//! What is known of one attempt while it lasts, and of one that was cut short: how much was sent, arrived and is billed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::events::Usage;
use crate::fault::{self, Point};
use crate::resilience::AnnouncedLimit;

/// What is known about an attempt's usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measured {
    /// The API has not received the whole request, so there is nothing to bill: the attempt never started, its request was
    /// not sent to the end, or no server received it.
    #[default]
    NotStarted,
    /// The request may have been sent, and the API has reported no usage.
    NoUsage,
    /// The usage reported so far.
    Partial(Usage),
    /// The API's final usage.
    Complete(Usage),
}

/// A part of an answer that is billed by itself: by the price of its own model, and by the length of its own prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledPart {
    /// `None`: the model of the request.
    pub model: Option<String>,
    /// Whether the totals that the API reports leave it out.
    pub is_extra: bool,
    pub usage: Usage,
}

/// Whether and when a request was sent to its end. The connection reports it, possibly from another task.
#[derive(Clone, Debug, Default)]
pub struct Upload(Arc<OnceLock<Instant>>);

impl Upload {
    /// The last byte is sent.
    pub fn complete(&self) {
        // Only the first report counts.
        let _ = self.0.set(Instant::now());
    }

    pub fn completed_at(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}

/// How much of a streamed answer has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputSeen {
    Bytes(u64),
    /// The answer is longer than what arrived of it.
    PartlyHidden,
}

impl Default for OutputSeen {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

impl OutputSeen {
    const fn add(&mut self, bytes: usize) {
        if let Self::Bytes(seen) = self {
            *seen = seen.saturating_add(bytes as u64);
        }
    }
}

/// The progress of one attempt.
pub struct Progress<'a> {
    on_text: Box<dyn Fn(&str) + Send + Sync + 'a>,
    started: Instant,
    state: Mutex<State>,
    head_arrived: Notify,
}

#[derive(Clone, Debug, Default)]
struct State {
    measured: Measured,
    parts: Vec<BilledPart>,
    upload: Option<Upload>,
    head: Option<u16>,
    announced_limits: Vec<AnnouncedLimit>,
    output: OutputSeen,
    request_id: Option<String>,
    time_to_first_token: Option<Duration>,
    text: String,
}

impl<'a> Progress<'a> {
    /// `on_text` gets every piece of the answer's text as it arrives.
    pub fn new(on_text: impl Fn(&str) + Send + Sync + 'a) -> Self {
        Self {
            on_text: Box::new(on_text),
            started: Instant::now(),
            state: Mutex::default(),
            head_arrived: Notify::new(),
        }
    }

    /// From here on the request may reach the API and be billed. The layers around a provider call it before its attempt.
    pub fn begin(&self) {
        self.state().measured = Measured::NoUsage;
    }

    /// Narrows [`Progress::begin`]: until `upload` is complete, no server has the whole request, and nothing can be billed.
    pub fn uploading(&self, upload: &Upload) {
        self.state().upload = Some(upload.clone());
    }

    /// Call if no model read the request after all, for example because the server doesn't speak HTTP.
    pub fn nothing_to_bill(&self) {
        self.state().measured = Measured::NotStarted;
    }

    /// Records the rate limits that the server announces. Call before [`Progress::head`], which is when they are looked at.
    pub fn announced_limits(&self, limits: Vec<AnnouncedLimit>) {
        self.state().announced_limits = limits;
    }

    pub(super) fn limits_announced(&self) -> Vec<AnnouncedLimit> {
        self.state().announced_limits.clone()
    }

    /// Records the HTTP status of the answer, as soon as its head has arrived. It decides a probe of the breaker.
    pub fn head(&self, status: u16) {
        fault::passes(Point::HeadArrived);
        self.state().head = Some(status);
        self.head_arrived.notify_waiters();
    }

    /// Waits for the head of the answer, and returns its status.
    pub(super) async fn head_arrived(&self) -> u16 {
        loop {
            // Before the state is read, so that no head is missed.
            let arrived = self.head_arrived.notified();
            // Copied, so that no lock is held while waiting.
            let head = self.state().head;
            match head {
                Some(status) => return status,
                None => arrived.await,
            }
        }
    }

    /// Records bytes of a streamed answer as the model wrote them, other than text: the input of a tool call.
    pub fn output(&self, bytes: usize) {
        self.state().output.add(bytes);
    }

    /// Records that the answer has parts that aren't shown in full, such as thinking. Their tokens are billed, but what arrives
    /// says nothing about how many they are.
    pub fn hidden_output(&self) {
        self.state().output = OutputSeen::PartlyHidden;
    }

    pub(super) fn output_seen(&self) -> OutputSeen {
        self.state().output
    }

    /// Records a piece of a streamed answer that isn't text: thinking, the input of a tool call.
    pub fn token(&self) {
        self.state()
            .time_to_first_token
            .get_or_insert_with(|| self.started.elapsed());
    }

    /// Records a piece of a streamed answer's text.
    pub fn text(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.token();
        self.output(text.len());
        self.state().text.push_str(text);
        (self.on_text)(text);
    }

    pub fn usage_so_far(&self, usage: Usage) {
        self.state().measured = Measured::Partial(usage);
    }

    pub fn final_usage(&self, usage: Usage) {
        self.state().measured = Measured::Complete(usage);
    }

    /// Records how the final usage is billed, if not as a whole.
    pub fn billed_in_parts(&self, parts: &[BilledPart]) {
        self.state().parts = parts.to_vec();
    }

    /// Empty if the usage is billed as a whole.
    pub fn parts(&self) -> Vec<BilledPart> {
        self.state().parts.clone()
    }

    pub fn set_request_id(&self, id: &str) {
        self.state().request_id = Some(id.to_owned());
    }

    pub fn measured(&self) -> Measured {
        let state = self.state();
        let is_incomplete = |upload: &Upload| upload.completed_at().is_none();
        match state.measured {
            Measured::NoUsage if state.upload.as_ref().is_some_and(is_incomplete) => Measured::NotStarted,
            measured => measured,
        }
    }

    pub fn request_id(&self) -> Option<String> {
        self.state().request_id.clone()
    }

    pub fn time_to_first_token(&self) -> Option<Duration> {
        self.state().time_to_first_token
    }

    pub fn text_shown(&self) -> bool {
        !self.state().text.is_empty()
    }

    /// The answer's text so far.
    pub fn text_so_far(&self) -> String {
        self.state().text.clone()
    }

    /// The time since this value was created.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A panic can't leave this plain data inconsistent, so a poisoned lock is still usable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("state", &*self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn nothing_is_billed_until_the_request_is_sent_to_its_end() {
        let progress = Progress::new(|_| ());
        assert_eq!(progress.measured(), Measured::NotStarted);
        progress.begin();
        assert_eq!(progress.measured(), Measured::NoUsage);
        let upload = Upload::default();
        progress.uploading(&upload);
        assert_eq!(progress.measured(), Measured::NotStarted);
        upload.complete();
        assert_eq!(progress.measured(), Measured::NoUsage);
        progress.nothing_to_bill();
        assert_eq!(progress.measured(), Measured::NotStarted);
        // What the API reported counts in any case.
        progress.uploading(&Upload::default());
        progress.usage_so_far(Usage::default());
        assert_eq!(progress.measured(), Measured::Partial(Usage::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_token_is_the_first_of_any_kind() {
        let progress = Progress::new(|_| ());
        tokio::time::advance(Duration::from_millis(200)).await;
        progress.token();
        tokio::time::advance(Duration::from_millis(100)).await;
        progress.text("hello");
        assert_eq!(progress.time_to_first_token(), Some(Duration::from_millis(200)));
        assert!(progress.text_shown());
        progress.text(" again");
        assert_eq!(progress.text_so_far(), "hello again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_noticed_whenever_it_arrives() {
        let progress = Progress::new(|_| ());
        let arrives = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            progress.head(529);
        };
        assert_eq!(tokio::join!(progress.head_arrived(), arrives).0, 529);
        assert_eq!(progress.head_arrived().await, 529, "it is there already");
    }
}
