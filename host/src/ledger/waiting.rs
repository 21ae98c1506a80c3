//! Waiting for money that others have reserved.
//!
//! Those who wait stand in line, first come, first served. Each settlement and each release wakes the first of them, who asks
//! again. If that succeeds there may be more, so the next one is woken; if not, the rest would most likely ask in vain. So 200
//! waiting calls ask once per settlement and not 200 times. Other processes don't notify, so waiting calls also poll.

use super::Ledger;

impl Ledger {
    /// Waits until this process settles or releases a reservation.
    pub async fn freed(&self) -> AskAgain {
        self.freed.notified().await;
        self.ask_again()
    }

    /// A try without notice, because another process may have freed something.
    pub fn ask_again(&self) -> AskAgain {
        AskAgain {
            ledger: Some(self.clone()),
        }
    }
}

/// A waiting call's turn to ask again. Dropping it passes the turn on to the next in line.
#[derive(Debug)]
#[must_use = "dropping it wakes the next in line"]
pub struct AskAgain {
    /// `None` once it was in vain.
    ledger: Option<Ledger>,
}

impl AskAgain {
    /// The ledger refused again, so the others needn't ask.
    pub fn in_vain(mut self) {
        self.ledger = None;
    }
}

impl Drop for AskAgain {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            // If nobody stands in line, the next one doesn't have to wait: it may just have been refused.
            ledger.freed.notify_one();
        }
    }
}
