//! One limit as a token bucket, kept in step with what a server announces.

use std::time::Duration;

use tokio::time::Instant;

use super::AnnouncedLimit;

/// The time in which a limit is taken to come back where its announcements don't say. Vendors count by the minute.
const MINUTE: f64 = 60.0;

/// Less than this is missing only because of rounding.
const NOTHING: f64 = 1e-6;

/// How often to look again where only the ends of other requests can help. Each of them is noticed at once.
const RECHECK: Duration = Duration::from_secs(1);

/// What is left of a limit, by the host's own account, which refills evenly and pays for each request when it is sent; and how far the
/// server's account differs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    limit: f64,
    per_second: f64,
    /// By the host's account at `at`.
    left: f64,
    /// By the host's account at first.
    first_left: f64,
    at: Instant,
    /// What the server's account has more.
    correction: f64,
    /// The newest request whose answer set it.
    request: u64,
}

impl Bucket {
    /// As the answer to this request announces it.
    pub(super) fn new(announced: &AnnouncedLimit, request: u64, now: Instant) -> Self {
        let limit = announced.limit.max(announced.remaining) as f64;
        let mut new = Self {
            limit,
            per_second: limit.max(1.0) / MINUTE,
            left: announced.remaining as f64,
            first_left: announced.remaining as f64,
            at: now,
            correction: 0.0,
            request,
        };
        new.learn_rate(announced);
        new
    }

    /// What the answer to a request announces. `left` is what [`Bucket::take`] returned for it. If the limit wasn't known when the request
    /// was sent, the answer corrects the account as it was at first. An answer to an older request than the last one has nothing new to
    /// say.
    pub(super) fn announce(&mut self, announced: &AnnouncedLimit, request: u64, left: Option<f64>, now: Instant) {
        if request < self.request {
            return;
        }
        self.refill(now);
        self.request = request;
        self.limit = announced.limit.max(announced.remaining) as f64;
        self.learn_rate(announced);
        self.correction = announced.remaining as f64 - left.unwrap_or(self.first_left);
        self.left = self.left.min(self.limit - self.correction);
    }

    /// What was taken comes back by the announced time. A time that was rounded to nothing says nothing.
    fn learn_rate(&mut self, announced: &AnnouncedLimit) {
        let taken = self.limit - announced.remaining as f64;
        let seconds = announced.whole_after.as_secs_f64();
        if taken > 0.0 && seconds > 0.0 {
            self.per_second = taken / seconds;
        }
    }

    fn refill(&mut self, now: Instant) {
        self.left = self.left_at(now);
        self.at = now;
    }

    fn left_at(&self, now: Instant) -> f64 {
        let refilled = self.left + self.per_second * (now - self.at).as_secs_f64();
        refilled.min(self.limit - self.correction)
    }

    /// Pays for a request. Returns what is left by the host's account, for [`Bucket::announce`].
    pub(super) fn take(&mut self, amount: u64, now: Instant) -> f64 {
        self.refill(now);
        self.left -= amount as f64;
        self.left
    }

    /// Takes back what a request paid that wasn't sent.
    pub(super) fn give_back(&mut self, amount: u64) {
        self.left = (self.left + amount as f64).min(self.limit - self.correction);
    }

    /// How long until `amount` is left beside what is `promised` to others. `None`: it is, or no wait would help, because it is more than
    /// the limit.
    pub(super) fn wait_for(&self, promised: u64, amount: u64, now: Instant) -> Option<Duration> {
        if amount as f64 > self.limit {
            return None;
        }
        let needed = promised.saturating_add(amount) as f64;
        let missing = needed - (self.left_at(now) + self.correction);
        if missing <= NOTHING {
            return None;
        }
        if needed > self.limit {
            return Some(RECHECK);
        }
        Some(Duration::try_from_secs_f64(missing / self.per_second).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::RateLimitKind;
    use super::*;

    fn announced(limit: u64, remaining: u64, seconds: u64) -> AnnouncedLimit {
        AnnouncedLimit {
            kind: RateLimitKind::Requests,
            limit,
            remaining,
            whole_after: Duration::from_secs(seconds),
        }
    }

    fn seconds(wait: Option<Duration>) -> f64 {
        wait.map_or(0.0, |wait| (wait.as_secs_f64() * 1e3).round() / 1e3)
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_comes_back_evenly_and_not_beyond_itself() {
        let start = Instant::now();
        // One a second.
        let mut bucket = Bucket::new(&announced(60, 0, 60), 1, start);
        assert_eq!(seconds(bucket.wait_for(0, 10, start)), 10.0);
        let later = start + Duration::from_secs(4);
        assert_eq!(seconds(bucket.wait_for(0, 10, later)), 6.0);
        assert_eq!(seconds(bucket.wait_for(0, 60, later)), 56.0, "all of it");
        assert_eq!(bucket.wait_for(0, 61, later), None, "never, so the server may say so");
        let much_later = start + Duration::from_secs(1_000);
        assert_eq!(bucket.take(60, much_later), 0.0);
        assert_eq!(seconds(bucket.wait_for(0, 1, much_later)), 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_overtake_each_other_correct_the_account_once() {
        let now = Instant::now();
        let mut bucket = Bucket::new(&announced(100, 100, 0), 0, now);
        let left: Vec<_> = (0..3).map(|_| bucket.take(1, now)).collect();
        // Somebody else has taken 20. All three answers say so.
        for request in [0, 2, 1] {
            let remaining = 79 - request as u64;
            bucket.announce(
                &announced(100, remaining, 60),
                request as u64 + 1,
                Some(left[request]),
                now,
            );
        }
        assert!(bucket.wait_for(0, 77, now).is_none());
        assert!(bucket.wait_for(0, 78, now).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_to_requests_from_before_the_limit_was_known_forget_none_that_came_after() {
        let now = Instant::now();
        let mut bucket = Bucket::new(&announced(100, 99, 1), 1, now);
        for _ in 0..50 {
            bucket.take(1, now);
        }
        bucket.announce(&announced(100, 98, 2), 2, None, now);
        assert!(bucket.wait_for(0, 48, now).is_none() && bucket.wait_for(0, 49, now).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rounded_time_does_not_change_the_rate() {
        let now = Instant::now();
        for (remaining, whole_after) in [(60, 0), (50, 0)] {
            let bucket = Bucket::new(&announced(60, remaining, whole_after), 1, now);
            assert_eq!(seconds(bucket.wait_for(0, 60, now)), (60 - remaining) as f64);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn promises_count_and_what_was_not_sent_is_given_back() {
        let now = Instant::now();
        let mut bucket = Bucket::new(&announced(60, 30, 30), 1, now);
        assert_eq!(seconds(bucket.wait_for(25, 10, now)), 5.0);
        assert_eq!(
            bucket.wait_for(55, 10, now),
            Some(RECHECK),
            "only the ends of others can help"
        );
        bucket.take(30, now);
        bucket.give_back(30);
        assert!(bucket.wait_for(0, 30, now).is_none());
        bucket.give_back(u64::MAX);
        assert!(bucket.wait_for(0, 60, now).is_none() && bucket.wait_for(1, 60, now).is_some());
    }
}
