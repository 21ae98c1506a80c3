//! Keeps calls within the limits that a server announces, so that it needn't refuse them.
//!
//! # What is known
//!
//! Every answer begins with how much of each limit is left and when all of it will be. The host keeps an account of each limit, a
//! [bucket](bucket), which the answers correct. Nothing is known before the first answer, so calls are admitted.
//!
//! What an answer announces doesn't include its own output, which is still to be written. Output is promised to each request as it is
//! sent, and paid when its answer has ended.
//!
//! # Who goes first
//!
//! While a call waits for a limit, others don't overtake it: they wait in a queue, which is fair between tenants. The first one waits
//! for as much as it needs, the others for their turn.
//!
//! # After a refusal
//!
//! Other requests of at least the refused one's size wait as long as the server asked for; all of them, if it announces no limits. Then
//! they go slowly: one until its answer begins, then two, then four, because nobody knows what the server allows by now. Smaller ones
//! don't wait for them.
//!
//! # When the server is asked all the same
//!
//! All of this is a forecast, and only the server knows. A limit that is too small for a request, or would take longer than [`MAX_WAIT`] isn't waited for: the server
//! refuses the call in its own words. The first one in the queue asks after [`MAX_WAIT`] in any case.

mod bucket;
mod usage;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::bucket::Bucket;
use self::usage::ExpectedUsage;
use super::fair::{FairPermit, FairSemaphore, Priority, Share};
use super::lock;

/// The longest wait for a limit. Limits are by the minute; the rest is for clocks and roundings.
const MAX_WAIT: Duration = Duration::from_secs(90);

/// The shortest wait, so that rounding can't make it a loop without one.
const MIN_WAIT: Duration = Duration::from_millis(5);

/// How often to look again while only the beginning of an answer can help. It is noticed at once.
const RECHECK: Duration = Duration::from_secs(1);

/// So many requests without an answer are no longer slow.
const MAX_SLOW: u32 = 64;

/// Refusals that are remembered. Each of them is for larger requests and a longer time than the next.
const MAX_REFUSALS: usize = 16;

/// What a server limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimitKind {
    Requests,
    /// Of prompts, without those read from the cache.
    InputTokens,
    /// Counted as they are written.
    OutputTokens,
    /// Of prompts, and as many as their answers may have. Counted as a request arrives.
    Tokens,
}

impl RateLimitKind {
    const ALL: [Self; 4] = [Self::Requests, Self::InputTokens, Self::OutputTokens, Self::Tokens];

    /// For messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::InputTokens => "input tokens",
            Self::OutputTokens => "output tokens",
            Self::Tokens => "tokens",
        }
    }
}

/// A limit, as the head of an answer announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedLimit {
    pub kind: RateLimitKind,
    pub limit: u64,
    pub remaining: u64,
    /// How long until all of the limit is left again.
    pub whole_after: Duration,
}

/// How an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerHead {
    /// The server takes the request.
    Admitted,
    /// It refuses the request for a rate limit, until so much time has passed, if it says so.
    Refused(Option<Duration>),
    /// Something else went wrong, which says nothing about the limits.
    Failed,
}

/// The most that a request can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSize {
    pub prompt_tokens: u64,
    pub output_tokens: u64,
}

impl RequestSize {
    const fn tokens(self) -> u64 {
        self.prompt_tokens.saturating_add(self.output_tokens)
    }
}

/// What a request has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokensUsed {
    pub prompt: u64,
    /// Of the prompt, those that weren't read from the cache.
    pub uncached: u64,
    pub output: u64,
}

/// Why a request should wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Too little of this is left.
    For(RateLimitKind),
    /// The server has refused a request.
    Refused,
    /// Others wait already.
    InQueue,
}

/// A request that would most likely be refused, if it were sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSoon {
    pub wait: Wait,
    /// As far as anybody can tell. Zero if that is nothing.
    pub retry_after: Duration,
}

/// The limits of one server, model and key.
#[derive(Debug)]
pub struct RateLimits {
    state: Mutex<State>,
    /// Its one permit is the turn to wait for a limit.
    queue: FairSemaphore,
    /// The state has changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of [`RateLimitKind::ALL`].
    buckets: [Option<Bucket>; 4],
    /// Output that requests without a whole answer are expected to have.
    promised_output: u64,
    /// Requests whose answers haven't begun.
    unanswered: u32,
    refusals: Vec<Refusal>,
    slow_start: Option<SlowStart>,
    expected: ExpectedUsage,
    /// Requests so far.
    requests: u64,
}

/// The server wants no requests of this size or more until then.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    until: Instant,
    min_tokens: u64,
}

/// Bounds the requests of this size or more whose answers haven't begun.
#[derive(Clone, Copy, Debug)]
struct SlowStart {
    max_unanswered: u32,
    min_tokens: u64,
    /// The last request before the refusal. Answers to those up to it say nothing about the time after.
    after_request: u64,
}

/// The turn of the first one in the queue. Dropping it lets the next one follow.
#[derive(Debug)]
pub struct RateLimitTurn {
    _permit: FairPermit,
    since: Instant,
}

/// A request that may be sent. Drop it when its answer has ended, however it did.
#[derive(Debug)]
pub struct Admitted<'a> {
    limits: &'a RateLimits,
    size: RequestSize,
    expected: TokensUsed,
    /// Its number, counted from 1.
    request: u64,
    /// What was left of each limit that was known.
    left: [Option<f64>; 4],
    is_answered: bool,
    /// The output to pay for at the end.
    output: u64,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            queue: FairSemaphore::new(1, Share::Permits),
            changed: Notify::new(),
        }
    }
}

impl RateLimits {
    /// Admits a request, or says why it should wait. A request whose turn it is gives the turn up when it is admitted.
    ///
    /// # Errors
    ///
    /// [`TooSoon`]: wait with [`RateLimits::wait_for_turn`], and ask again.
    pub fn try_begin(&self, size: RequestSize, turn: &mut Option<RateLimitTurn>) -> Result<Admitted<'_>, TooSoon> {
        if turn.is_none() && !self.queue.is_free() {
            return Err(TooSoon {
                wait: Wait::InQueue,
                retry_after: Duration::ZERO,
            });
        }
        let mut state = lock(&self.state);
        let now = Instant::now();
        let is_overdue = turn.as_ref().is_some_and(|turn| now >= turn.since + MAX_WAIT);
        if let Some(too_soon) = state.too_soon(size, now).filter(|_| !is_overdue) {
            return Err(too_soon);
        }
        let (expected, request, left) = state.begin(size, now);
        drop(state);
        // The next one in the queue is woken, so not under the lock.
        drop(turn.take());
        Ok(Admitted {
            limits: self,
            size,
            expected,
            request,
            left,
            is_answered: false,
            output: expected.output,
        })
    }

    /// Waits for the turn, and then until the request can be admitted. Cancel-safe: dropping the future leaves the queue.
    pub async fn wait_for_turn(
        &self,
        tenant: &Arc<str>,
        size: RequestSize,
        turn: Option<RateLimitTurn>,
    ) -> RateLimitTurn {
        let mut turn = turn;
        loop {
            // Before the state is read, so that no change is missed.
            let changed = self.changed.notified();
            let now = Instant::now();
            let refused_until = lock(&self.state).refused_until(size, now);
            let held = match (refused_until, turn.take()) {
                // Others needn't wait for a call that the server has refused.
                (Some(until), _) => {
                    tokio::time::sleep_until(until).await;
                    continue;
                }
                (None, Some(held)) => held,
                (None, None) => {
                    turn = Some(RateLimitTurn {
                        _permit: self.queue.acquire(tenant, Priority::New).await,
                        since: Instant::now(),
                    });
                    continue;
                }
            };
            let overdue = held.since + MAX_WAIT;
            let too_soon = lock(&self.state).too_soon(size, now).filter(|_| now < overdue);
            let Some(too_soon) = too_soon else {
                return held;
            };
            turn = Some(held);
            let until = (now + too_soon.retry_after.max(MIN_WAIT)).min(overdue);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_waiters();
    }
}

impl State {
    fn bucket(&mut self, kind: RateLimitKind) -> Option<&mut Bucket> {
        let mut limits = RateLimitKind::ALL.into_iter().zip(&mut self.buckets);
        limits.find(|(of, _)| *of == kind)?.1.as_mut()
    }

    /// The longest wait that anything asks for.
    fn too_soon(&self, size: RequestSize, now: Instant) -> Option<TooSoon> {
        let expected = self.expected.of(size);
        let limits = RateLimitKind::ALL.into_iter().zip(&self.buckets);
        let for_limits = limits.filter_map(|(kind, bucket)| {
            let promised = match kind {
                RateLimitKind::OutputTokens => self.promised_output,
                _ => 0,
            };
            let retry_after = bucket.as_ref()?.wait_for(promised, amount(kind, size, expected), now)?;
            Some(TooSoon {
                wait: Wait::For(kind),
                retry_after,
            })
        });
        let refused = self.refused_until(size, now).map(|until| until - now);
        let is_slowed = |slow: &SlowStart| size.tokens() >= slow.min_tokens && self.unanswered >= slow.max_unanswered;
        let slowed = self.slow_start.filter(is_slowed).map(|_| RECHECK);
        let after_refusal = refused.into_iter().chain(slowed).map(|retry_after| TooSoon {
            wait: Wait::Refused,
            retry_after,
        });
        let waits = for_limits.filter(|too_soon| too_soon.retry_after <= MAX_WAIT);
        waits.chain(after_refusal).max_by_key(|too_soon| too_soon.retry_after)
    }

    /// When the server takes a request of this size again, if it has refused one of that size or less.
    fn refused_until(&self, size: RequestSize, now: Instant) -> Option<Instant> {
        let refusals = self.refusals.iter();
        let of_this_size = refusals.filter(|refusal| refusal.min_tokens <= size.tokens() && refusal.until > now);
        of_this_size.map(|refusal| refusal.until).max()
    }

    /// Remembers a refusal, unless another one says as much.
    fn remember(&mut self, new: Refusal, now: Instant) {
        let covers = |one: &Refusal, other: &Refusal| one.min_tokens <= other.min_tokens && one.until >= other.until;
        self.refusals.retain(|known| known.until > now && !covers(&new, known));
        if self.refusals.len() < MAX_REFUSALS && !self.refusals.iter().any(|known| covers(known, &new)) {
            self.refusals.push(new);
        }
    }

    /// Accounts for a request: what it is expected to take, its number, and what is left.
    fn begin(&mut self, size: RequestSize, now: Instant) -> (TokensUsed, u64, [Option<f64>; 4]) {
        let expected = self.expected.of(size);
        self.requests += 1;
        self.unanswered += 1;
        self.promised_output = self.promised_output.saturating_add(expected.output);
        let mut left = [None; 4];
        let limits = RateLimitKind::ALL.into_iter().zip(&mut self.buckets);
        for ((kind, bucket), left) in limits.zip(&mut left) {
            *left = bucket
                .as_mut()
                .map(|bucket| bucket.take(at_once(kind, size, expected), now));
        }
        (expected, self.requests, left)
    }
}

/// What a request needs of a limit.
fn amount(kind: RateLimitKind, size: RequestSize, expected: TokensUsed) -> u64 {
    match kind {
        RateLimitKind::OutputTokens => expected.output,
        kind => at_once(kind, size, expected),
    }
}

/// What a request takes of a limit as it is sent.
fn at_once(kind: RateLimitKind, size: RequestSize, expected: TokensUsed) -> u64 {
    match kind {
        RateLimitKind::Requests => 1,
        RateLimitKind::InputTokens => expected.uncached,
        RateLimitKind::OutputTokens => 0,
        RateLimitKind::Tokens => expected.prompt.saturating_add(size.output_tokens),
    }
}

impl Admitted<'_> {
    pub const fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// The answer begins. Call once.
    pub fn answered(&mut self, head: AnswerHead, announced: &[AnnouncedLimit]) {
        let now = Instant::now();
        let (request, left) = (self.request, self.left);
        self.is_answered = true;
        if head != AnswerHead::Admitted {
            // Nothing will be written.
            self.output = 0;
        }
        let min_tokens = match announced {
            // The server says too little to tell whom else it would refuse.
            [] => 0,
            _ => self.size.tokens(),
        };
        self.limits.change(|state| {
            state.unanswered = state.unanswered.saturating_sub(1);
            match (head, &mut state.slow_start) {
                (AnswerHead::Refused(retry_after), _) => {
                    state.slow_start = Some(SlowStart {
                        max_unanswered: 1,
                        min_tokens,
                        after_request: state.requests,
                    });
                    if let Some(until) = retry_after.and_then(|delay| now.checked_add(delay)) {
                        state.remember(Refusal { until, min_tokens }, now);
                    }
                }
                (AnswerHead::Admitted, Some(slow)) if request > slow.after_request => {
                    slow.max_unanswered *= 2;
                    if slow.max_unanswered > MAX_SLOW {
                        state.slow_start = None;
                    }
                }
                _ => {}
            }
            let limits = RateLimitKind::ALL.into_iter().zip(&mut state.buckets);
            for ((kind, bucket), left) in limits.zip(left) {
                let Some(announced) = announced.iter().find(|announced| announced.kind == kind) else {
                    continue;
                };
                match bucket {
                    Some(bucket) => bucket.announce(announced, request, left, now),
                    None => *bucket = Some(Bucket::new(announced, request, now)),
                }
            }
        });
    }

    /// The whole answer is there.
    pub fn used(&mut self, used: TokensUsed) {
        self.output = used.output;
        let size = self.size;
        self.limits.change(|state| state.expected.learn(size, used));
    }

    /// The server didn't get the request.
    pub fn not_sent(&mut self) {
        self.output = 0;
        let (size, expected) = (self.size, self.expected);
        self.limits.change(|state| {
            for kind in RateLimitKind::ALL {
                if let Some(bucket) = state.bucket(kind) {
                    bucket.give_back(at_once(kind, size, expected));
                }
            }
        });
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let (promised, is_answered) = (self.expected.output, self.is_answered);
        // Without an answer, nobody can tell whether the server got the request.
        let output = if is_answered { self.output } else { 0 };
        self.limits.change(|state| {
            state.promised_output = state.promised_output.saturating_sub(promised);
            if !is_answered {
                state.unanswered = state.unanswered.saturating_sub(1);
            }
            if let Some(bucket) = state.bucket(RateLimitKind::OutputTokens) {
                bucket.take(output, now);
            }
        });
    }
}

#[cfg(test)]
mod tests;
