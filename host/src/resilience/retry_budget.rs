//! Limits the total retries of all callers of one endpoint.
//!
//! # Why a budget and not only max attempts?
//!
//! Max attempts bound *one* call, not the sum. With three attempts per call, an outage triples the traffic to an endpoint
//! that is already failing, and the retries of many sessions can keep it down (a retry storm). A budget bounds the sum. In any
//! ten seconds the endpoint gets at most 10 retries plus one for every ten calls that were sent. A call that a breaker or the
//! budget refused never reached the endpoint, so it earns nothing. The floor of 10 lets a quiet host ride out a
//! fault; the share lets a busy host retry occasional failures freely. An outage costs the endpoint 10 % more calls, not
//! 200 %.
//!
//! A breaker is no substitute: it opens only when a dependency fails consistently. A budget still holds when every third call
//! fails and no breaker opens.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock;

const WINDOW: Duration = Duration::from_secs(10);
const FLOOR: u64 = 10;
/// This many calls earn one retry.
const CALLS_PER_RETRY: u64 = 10;

/// The retry budget that all callers of one endpoint share: in any 10 s, 10 plus 10 % of the calls that were sent.
#[derive(Debug)]
pub struct RetryBudget {
    origin: Instant,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// One entry per retry: the budget keeps them few.
    retries: VecDeque<Instant>,
    /// (second since the origin, calls in it). Calls can be many, so they are counted per second, for at most ten seconds. The
    /// oldest second is only partly inside the window and is left out, which errs on the safe side.
    calls: VecDeque<(u64, u64)>,
}

impl RetryBudget {
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            window: Mutex::default(),
        }
    }

    /// Counts a call. Call it once its first attempt was sent, and not for retries.
    pub fn record_sent(&self) {
        let second = self.second(Instant::now());
        let mut window = lock(&self.window);
        window.forget_calls(second);
        match window.calls.back_mut() {
            Some((newest, count)) if *newest == second => *count = count.saturating_add(1),
            _ => window.calls.push_back((second, 1)),
        }
    }

    /// Takes one retry from the budget. On `false`, return the error to the caller instead of retrying.
    pub fn try_retry(&self) -> bool {
        let now = Instant::now();
        let mut window = lock(&self.window);
        window.forget_calls(self.second(now));
        while window
            .retries
            .front()
            .is_some_and(|&at| now.saturating_duration_since(at) >= WINDOW)
        {
            window.retries.pop_front();
        }
        let calls: u64 = window.calls.iter().map(|(_, count)| count).sum();
        let allowed = (window.retries.len() as u64) < FLOOR + calls / CALLS_PER_RETRY;
        if allowed {
            window.retries.push_back(now);
        }
        allowed
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs()
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl Window {
    fn forget_calls(&mut self, current_second: u64) {
        while self
            .calls
            .front()
            .is_some_and(|&(second, _)| second + WINDOW.as_secs() <= current_second)
        {
            self.calls.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tokio::time::advance;

    use super::*;

    fn retries_left(budget: &RetryBudget) -> u32 {
        (0..).take_while(|_| budget.try_retry()).count() as u32
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_host_has_ten_retries_in_ten_seconds() {
        let budget = RetryBudget::new();
        assert_eq!(retries_left(&budget), 10);
        advance(WINDOW - Duration::from_millis(1)).await;
        assert_eq!(retries_left(&budget), 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(retries_left(&budget), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn every_tenth_call_adds_one() {
        let budget = RetryBudget::new();
        for _ in 0..99 {
            budget.record_sent();
        }
        assert_eq!(retries_left(&budget), 19);
        budget.record_sent();
        assert_eq!(retries_left(&budget), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_outside_the_window_earn_no_retries() {
        let budget = RetryBudget::new();
        for _ in 0..1_000 {
            budget.record_sent();
        }
        advance(WINDOW).await;
        assert_eq!(retries_left(&budget), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_adds_at_most_a_tenth_to_the_traffic() {
        let budget = RetryBudget::new();
        let mut retries = 0;
        // 100 calls a second for a minute, each requesting two retries.
        for _ in 0..6_000 {
            budget.record_sent();
            retries += (0..2).filter(|_| budget.try_retry()).count();
            advance(Duration::from_millis(10)).await;
        }
        assert!((500..=660).contains(&retries), "{retries}");
    }
}
