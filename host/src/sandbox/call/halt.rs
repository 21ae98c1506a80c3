//! Ends the work of a call at its deadline, or when its run is cancelled.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When to stop everything that is done on behalf of a call.
#[derive(Clone, Copy, Debug)]
pub struct Halt<'a> {
    pub deadline: Instant,
    pub cancel: &'a CancellationToken,
}

/// Why work was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Halted {
    Deadline,
    Cancelled,
}

impl Halt<'_> {
    /// Runs `work` until it is done, or drops it. Each poll checks the clock, because a timer alone can fire late on a busy
    /// executor: this stops work that computes and yields. The timer wakes work that waits.
    pub(crate) async fn bound<F: Future>(&self, work: F) -> Result<F::Output, Halted> {
        let mut work = pin!(work);
        let mut cancelled = pin!(self.cancel.cancelled());
        let mut timer = pin!(tokio::time::sleep_until(self.deadline));
        std::future::poll_fn(|cx| {
            if cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Halted::Cancelled));
            }
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if Instant::now() >= self.deadline || timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Halted::Deadline));
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_ends_by_itself_at_the_deadline_or_when_cancelled() {
        let cancel = CancellationToken::new();
        let halt = Halt {
            deadline: Instant::now() + Duration::from_secs(1),
            cancel: &cancel,
        };
        assert_eq!(halt.bound(std::future::ready(1)).await, Ok(1));
        let cancelling = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cancel.cancel();
        };
        let (ended, ()) = tokio::join!(halt.bound(std::future::pending::<()>()), cancelling);
        assert_eq!(ended, Err(Halted::Cancelled));
        // Nothing starts any more, not even work that would finish at once.
        assert_eq!(halt.bound(std::future::ready(1)).await, Err(Halted::Cancelled));
        let cancel = CancellationToken::new();
        let halt = Halt {
            cancel: &cancel,
            ..halt
        };
        assert_eq!(halt.bound(std::future::pending::<()>()).await, Err(Halted::Deadline));
    }

    #[tokio::test]
    async fn work_that_only_yields_is_stopped_too() {
        let cancel = CancellationToken::new();
        let halt = Halt {
            deadline: Instant::now() + Duration::from_millis(20),
            cancel: &cancel,
        };
        let busy = async {
            loop {
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(
            halt.bound::<std::pin::Pin<Box<dyn Future<Output = ()>>>>(Box::pin(busy))
                .await,
            Err(Halted::Deadline)
        );
    }
}
