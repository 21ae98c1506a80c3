//! Says that a component is being compiled, if that takes long: from the outside, it looks as if nothing happened.

use std::time::Duration;

/// The target of the log line. A console that shows only errors can let it through.
pub const COMPILING: &str = "cofferdam::compiling";

/// Most components are compiled within this time.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(1);

/// Waits for `work`, and announces it if it takes longer than a second.
pub(super) async fn announce_if_slow<T>(work: impl Future<Output = T>, announce: impl FnOnce()) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(ANNOUNCE_AFTER) => {}
    }
    announce();
    work.await
}

/// The log line for a component of this many bytes.
pub(super) fn compiling(bytes: usize) {
    tracing::info!(
        target: COMPILING,
        "compiling a component of {:.1} MiB; its compiled form is cached, so the next start is fast",
        bytes as f64 / f64::from(1 << 20)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_takes_longer_than_a_second_is_announced() {
        for (milliseconds, announced) in [(0, false), (999, false), (1_001, true), (60_000, true)] {
            let mut is_announced = false;
            let work = async {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                milliseconds
            };
            let done = announce_if_slow(work, || is_announced = true).await;
            assert_eq!((done, is_announced), (milliseconds, announced));
        }
    }
}
