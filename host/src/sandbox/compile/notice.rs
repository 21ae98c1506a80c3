//! Says that a component is being compiled, if that takes long: from the outside, it looks as if nothing happened.

use std::time::Duration;

use tokio::time::Instant;

/// The target of the log line. A console that shows only errors can let it through.
pub const COMPILING: &str = "cofferdam::compiling";

/// Most components are compiled within this time.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(1);

/// Waits for `work`. If it takes longer than a second, announces it then, and at its end how long it took.
pub(super) async fn announce_if_slow<T>(
    work: impl Future<Output = T>,
    announce: impl FnOnce(),
    finished: impl FnOnce(&T, Duration),
) -> T {
    let started = Instant::now();
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(ANNOUNCE_AFTER) => {}
    }
    announce();
    let done = work.await;
    finished(&done, started.elapsed());
    done
}

/// The log line for a component of this many bytes.
pub(super) fn compiling(bytes: usize) {
    tracing::info!(
        target: COMPILING,
        "compiling a component of {:.1} MiB; its compiled form is cached, so the next start is fast",
        bytes as f64 / f64::from(1 << 20)
    );
}

/// The log line after [`compiling`].
pub(super) fn compiled(succeeded: bool, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    match succeeded {
        true => tracing::info!(target: COMPILING, "compiled in {seconds:.1} s"),
        false => tracing::info!(target: COMPILING, "stopped compiling after {seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_takes_longer_than_a_second_is_announced() {
        for (milliseconds, announced) in [(0, false), (999, false), (1_001, true), (60_000, true)] {
            let (mut is_announced, mut took) = (false, None);
            let work = async {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                milliseconds
            };
            let finished = |done: &u64, elapsed| took = Some((*done, elapsed));
            let done = announce_if_slow(work, || is_announced = true, finished).await;
            assert_eq!((done, is_announced), (milliseconds, announced));
            let end = (milliseconds, Duration::from_millis(milliseconds));
            assert_eq!(took, announced.then_some(end));
        }
    }
}
