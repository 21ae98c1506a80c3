//! What the requests to the model of a session came to: how they ended, and what the ledger booked for them.

use std::fmt::Write as _;

use serde_json::Value;

use super::charge::Charge;
use crate::cli::format;
use crate::ledger::{Ledger, LedgerError, LedgerRow};
use crate::money::NanoUsd;

/// Characters of an error's message that are printed.
const MESSAGE_CHARS: usize = 400;

/// Reads the facts of a session in their order.
#[derive(Debug)]
pub(super) struct Requests {
    ledger: Ledger,
    /// One that has no end yet.
    under_way: Option<String>,
    requests: u64,
    failed: u64,
    charges: Vec<Charge>,
}

impl Requests {
    pub(super) const fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            under_way: None,
            requests: 0,
            failed: 0,
            charges: Vec::new(),
        }
    }

    /// What is to be said of this fact: how a request ended, or that the one before never did.
    pub(super) async fn read(&mut self, fact: &Value) -> Result<Option<String>, LedgerError> {
        let text = |key: &str| fact[key].as_str().map(str::to_owned);
        let unended = match fact["kind"].as_str() {
            Some("attempt_started") => {
                self.requests += 1;
                std::mem::replace(&mut self.under_way, text("reservation"))
            }
            Some("attempt_ended") => {
                self.under_way = None;
                let cost = self.cost(text("reservation")).await?;
                let Some(error) = text("error") else {
                    return Ok(Some(format!("the model answered: {cost}")));
                };
                self.failed += 1;
                let id = text("request_id").map_or_else(String::new, |id| format!(", request id {id}"));
                let message = text("message").map_or_else(String::new, |message| {
                    format!("\n  error: {}", format::one_line(&message, MESSAGE_CHARS))
                });
                let said = format!("a model request failed ({error}{id}): {cost}");
                return Ok(Some(format!("{}{message}", format::escape(&said))));
            }
            Some("reopened" | "run_ended") => self.under_way.take(),
            _ => None,
        };
        self.cut_off(unended).await
    }

    /// What is to be said after the last fact.
    pub(super) async fn finish(&mut self) -> Result<Option<String>, LedgerError> {
        let unended = self.under_way.take();
        self.cut_off(unended).await
    }

    async fn cut_off(&mut self, reservation: Option<String>) -> Result<Option<String>, LedgerError> {
        if reservation.is_none() {
            return Ok(None);
        }
        let cost = self.cost(reservation).await?;
        Ok(Some(format!("a model request has no end here: {cost}")))
    }

    async fn cost(&mut self, reservation: Option<String>) -> Result<String, LedgerError> {
        let Some(id) = reservation else {
            return Ok("its cost isn't counted".to_owned());
        };
        let Some(charge) = Charge::find(&self.ledger, &id).await? else {
            return Ok("the ledger has nothing of it".to_owned());
        };
        let said = charge.in_words();
        self.charges.push(charge);
        Ok(said)
    }

    /// The rows of the ledger, as `budget export` has them: each charge, with its reversals after it.
    pub(super) fn rows(&self) -> Vec<&LedgerRow> {
        self.charges.iter().flat_map(Charge::rows).collect()
    }

    /// All of it together. `spent` is the session's, less what was taken back.
    pub(super) fn total(&self, spent: NanoUsd) -> String {
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {} failed", format::count(failed)),
        };
        let in_full: NanoUsd = self.charges.iter().filter_map(Charge::in_full).sum();
        let reversed: NanoUsd = self.charges.iter().map(Charge::reversed).sum();
        let mut sums = String::new();
        for (sum, what) in [(in_full, "charged in full: usage unknown"), (reversed, "taken back")] {
            if sum != NanoUsd::ZERO {
                let _ = write!(sums, "; ${sum} {what}");
            }
        }
        format!(
            "cost: ${spent} for {}{failed}{sums}",
            format::counted(self.requests, "model request")
        )
    }
}
