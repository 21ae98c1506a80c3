//! When work for a call ends whatever it does: at a deadline, or because its run was cancelled.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The two reasons to stop that hold for everything done on behalf of a call.
#[derive(Clone, Copy, Debug)]
pub struct Halt<'a> {
    pub deadline: Instant,
    pub cancel: &'a CancellationToken,
}

/// Which of them it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halted {
    Deadline,
    Cancelled,
}

impl Halt<'_> {
    /// Does `work` until it is done, or drops it. Work that computes comes by here at each of its yields, and is
    /// checked then, for a timer alone could be late on a busy executor; work that waits is woken.
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
    async fn work_ends_by_itself_by_the_deadline_or_by_cancelling() {
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
        // Nothing is begun any more, not even what would be done at once.
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
