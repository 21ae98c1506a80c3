//! What the requests to the model of a session came to: how they ended, and what the ledger booked for them.

use serde_json::Value;

use crate::cli::format;
use crate::events::reversal_hint;
use crate::ledger::{Ledger, LedgerError, LedgerRow};
use crate::money::NanoUsd;

/// Reads the facts of a session in their order.
#[derive(Debug)]
pub(super) struct Requests {
    ledger: Ledger,
    /// One that has no end yet.
    under_way: Option<String>,
    requests: u64,
    failed: u64,
    /// The rows of the ledger, as `budget export` has them.
    pub(super) rows: Vec<LedgerRow>,
}

impl Requests {
    pub(super) const fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            under_way: None,
            requests: 0,
            failed: 0,
            rows: Vec::new(),
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
                let said = format!("a model request failed ({error}{id}): {cost}");
                return Ok(Some(format::escape(&said).into_owned()));
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
        let Some(row) = self.ledger.find(&id).await? else {
            return Ok("the ledger has nothing of it".to_owned());
        };
        let said = cost(&row);
        self.rows.push(row);
        Ok(said)
    }

    /// All of it together. `spent` is the session's, less what was taken back.
    pub(super) fn total(&self, spent: NanoUsd) -> String {
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {} failed", format::count(failed)),
        };
        let in_full = self.rows.iter().filter(|row| is_in_full(row));
        let in_full = in_full
            .filter_map(|row| row.spent_usd)
            .fold(NanoUsd::ZERO, NanoUsd::saturating_add);
        let in_full = match in_full {
            NanoUsd::ZERO => String::new(),
            sum => format!("; ${sum} charged in full: usage unknown"),
        };
        format!(
            "cost: ${spent} for {}{failed}{in_full}",
            format::counted(self.requests, "model request")
        )
    }
}

/// Whether all that was reserved is charged, because nobody knows what the API billed.
fn is_in_full(row: &LedgerRow) -> bool {
    row.state == "charged" || row.estimated && row.spent_usd.is_some_and(|spent| spent >= row.reserved_usd)
}

fn cost(row: &LedgerRow) -> String {
    let tokens = row.usage.as_ref().map_or_else(String::new, |usage| {
        let sum = |keys: &[&str]| keys.iter().filter_map(|key| usage[*key].as_u64()).sum();
        let prompt = [
            "input_tokens",
            "cache_creation_5m_input_tokens",
            "cache_creation_1h_input_tokens",
            "cache_read_input_tokens",
        ];
        let (input, output) = (format::count(sum(&prompt)), format::count(sum(&["output_tokens"])));
        format!(", {input} tokens in, {output} out")
    });
    match row.spent_usd {
        None => format!("${} is reserved for it", row.reserved_usd),
        Some(NanoUsd::ZERO) => format!("it cost nothing{tokens}"),
        Some(spent) if is_in_full(row) => {
            format!(
                "${spent} charged in full: usage unknown; {}",
                reversal_hint(row.id.as_str())
            )
        }
        Some(spent) if row.estimated => format!("${spent}, estimated{tokens}"),
        Some(spent) => format!("${spent}{tokens}"),
    }
}
