#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use tokio::time::advance;

use super::*;

const OPEN_FOR: Duration = Duration::from_secs(60);

fn breaker() -> Arc<Breaker> {
    Arc::new(Breaker::new(
        "tool:weather",
        BreakerSettings {
            failure_threshold: 3,
            success_threshold: 2,
            open_for: OPEN_FOR,
            ..BreakerSettings::default()
        },
    ))
}

/// Half of at least four calls, or all of them if they take ten seconds.
fn windowed() -> Arc<Breaker> {
    let window = WindowSettings {
        calls: 6,
        min_calls: 4,
        failure_rate: 0.5,
        slow_call: Some(Duration::from_secs(10)),
        slow_rate: 1.0,
    };
    let settings = BreakerSettings {
        failure_threshold: 1,
        window: Some(window),
        success_threshold: 1,
        open_for: OPEN_FOR,
    };
    Arc::new(Breaker::new("tool:weather", settings))
}

#[tokio::test(start_paused = true)]
async fn a_window_opens_it_by_the_rate_of_failures() {
    let breaker = windowed();
    for _ in 0..2 {
        assert_eq!(permit(&breaker).failure(), None);
        assert_eq!(breaker.state(), BreakerState::Closed);
        // Says nothing, so it is no call of the window.
        permit(&breaker).neutral();
        let opened = permit(&breaker).success();
        assert_eq!(opened.is_some(), breaker.state() == BreakerState::Open);
    }
    assert_eq!(breaker.state(), BreakerState::Open, "two of four");
    let stats = breaker.stats();
    assert_eq!((stats.failure_count, stats.window.unwrap().calls), (2, 4));

    // A window begins empty: what led to the outage is forgotten.
    advance(OPEN_FOR).await;
    assert_eq!(permit(&breaker).success().unwrap().to, BreakerState::Closed);
    assert_eq!(breaker.stats().window.unwrap().calls, 0);
    assert_eq!(fail(&breaker, 3), None);
    assert_eq!(fail(&breaker, 1).unwrap().to, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_window_opens_it_by_the_rate_of_slow_calls() {
    let breaker = windowed();
    let call = async |seconds| {
        let permit = permit(&breaker);
        advance(Duration::from_secs(seconds)).await;
        permit.success()
    };
    assert_eq!(call(9).await, None);
    for _ in 0..5 {
        assert_eq!(call(10).await, None, "five of six are slow");
    }
    assert_eq!(call(10).await.unwrap().to, BreakerState::Open);
    assert_eq!(breaker.stats().window.unwrap().slow, 6);
}

#[tokio::test(start_paused = true)]
async fn it_remembers_the_last_failure_that_counted() {
    let breaker = breaker();
    let fail = |cause: &str| {
        let mut permit = permit(&breaker);
        permit.because(cause);
        permit.failure()
    };
    let mut neutral = permit(&breaker);
    neutral.because("a mistake of the caller");
    neutral.neutral();
    assert_eq!(breaker.stats().last_failure, None);
    fail("first");
    assert_eq!(permit(&breaker).success(), None);
    assert_eq!(breaker.stats().last_failure, None, "it works again");
    fail("second");
    fail("third");
    let late = permit(&breaker);
    let opened = fail(&"x".repeat(1_000)).unwrap();
    assert_eq!(opened.last_failure.as_deref(), Some(&*"x".repeat(300)));
    late.failure();
    assert_eq!(breaker.try_acquire().unwrap_err().last_failure, opened.last_failure);

    advance(OPEN_FOR).await;
    let mut probe = permit(&breaker);
    probe.because("HTTP 503");
    let reopened = probe.answered(false).unwrap();
    assert_eq!(reopened.last_failure.as_deref(), Some("HTTP 503"));
    assert_eq!(breaker.apply_override(Override::Closed).unwrap().last_failure, None);
    assert_eq!(breaker.stats().last_failure, None);
    breaker.restore(Some(OPEN_FOR), Some("elsewhere"));
    assert_eq!(breaker.stats().last_failure.as_deref(), Some("elsewhere"));
}

#[tokio::test(start_paused = true)]
async fn it_opens_as_another_process_left_it() {
    let breaker = breaker();
    breaker.restore(Some(Duration::from_secs(20)), None);
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!(rejected.retry_after, Duration::from_secs(20));
    advance(Duration::from_secs(20)).await;
    assert!(breaker.try_acquire().is_ok(), "the probe");

    let breaker = self::breaker();
    breaker.restore(Some(Duration::MAX), None);
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!(
        rejected.retry_after, OPEN_FOR,
        "a clock that was wrong doesn't hold it open"
    );

    let held = self::breaker();
    held.restore(None, None);
    advance(OPEN_FOR * 10).await;
    assert!(held.try_acquire().is_err());
    held.apply_override(Override::Closed);
    assert!(held.try_acquire().is_ok());
}

fn permit(breaker: &Arc<Breaker>) -> Permit {
    breaker.try_acquire().expect("the breaker lets the call through").0
}

fn fail(breaker: &Arc<Breaker>, times: u32) -> Option<Transition> {
    (0..times).fold(None, |_, _| permit(breaker).failure())
}

/// A breaker that has opened and is ready to admit a probe.
async fn ready_to_probe() -> Arc<Breaker> {
    let breaker = breaker();
    fail(&breaker, 3);
    advance(OPEN_FOR).await;
    breaker
}

#[tokio::test(start_paused = true)]
async fn consecutive_failures_open_it_and_calls_are_refused_immediately() {
    let breaker = breaker();
    assert_eq!(fail(&breaker, 2), None);
    let opened = permit(&breaker).failure().unwrap();
    assert_eq!((opened.from, opened.to), (BreakerState::Closed, BreakerState::Open));
    assert_eq!(opened.retry_after, Some(OPEN_FOR));

    advance(Duration::from_secs(20)).await;
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!(rejected.retry_after, Duration::from_secs(40));
    assert_eq!(breaker.stats().rejected_count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_success_resets_the_failure_count() {
    let breaker = breaker();
    fail(&breaker, 2);
    assert_eq!(permit(&breaker).success(), None);
    assert_eq!(breaker.stats().failure_count, 0);
    fail(&breaker, 2);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn neutral_and_dropped_permits_are_not_counted() {
    let breaker = breaker();
    fail(&breaker, 2);
    permit(&breaker).neutral();
    drop(permit(&breaker));
    assert_eq!(breaker.stats().failure_count, 2);
}

#[tokio::test(start_paused = true)]
async fn probes_run_one_at_a_time_and_enough_successes_close_it() {
    let breaker = ready_to_probe().await;
    let (probe, transition) = breaker.try_acquire().unwrap();
    assert_eq!(transition.unwrap().to, BreakerState::HalfOpen);
    assert_eq!(breaker.try_acquire().unwrap_err().state, BreakerState::HalfOpen);

    assert_eq!(probe.success(), None, "one success is not enough");
    assert_eq!(breaker.stats().success_count, 1);
    let closed = permit(&breaker).success().unwrap();
    assert_eq!(
        (closed.from, closed.to, closed.retry_after),
        (BreakerState::HalfOpen, BreakerState::Closed, None)
    );
    let stats = breaker.stats();
    assert_eq!(
        (stats.failure_count, stats.success_count, stats.opened_at),
        (0, 0, None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_reopens_it_for_the_full_time() {
    let breaker = ready_to_probe().await;
    let reopened = permit(&breaker).failure().unwrap();
    assert_eq!(
        (reopened.from, reopened.to),
        (BreakerState::HalfOpen, BreakerState::Open)
    );
    advance(OPEN_FOR - Duration::from_millis(1)).await;
    assert!(breaker.try_acquire().is_err());
    advance(Duration::from_millis(1)).await;
    assert!(breaker.try_acquire().is_ok());
    assert_eq!(breaker.stats().opened_count, 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_frees_the_slot_for_the_next() {
    let breaker = ready_to_probe().await;
    permit(&breaker).success();
    let cancelled = permit(&breaker);
    assert!(breaker.try_acquire().is_err());
    drop(cancelled);
    assert_eq!(breaker.stats().success_count, 1, "the cancelled call is not counted");
    assert!(permit(&breaker).success().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_head_of_an_answer_decides_a_probe_and_nothing_else() {
    let breaker = breaker();
    let mut call = permit(&breaker);
    assert_eq!(call.answered(false), None);
    assert_eq!(call.answered(true), None);
    call.failure();
    assert_eq!(breaker.stats().failure_count, 1, "while closed, the end counts");

    let breaker = ready_to_probe().await;
    let mut first = permit(&breaker);
    assert_eq!(first.answered(true), None);
    let mut second = permit(&breaker);
    assert_eq!(first.answered(false), None, "decided before");
    assert_eq!(first.failure(), None, "decided before");
    assert_eq!(breaker.stats().success_count, 1);
    assert!(breaker.try_acquire().is_err(), "its end doesn't free the other's slot");
    assert_eq!(second.answered(true).unwrap().to, BreakerState::Closed);
    second.failure();
    assert_eq!(breaker.stats().failure_count, 0, "an older generation");

    let breaker = ready_to_probe().await;
    assert_eq!(permit(&breaker).answered(false).unwrap().to, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn outcomes_from_an_older_generation_are_ignored() {
    let breaker = breaker();
    let (late_failure, late_success, late_drop) = (permit(&breaker), permit(&breaker), permit(&breaker));
    fail(&breaker, 3);
    advance(OPEN_FOR).await;
    let probe = permit(&breaker);
    assert_eq!(late_success.success(), None);
    drop(late_drop);
    assert_eq!(breaker.stats().success_count, 0, "a late success isn't a probe");
    assert!(
        breaker.try_acquire().is_err(),
        "a late drop doesn't free the probe slot"
    );
    assert_eq!(late_failure.failure(), None);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(probe.success(), None);
}

#[tokio::test(start_paused = true)]
async fn a_reset_ignores_calls_in_flight() {
    let breaker = breaker();
    let under_way = permit(&breaker);
    fail(&breaker, 2);
    assert_eq!(breaker.reset(), None);
    under_way.failure();
    assert_eq!(breaker.stats().failure_count, 0);
}

#[tokio::test(start_paused = true)]
async fn a_forced_open_breaker_admits_no_probe_until_closed_or_reset() {
    let breaker = breaker();
    let forced = breaker.force_open().unwrap();
    assert_eq!((forced.to, forced.retry_after), (BreakerState::Open, None));
    advance(OPEN_FOR * 10).await;
    assert!(breaker.try_acquire().is_err());
    assert_eq!(breaker.stats().time_until_retry_seconds, None);
    assert_eq!(breaker.force_open(), None, "it was open already");

    assert_eq!(breaker.force_closed().unwrap().to, BreakerState::Closed);
    assert_eq!(breaker.stats().opened_count, 1);
    assert!(
        fail(&breaker, 3).is_some(),
        "a forced-closed breaker still counts failures"
    );
    breaker.reset();
    let stats = breaker.stats();
    assert_eq!(
        (stats.state, stats.opened_count, stats.rejected_count),
        (BreakerState::Closed, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn stats_have_the_documented_field_names() {
    let breaker = breaker();
    fail(&breaker, 3);
    advance(Duration::from_millis(1500)).await;
    let stats = serde_json::to_value(breaker.stats()).unwrap();
    let names: Vec<_> = stats.as_object().unwrap().keys().map(String::as_str).collect();
    for name in [
        "name",
        "state",
        "failure_count",
        "success_count",
        "failure_threshold",
        "success_threshold",
        "open_for_seconds",
        "opened_at",
        "opened_count",
        "time_until_retry_seconds",
        "rejected_count",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    assert_eq!(names.len(), 11);
    assert_eq!(stats["state"], "open");
    assert_eq!(stats["time_until_retry_seconds"], 58.5);
    assert!(stats["opened_at"].as_str().unwrap().ends_with('Z'));
}

/// An operation on a breaker. Calls in flight are numbered by age.
#[derive(Clone, Copy, Debug)]
enum Step {
    Acquire,
    Success(usize),
    Failure(usize),
    Drop(usize),
    Answered(usize, bool),
    Wait(u64),
    ForceOpen,
    ForceClosed,
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Acquire),
        3 => (0..4_usize).prop_map(Step::Success),
        5 => (0..4_usize).prop_map(Step::Failure),
        2 => (0..4_usize).prop_map(Step::Drop),
        3 => (0..4_usize, any::<bool>()).prop_map(|(call, healthy)| Step::Answered(call, healthy)),
        3 => (1..90_u64).prop_map(Step::Wait),
        1 => Just(Step::ForceOpen),
        1 => Just(Step::ForceClosed),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 1..120)
}

/// A minimal reference model: the state, whole seconds, and for each call in flight whether it still counts. When the state
/// changes, no call in flight counts any longer.
#[derive(Debug)]
struct Reference {
    state: BreakerState,
    failures: u32,
    successes: u32,
    clock: u64,
    probe_at: Option<u64>,
    calls: Vec<bool>,
}

impl Reference {
    fn enter(&mut self, state: BreakerState) {
        self.state = state;
        self.successes = 0;
        self.calls.fill(false);
        self.probe_at = (state == BreakerState::Open).then(|| self.clock + OPEN_FOR.as_secs());
        if state == BreakerState::Closed {
            self.failures = 0;
        }
    }

    fn acquire(&mut self) -> bool {
        if self.state == BreakerState::Open && self.probe_at.is_some_and(|at| at <= self.clock) {
            self.enter(BreakerState::HalfOpen);
        }
        let admitted = match self.state {
            BreakerState::Closed => true,
            BreakerState::Open => false,
            BreakerState::HalfOpen => !self.calls.contains(&true),
        };
        if admitted {
            self.calls.push(true);
        }
        admitted
    }

    fn end(&mut self, call: usize, success: Option<bool>) {
        if self.calls.remove(call) {
            self.count(success);
        }
    }

    fn answered(&mut self, call: usize, healthy: bool) {
        if self.state == BreakerState::HalfOpen && std::mem::take(&mut self.calls[call]) {
            self.count(Some(healthy));
        }
    }

    fn count(&mut self, success: Option<bool>) {
        match (self.state, success) {
            (BreakerState::Closed, Some(true)) => self.failures = 0,
            (BreakerState::HalfOpen, Some(true)) => {
                self.successes += 1;
                if self.successes == 2 {
                    self.enter(BreakerState::Closed);
                }
            }
            (_, Some(false)) => {
                self.failures += 1;
                if self.state == BreakerState::HalfOpen || self.failures == 3 {
                    self.enter(BreakerState::Open);
                }
            }
            (_, None) | (BreakerState::Open, _) => {}
        }
    }
}

proptest! {
    #[test]
    fn the_breaker_matches_the_reference_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let breaker = breaker();
            let mut permits: Vec<Permit> = Vec::new();
            let mut reference = Reference {
                state: BreakerState::Closed, failures: 0, successes: 0, clock: 0, probe_at: None, calls: Vec::new(),
            };
            for step in steps {
                match step {
                    Step::Acquire => {
                        let acquired = breaker.try_acquire();
                        prop_assert_eq!(acquired.is_ok(), reference.acquire());
                        permits.extend(acquired.map(|(permit, _)| permit));
                    }
                    Step::Success(call) if call < permits.len() => {
                        permits.remove(call).success();
                        reference.end(call, Some(true));
                    }
                    Step::Failure(call) if call < permits.len() => {
                        permits.remove(call).failure();
                        reference.end(call, Some(false));
                    }
                    Step::Drop(call) if call < permits.len() => {
                        drop(permits.remove(call));
                        reference.end(call, None);
                    }
                    Step::Answered(call, healthy) if call < permits.len() => {
                        permits[call].answered(healthy);
                        reference.answered(call, healthy);
                    }
                    Step::Success(_) | Step::Failure(_) | Step::Drop(_) | Step::Answered(..) => {}
                    Step::Wait(seconds) => {
                        advance(Duration::from_secs(seconds)).await;
                        reference.clock += seconds;
                    }
                    Step::ForceOpen => {
                        breaker.force_open();
                        reference.enter(BreakerState::Open);
                        reference.probe_at = None;
                    }
                    Step::ForceClosed => {
                        breaker.force_closed();
                        reference.enter(BreakerState::Closed);
                    }
                    Step::Reset => {
                        breaker.reset();
                        reference.enter(BreakerState::Closed);
                    }
                }
                let stats = breaker.stats();
                prop_assert_eq!(stats.state, reference.state);
                prop_assert_eq!(stats.failure_count, reference.failures);
                prop_assert_eq!(stats.success_count, reference.successes);
                prop_assert_eq!(stats.opened_at.is_some(), reference.state != BreakerState::Closed);
            }
            Ok(())
        })?;
    }
}

/// A look answers as a request for a permit would, but takes no permit, so a probe is still free after it.
#[tokio::test(start_paused = true)]
async fn a_look_takes_no_permit() {
    let breaker = breaker();
    assert!(breaker.check().is_ok());
    fail(&breaker, 3);
    advance(Duration::from_secs(20)).await;
    let refused = breaker.check().unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(40));
    assert_eq!(breaker.stats().rejected_count, 1);
    advance(Duration::from_secs(40)).await;
    assert!(breaker.check().is_ok() && breaker.check().is_ok());
    assert_eq!(breaker.state(), BreakerState::Open, "a look begins no probe");
    let probe = permit(&breaker);
    assert_eq!(breaker.check().unwrap_err().retry_after, Duration::ZERO);
    probe.success();
    assert!(breaker.check().is_ok());
    breaker.apply_override(Override::Open);
    assert_eq!(breaker.check().unwrap_err().retry_after, OPEN_FOR);
}
