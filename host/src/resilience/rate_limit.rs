//! Keeps calls within the limits that a server announces, so that it needn't refuse them.
//!
//! # What is known
//!
//! The head of every answer says how much of each limit is left and when the limit will be whole again. Until the next head the rest is
//! taken to come back evenly, as in the token buckets of the vendors, and what has been asked for and not been answered is subtracted.
//! Nothing is known before the first answer, and nothing is left to know once the announced time has passed. In both cases calls are
//! admitted.
//!
//! # Who goes first
//!
//! While a call waits for a limit, others don't overtake it: they stand in line behind it. The line is fair between tenants. The first
//! in line waits for as much as it needs, the others for their turn.
//!
//! # When the server is asked all the same
//!
//! All of this is a forecast, and only the server knows. A limit that would take more than [`MAX_WAIT`] isn't waited for: the server
//! refuses the call in its own words. The first in line asks after [`MAX_WAIT`] in any case, and the head of its answer corrects what was
//! wrong.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::fair::{FairPermit, FairSemaphore, Priority, Share};
use super::lock;

/// The longest wait for a limit.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The shortest wait, so that rounding can't make it a loop without one.
const MIN_WAIT: Duration = Duration::from_millis(5);

/// How often to look again while only the answers to others can help. Each of them is noticed at once.
const RECHECK: Duration = Duration::from_secs(1);

/// How much the newest answer counts in what is expected of the next one.
const NEWEST: f64 = 0.25;

/// What a server limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitKind {
    Requests,
    /// Without those read from the cache.
    InputTokens,
    OutputTokens,
    /// Those of prompts and answers together.
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

/// The most that a request can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSize {
    pub prompt_tokens: u64,
    pub output_tokens: u64,
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
    /// The server has refused a request and said when to come back.
    Refused,
    /// Others wait already.
    InLine,
}

/// A request that would most likely be refused, if it were sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSoon {
    pub wait: Wait,
    /// At least this long.
    pub retry_after: Duration,
}

/// The limits of one server, model and key.
#[derive(Debug)]
pub struct RateLimits {
    state: Mutex<State>,
    /// Its one permit is the place at the head of the line.
    line: FairSemaphore,
    /// The state has changed.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    limits: [Option<Limit>; 4],
    /// What was admitted, and no head announces yet.
    unannounced: Amounts,
    refused_until: Option<Instant>,
    expected: Shares,
}

/// One amount for each [`RateLimitKind`], in the order of [`RateLimitKind::ALL`].
type Amounts = [u64; 4];

#[derive(Clone, Copy, Debug)]
struct Limit {
    limit: f64,
    remaining: f64,
    announced: Instant,
    whole: Instant,
}

/// How much requests have taken of the most that they could.
#[derive(Clone, Copy, Debug)]
struct Shares {
    prompt: f64,
    uncached: f64,
    output: f64,
    /// Whether any request has ended.
    is_known: bool,
}

/// The place at the head of the line. Dropping it lets the next one follow.
#[derive(Debug)]
pub struct HeadOfLine {
    _place: FairPermit,
    since: Instant,
}

/// A request that may be sent. Until the head of its answer is there, others count with it.
#[derive(Debug)]
pub struct Admitted<'a> {
    limits: &'a RateLimits,
    size: RequestSize,
    unannounced: Amounts,
}

impl Default for RateLimits {
    fn default() -> Self {
        let state = State {
            limits: [None; 4],
            unannounced: [0; 4],
            refused_until: None,
            expected: Shares {
                prompt: 1.0,
                uncached: 1.0,
                output: 1.0,
                is_known: false,
            },
        };
        Self {
            state: Mutex::new(state),
            line: FairSemaphore::new(1, Share::Permits),
            changed: Notify::new(),
        }
    }
}

impl RateLimits {
    /// Admits a request, or says why it should wait. A request from the head of the line leaves it when it is admitted.
    ///
    /// # Errors
    ///
    /// [`TooSoon`]: wait with [`RateLimits::reach_head`], and ask again.
    pub fn try_begin(&self, size: RequestSize, head: &mut Option<HeadOfLine>) -> Result<Admitted<'_>, TooSoon> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        let amounts = state.expected.of(size);
        let too_soon = state.too_soon(&amounts, now);
        let is_overdue = head.as_ref().is_some_and(|head| now >= head.since + MAX_WAIT);
        if let Some(too_soon) = too_soon.filter(|_| !is_overdue) {
            return Err(too_soon);
        }
        if head.is_none() && !self.line.is_free() {
            return Err(TooSoon {
                wait: Wait::InLine,
                retry_after: Duration::ZERO,
            });
        }
        for (sum, amount) in state.unannounced.iter_mut().zip(amounts) {
            *sum = sum.saturating_add(amount);
        }
        drop(state);
        // The next in line is woken, so not under the lock.
        drop(head.take());
        Ok(Admitted {
            limits: self,
            size,
            unannounced: amounts,
        })
    }

    /// Waits for the head of the line, and there until the request can be admitted. Cancel-safe: dropping the future leaves the line.
    pub async fn reach_head(&self, tenant: &Arc<str>, size: RequestSize, head: Option<HeadOfLine>) -> HeadOfLine {
        let head = match head {
            Some(head) => head,
            None => HeadOfLine {
                _place: self.line.acquire(tenant, Priority::New).await,
                since: Instant::now(),
            },
        };
        let overdue = head.since + MAX_WAIT;
        loop {
            // Before the state is read, so that no change is missed.
            let changed = self.changed.notified();
            let now = Instant::now();
            let too_soon = {
                let state = lock(&self.state);
                state.too_soon(&state.expected.of(size), now)
            };
            let Some(too_soon) = too_soon.filter(|_| now < overdue) else {
                return head;
            };
            let until = (now + too_soon.retry_after.max(MIN_WAIT)).min(overdue);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// The server refused a request and wants no other for so long.
    pub fn refused(&self, retry_after: Duration) {
        if retry_after > MAX_WAIT {
            return;
        }
        let until = Instant::now() + retry_after;
        self.change(|state| state.refused_until = state.refused_until.max(Some(until)));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_waiters();
    }
}

impl State {
    /// The longest wait that any limit asks for.
    fn too_soon(&self, amounts: &Amounts, now: Instant) -> Option<TooSoon> {
        let refused = self.refused_until.filter(|until| *until > now).map(|until| TooSoon {
            wait: Wait::Refused,
            retry_after: until - now,
        });
        let limits = RateLimitKind::ALL.into_iter().zip(&self.limits);
        let needs = self.unannounced.iter().zip(amounts);
        let waits = limits.zip(needs).filter_map(|((kind, limit), (unannounced, amount))| {
            Some(TooSoon {
                wait: Wait::For(kind),
                retry_after: limit.as_ref()?.wait_for(*unannounced, *amount, now)?,
            })
        });
        let waits = waits.filter(|too_soon| too_soon.retry_after <= MAX_WAIT);
        waits.chain(refused).max_by_key(|too_soon| too_soon.retry_after)
    }
}

impl Limit {
    fn available(&self, now: Instant) -> f64 {
        if now >= self.whole {
            return self.limit;
        }
        let since = (now - self.announced).as_secs_f64();
        self.remaining + self.per_second() * since
    }

    fn per_second(&self) -> f64 {
        (self.limit - self.remaining) / (self.whole - self.announced).as_secs_f64()
    }

    /// How long until `amount` is left beside what others have asked for. `None`: it is. A request larger than the limit waits for all
    /// of it.
    fn wait_for(&self, unannounced: u64, amount: u64, now: Instant) -> Option<Duration> {
        let needed = unannounced as f64 + (amount as f64).min(self.limit);
        let missing = needed - self.available(now);
        if missing <= 0.0 {
            return None;
        }
        if needed > self.limit {
            return Some(self.whole.saturating_duration_since(now).max(RECHECK));
        }
        let wait = Duration::try_from_secs_f64(missing / self.per_second()).unwrap_or(RECHECK);
        Some(wait.max(MIN_WAIT))
    }
}

impl Shares {
    /// What a request is expected to take.
    fn of(&self, size: RequestSize) -> Amounts {
        let part = |most: u64, share: f64| (most as f64 * share).round() as u64;
        let output = part(size.output_tokens, self.output);
        RateLimitKind::ALL.map(|kind| match kind {
            RateLimitKind::Requests => 1,
            RateLimitKind::InputTokens => part(size.prompt_tokens, self.uncached),
            RateLimitKind::OutputTokens => output,
            RateLimitKind::Tokens => part(size.prompt_tokens, self.prompt).saturating_add(output),
        })
    }

    fn learn(&mut self, size: RequestSize, used: TokensUsed) {
        let newest = if self.is_known { NEWEST } else { 1.0 };
        self.is_known = true;
        for (share, most, used) in [
            (&mut self.prompt, size.prompt_tokens, used.prompt),
            (&mut self.uncached, size.prompt_tokens, used.uncached),
            (&mut self.output, size.output_tokens, used.output),
        ] {
            let observed = used as f64 / most.max(1) as f64;
            *share += (observed - *share) * newest;
        }
    }
}

impl Admitted<'_> {
    /// The head of the answer is there, and announces what is left beside this request. The tokens of the answer itself are still to
    /// come.
    pub fn answered(&mut self, announced: &[AnnouncedLimit]) {
        let now = Instant::now();
        let mine = &mut self.unannounced;
        self.limits.change(|state| {
            let sums = state.unannounced.iter_mut().zip(mine);
            for ((kind, limit), (sum, mine)) in RateLimitKind::ALL.into_iter().zip(&mut state.limits).zip(sums) {
                if kind != RateLimitKind::OutputTokens {
                    *sum = sum.saturating_sub(std::mem::take(mine));
                }
                let announced = announced.iter().find(|announced| announced.kind == kind);
                if let Some(announced) = announced {
                    *limit = Some(Limit {
                        limit: announced.limit.max(announced.remaining) as f64,
                        remaining: announced.remaining as f64,
                        announced: now,
                        whole: now.checked_add(announced.whole_after).unwrap_or(now),
                    });
                }
            }
        });
    }

    /// The whole answer is there.
    pub fn used(&self, used: TokensUsed) {
        self.limits.change(|state| state.expected.learn(self.size, used));
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let unannounced = self.unannounced;
        self.limits.change(|state| {
            for (sum, amount) in state.unannounced.iter_mut().zip(unannounced) {
                *sum = sum.saturating_sub(amount);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use futures_util::FutureExt;

    use super::*;

    const SMALL: RequestSize = RequestSize {
        prompt_tokens: 100,
        output_tokens: 10,
    };

    fn tenant(name: &str) -> Arc<str> {
        name.into()
    }

    fn announced(kind: RateLimitKind, limit: u64, remaining: u64, seconds: u64) -> AnnouncedLimit {
        AnnouncedLimit {
            kind,
            limit,
            remaining,
            whole_after: Duration::from_secs(seconds),
        }
    }

    /// Limits that have announced this with the answer to a first request.
    fn after(announcement: &[AnnouncedLimit]) -> RateLimits {
        let limits = RateLimits::default();
        limits.try_begin(SMALL, &mut None).unwrap().answered(announcement);
        limits
    }

    fn too_soon(limits: &RateLimits, size: RequestSize) -> TooSoon {
        limits.try_begin(size, &mut None).err().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_known_before_the_first_answer_and_after_the_announced_time() {
        let limits = RateLimits::default();
        let all: Vec<_> = (0..1_000)
            .map(|_| limits.try_begin(SMALL, &mut None).unwrap())
            .collect();
        drop(all);
        let limits = after(&[announced(RateLimitKind::Requests, 50, 0, 60)]);
        assert!(limits.try_begin(SMALL, &mut None).is_err());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(limits.try_begin(SMALL, &mut None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_under_way_count() {
        let limits = after(&[announced(RateLimitKind::Requests, 50, 3, 60)]);
        let mut first = limits.try_begin(SMALL, &mut None).unwrap();
        let _others = [(); 2].map(|()| limits.try_begin(SMALL, &mut None).unwrap());
        assert_eq!(too_soon(&limits, SMALL).wait, Wait::For(RateLimitKind::Requests));
        // The server has counted the first one, the others are still on their way.
        first.answered(&[announced(RateLimitKind::Requests, 50, 3, 60)]);
        assert!(limits.try_begin(SMALL, &mut None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_comes_back_evenly() {
        for (remaining, seconds) in [(0, 10), (5, 5), (9, 1), (10, 0)] {
            // One token a second.
            let limits = after(&[announced(RateLimitKind::InputTokens, 60, remaining, 60 - remaining)]);
            let size = RequestSize {
                prompt_tokens: 10,
                output_tokens: 0,
            };
            let started = Instant::now();
            let head = limits.reach_head(&tenant("t"), size, None).await;
            let waited = started.elapsed();
            assert!(
                waited.abs_diff(Duration::from_secs(seconds)) < Duration::from_millis(10),
                "{remaining}: {waited:?}"
            );
            assert!(limits.try_begin(size, &mut Some(head)).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_larger_than_a_limit_waits_for_all_of_it() {
        let limits = after(&[announced(RateLimitKind::InputTokens, 60, 0, 30)]);
        let large = RequestSize {
            prompt_tokens: 1_000,
            output_tokens: 0,
        };
        assert_eq!(too_soon(&limits, large).retry_after, Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(30)).await;
        let _large = limits.try_begin(large, &mut None).unwrap();
        assert_eq!(too_soon(&limits, SMALL).wait, Wait::For(RateLimitKind::InputTokens));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_request_takes_is_learned_from_answers() {
        let limits = RateLimits::default();
        let mut first = limits.try_begin(SMALL, &mut None).unwrap();
        first.answered(&[announced(RateLimitKind::InputTokens, 1_000, 100, 60)]);
        assert!(limits.try_begin(SMALL, &mut None).is_ok());
        let _under_way = limits.try_begin(SMALL, &mut None).unwrap();
        assert_eq!(too_soon(&limits, SMALL).wait, Wait::For(RateLimitKind::InputTokens));
        first.used(TokensUsed {
            prompt: 90,
            uncached: 5,
            output: 10,
        });
        drop(_under_way);
        let five_each: Vec<_> = std::iter::from_fn(|| limits.try_begin(SMALL, &mut None).ok()).collect();
        assert_eq!(five_each.len(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn output_counts_until_the_answer_is_whole() {
        let limits = after(&[announced(RateLimitKind::OutputTokens, 1_000, 15, 1_000)]);
        let mut first = limits.try_begin(SMALL, &mut None).unwrap();
        first.answered(&[]);
        assert_eq!(too_soon(&limits, SMALL).wait, Wait::For(RateLimitKind::OutputTokens));
        drop(first);
        assert!(limits.try_begin(SMALL, &mut None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_waits_after_a_refusal_but_not_for_ever() {
        let limits = RateLimits::default();
        limits.refused(Duration::from_secs(7));
        limits.refused(Duration::from_secs(3));
        let refused = |seconds| TooSoon {
            wait: Wait::Refused,
            retry_after: Duration::from_secs(seconds),
        };
        assert_eq!(too_soon(&limits, SMALL), refused(7));
        // The server says so to each call that asks.
        limits.refused(Duration::from_secs(61));
        assert_eq!(too_soon(&limits, SMALL), refused(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_takes_longer_than_a_minute_is_for_the_server_to_enforce() {
        for (seconds, is_admitted) in [(60, false), (61, true)] {
            let limits = after(&[announced(RateLimitKind::Requests, 1, 0, seconds)]);
            assert_eq!(limits.try_begin(SMALL, &mut None).is_ok(), is_admitted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_in_line_asks_after_a_minute_in_any_case() {
        let limits = after(&[announced(RateLimitKind::Requests, 1, 1, 1)]);
        // Its answer never comes.
        let _lost = limits.try_begin(SMALL, &mut None).unwrap();
        let started = Instant::now();
        let head = limits.reach_head(&tenant("t"), SMALL, None).await;
        assert_eq!(started.elapsed(), MAX_WAIT);
        assert!(limits.try_begin(SMALL, &mut None).is_err());
        let mut head = Some(head);
        assert!(limits.try_begin(SMALL, &mut head).is_ok());
        assert!(head.is_none(), "it has left the line");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_overtakes_those_in_line_and_the_line_is_fair_between_tenants() {
        let limits = Arc::new(after(&[announced(RateLimitKind::Requests, 60, 0, 60)]));
        let served = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = ["loud"; 10]
            .into_iter()
            .chain(["quiet"; 2])
            .map(|name| {
                let (limits, served) = (limits.clone(), served.clone());
                tokio::spawn(async move {
                    let mut head = Some(limits.reach_head(&tenant(name), SMALL, None).await);
                    let mut admitted = limits.try_begin(SMALL, &mut head).unwrap();
                    admitted.answered(&[announced(RateLimitKind::Requests, 60, 0, 60)]);
                    lock(&served).push(name);
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let late = too_soon(&limits, SMALL);
        assert_eq!(late.wait, Wait::For(RateLimitKind::Requests));
        let started = Instant::now();
        for task in tasks {
            task.await.unwrap();
        }
        let elapsed = started.elapsed();
        assert!((11.0..=13.0).contains(&elapsed.as_secs_f64()), "{elapsed:?}");
        let served = lock(&served).clone();
        assert_eq!(served[..5], ["loud", "quiet", "loud", "quiet", "loud"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_comes_while_another_waits_stands_in_line() {
        let limits = after(&[announced(RateLimitKind::InputTokens, 1_000, 50, 60)]);
        let name = tenant("t");
        let mut waiting = Box::pin(limits.reach_head(&name, SMALL, None));
        assert!((&mut waiting).now_or_never().is_none());
        let tiny = RequestSize {
            prompt_tokens: 1,
            output_tokens: 0,
        };
        assert_eq!(too_soon(&limits, tiny).wait, Wait::InLine);
        drop(waiting);
        assert!(
            limits.try_begin(tiny, &mut None).is_ok(),
            "a call that gave up leaves the line"
        );
    }
}
