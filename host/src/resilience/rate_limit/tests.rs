#![allow(clippy::unwrap_used, clippy::panic)]
//! What is admitted, and when and in which order.

use std::collections::BinaryHeap;

use futures_util::FutureExt;

use super::*;

const SMALL: RequestSize = sized(100, 10);

const fn sized(prompt_tokens: u64, output_tokens: u64) -> RequestSize {
    RequestSize {
        prompt_tokens,
        output_tokens,
    }
}

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
    let mut first = limits.try_begin(SMALL, &mut None).unwrap();
    first.answered(AnswerHead::Admitted, announcement);
    first.used(TokensUsed {
        prompt: 100,
        uncached: 100,
        output: 10,
    });
    drop(first);
    limits
}

fn too_soon(limits: &RateLimits, size: RequestSize) -> TooSoon {
    limits.try_begin(size, &mut None).err().unwrap()
}

fn refuse(limits: &RateLimits, size: RequestSize, seconds: u64, announcement: &[AnnouncedLimit]) {
    let mut refused = limits.try_begin(size, &mut None).unwrap();
    refused.answered(AnswerHead::Refused(Some(Duration::from_secs(seconds))), announcement);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_known_before_the_first_answer() {
    let limits = RateLimits::default();
    let all: Vec<_> = (0..1_000)
        .map(|_| limits.try_begin(SMALL, &mut None).unwrap())
        .collect();
    assert_eq!(all.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn each_limit_is_waited_for() {
    let large = sized(200, 20);
    for (kind, remaining) in [
        (RateLimitKind::Requests, 0),
        (RateLimitKind::InputTokens, 199),
        (RateLimitKind::Tokens, 219),
    ] {
        let limits = after(&[announced(kind, 1_000, remaining, 60)]);
        assert_eq!(too_soon(&limits, large).wait, Wait::For(kind));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(limits.try_begin(large, &mut None).is_ok());
    }
    // The first request's answer has taken ten.
    let limits = after(&[announced(RateLimitKind::OutputTokens, 1_000, 29, 60)]);
    assert_eq!(too_soon(&limits, large).wait, Wait::For(RateLimitKind::OutputTokens));
}

#[tokio::test(start_paused = true)]
async fn output_is_promised_while_it_is_written_and_paid_at_its_end() {
    let limits = after(&[announced(RateLimitKind::OutputTokens, 1_000, 35, 60)]);
    let [mut first, _second] = [(); 2].map(|()| limits.try_begin(SMALL, &mut None).unwrap());
    assert_eq!(too_soon(&limits, SMALL).wait, Wait::For(RateLimitKind::OutputTokens));
    first.used(TokensUsed {
        prompt: 100,
        uncached: 100,
        output: 2,
    });
    drop(first);
    // 35, less what the first one had, less two, less the ten that are still promised. From here, less is expected.
    let left = std::iter::from_fn(|| limits.try_begin(SMALL, &mut None).ok()).collect::<Vec<_>>();
    assert_eq!(left.len(), 1, "13 are left, and each is expected to take 8");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_costs_nothing() {
    let limits = after(&[announced(RateLimitKind::Requests, 60, 1, 60)]);
    for _ in 0..5 {
        limits.try_begin(SMALL, &mut None).unwrap().not_sent();
    }
    let _sent = limits.try_begin(SMALL, &mut None).unwrap();
    assert!(limits.try_begin(SMALL, &mut None).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_keeps_requests_of_its_size_back_and_smaller_ones_if_nothing_is_announced() {
    let large = sized(10_000, 10);
    for (announcement, small_waits) in [
        (&[announced(RateLimitKind::Requests, 60, 50, 60)][..], false),
        (&[], true),
    ] {
        let limits = RateLimits::default();
        refuse(&limits, large, 7, announcement);
        let refused = TooSoon {
            wait: Wait::Refused,
            retry_after: Duration::from_secs(7),
        };
        assert_eq!(too_soon(&limits, large), refused);
        assert_eq!(limits.try_begin(SMALL, &mut None).is_err(), small_waits);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert!(limits.try_begin(large, &mut None).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_requests_go_slowly() {
    let limits = RateLimits::default();
    refuse(&limits, SMALL, 7, &[]);
    tokio::time::advance(Duration::from_secs(7)).await;
    let mut under_way = Vec::new();
    for most in [1, 2, 4, 8] {
        under_way.extend(std::iter::from_fn(|| limits.try_begin(SMALL, &mut None).ok()));
        assert_eq!(under_way.len(), most);
        assert_eq!(too_soon(&limits, SMALL).wait, Wait::Refused);
        // One of them is answered, so there may be twice as many without an answer.
        under_way.pop().unwrap().answered(AnswerHead::Admitted, &[]);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_to_requests_from_before_a_refusal_end_no_slow_start() {
    let limits = RateLimits::default();
    let mut before: Vec<_> = (0..50).map(|_| limits.try_begin(SMALL, &mut None).unwrap()).collect();
    refuse(&limits, SMALL, 1, &[]);
    tokio::time::advance(Duration::from_secs(1)).await;
    before
        .iter_mut()
        .for_each(|one| one.answered(AnswerHead::Admitted, &[]));
    let mut first = limits.try_begin(SMALL, &mut None).unwrap();
    assert_eq!(too_soon(&limits, SMALL).wait, Wait::Refused);
    // Nor does an error.
    first.answered(AnswerHead::Failed, &[]);
    let _second = limits.try_begin(SMALL, &mut None).unwrap();
    assert_eq!(too_soon(&limits, SMALL).wait, Wait::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_refused_size_and_one_above_a_limit_keep_no_smaller_ones_waiting() {
    let limit = [announced(RateLimitKind::InputTokens, 5_000, 4_000, 60)];
    let large = sized(10_000, 10);
    let limits = after(&limit);
    // No wait would help.
    refuse(&limits, large, 30, &limit);
    let name = tenant("loud");
    let mut waiting = Box::pin(limits.wait_for_turn(&name, large, None));
    assert!((&mut waiting).now_or_never().is_none());
    let small: Vec<_> = (0..5).map(|_| limits.try_begin(SMALL, &mut None).unwrap()).collect();
    assert_eq!(small.len(), 5);
    drop(small);
    let started = Instant::now();
    drop(waiting.await);
    assert_eq!(started.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn each_size_waits_for_its_own_refusals() {
    let limits = RateLimits::default();
    let known = [announced(RateLimitKind::Requests, 1_000, 1_000, 1)];
    refuse(&limits, sized(1_000, 0), 60, &known);
    refuse(&limits, sized(10, 0), 1, &known);
    refuse(&limits, sized(5, 0), 1, &known);
    for (size, seconds) in [(2_000, 60), (999, 1), (5, 1)] {
        assert_eq!(
            too_soon(&limits, sized(size, 0)).retry_after,
            Duration::from_secs(seconds)
        );
    }
    assert!(limits.try_begin(sized(4, 0), &mut None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_takes_longer_is_for_the_server_to_enforce() {
    for (seconds, is_admitted) in [(90, false), (91, true)] {
        let limits = after(&[announced(RateLimitKind::Requests, 1, 0, seconds)]);
        assert_eq!(limits.try_begin(SMALL, &mut None).is_ok(), is_admitted);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_one_in_the_queue_asks_in_the_end_in_any_case() {
    let limits = after(&[announced(RateLimitKind::OutputTokens, 15, 15, 1)]);
    tokio::time::advance(Duration::from_secs(60)).await;
    // Its answer never ends.
    let _lost = limits.try_begin(SMALL, &mut None).unwrap();
    let started = Instant::now();
    let turn = limits.wait_for_turn(&tenant("t"), SMALL, None).await;
    assert_eq!(started.elapsed(), MAX_WAIT);
    let mut turn = Some(turn);
    assert!(limits.try_begin(SMALL, &mut turn).is_ok());
    assert!(turn.is_none(), "it has left the queue");
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_those_in_the_queue_and_it_is_fair_between_tenants() {
    let limits = Arc::new(after(&[announced(RateLimitKind::Requests, 60, 0, 60)]));
    let served = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = ["loud"; 10]
        .into_iter()
        .chain(["quiet"; 2])
        .map(|name| {
            let (limits, served) = (limits.clone(), served.clone());
            tokio::spawn(async move {
                let mut turn = Some(limits.wait_for_turn(&tenant(name), SMALL, None).await);
                let mut admitted = limits.try_begin(SMALL, &mut turn).unwrap();
                admitted.answered(AnswerHead::Admitted, &[announced(RateLimitKind::Requests, 60, 0, 60)]);
                lock(&served).push(name);
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(too_soon(&limits, SMALL).wait, Wait::InQueue);
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
async fn a_call_that_gives_up_leaves_the_queue() {
    let limits = after(&[announced(RateLimitKind::InputTokens, 1_000, 50, 60)]);
    let name = tenant("t");
    let mut waiting = Box::pin(limits.wait_for_turn(&name, SMALL, None));
    assert!((&mut waiting).now_or_never().is_none());
    let tiny = sized(1, 0);
    assert_eq!(too_soon(&limits, tiny).wait, Wait::InQueue);
    drop(waiting);
    assert!(limits.try_begin(tiny, &mut None).is_ok());
}

/// A server with the same bucket, whose answers begin late. They say what was left when the request arrived.
#[tokio::test(start_paused = true)]
async fn late_answers_cost_neither_refusals_nor_throughput() {
    const A_SECOND: f64 = 10.0;
    const LIMIT: f64 = 20.0;
    for head_after in [0.01, 5.0, 30.0] {
        let limits = RateLimits::default();
        let start = Instant::now();
        let (mut left, mut at) = (LIMIT, start);
        let (mut sent, mut refused) = (0_u32, 0_u32);
        let mut turn = None;
        let mut heads = BinaryHeap::new();
        let mut under_way = Vec::new();
        while start.elapsed() < Duration::from_secs(120) {
            while let Some(std::cmp::Reverse((due, index, remaining))) = heads.peek().copied()
                && due <= start.elapsed()
            {
                heads.pop();
                let whole_after = Duration::from_secs_f64((LIMIT - remaining as f64) / A_SECOND);
                let limit = AnnouncedLimit {
                    whole_after,
                    ..announced(RateLimitKind::Requests, LIMIT as u64, remaining, 0)
                };
                let admitted: &mut Option<Admitted<'_>> = &mut under_way[index];
                admitted.take().unwrap().answered(AnswerHead::Admitted, &[limit]);
            }
            if let Ok(admitted) = limits.try_begin(SMALL, &mut turn) {
                left = (left + at.elapsed().as_secs_f64() * A_SECOND).min(LIMIT);
                at = Instant::now();
                sent += 1;
                if left >= 1.0 {
                    left -= 1.0;
                    // The first answer is at once, so that there is something to know.
                    let delay = if sent == 1 { 0.0 } else { head_after };
                    let due = start.elapsed() + Duration::from_secs_f64(delay);
                    heads.push(std::cmp::Reverse((due, under_way.len(), left as u64)));
                    under_way.push(Some(admitted));
                    if sent > 1 {
                        continue;
                    }
                } else {
                    refused += 1;
                }
            }
            tokio::time::advance(Duration::from_millis(20)).await;
        }
        let possible = LIMIT + A_SECOND * 120.0;
        assert!(
            refused <= 12,
            "answers after {head_after} s: {refused} of {sent} refused"
        );
        assert!(
            f64::from(sent) >= 0.9 * possible,
            "answers after {head_after} s: {sent} of {possible}"
        );
    }
}
