//! What the ledger has booked for a request to the model, and what was taken back of it.

use crate::cli::format;
use crate::events::reversal_hint;
use crate::ledger::{Ledger, LedgerError, LedgerRow};
use crate::money::NanoUsd;

/// Characters of the reason of a reversal that are printed.
const REASON_CHARS: usize = 100;

#[derive(Debug)]
pub(super) struct Charge {
    pub(super) row: LedgerRow,
    /// Rows of their own in the ledger.
    reversals: Vec<LedgerRow>,
}

impl Charge {
    pub(super) async fn find(ledger: &Ledger, reservation: &str) -> Result<Option<Self>, LedgerError> {
        let Some(row) = ledger.find(reservation).await? else {
            return Ok(None);
        };
        let reversals = ledger.reversals(&row.id).await?;
        Ok(Some(Self { row, reversals }))
    }

    /// What is charged in full, because nobody knows what the API billed.
    pub(super) fn in_full(&self) -> Option<NanoUsd> {
        let row = &self.row;
        let spent = row.spent_usd.filter(|spent| *spent != NanoUsd::ZERO)?;
        let is_in_full = row.state == "charged" || row.estimated && spent >= row.reserved_usd;
        is_in_full.then_some(spent)
    }

    pub(super) fn reversed(&self) -> NanoUsd {
        self.reversals.iter().filter_map(|reversal| reversal.reversed_usd).sum()
    }

    /// Each reversal with its reason or, if there is none, how to make one.
    pub(super) fn correction(&self) -> String {
        if self.reversals.is_empty() {
            return reversal_hint(self.row.id.as_str());
        }
        self.reversals().join("; ")
    }

    fn reversals(&self) -> Vec<String> {
        let reversals = self.reversals.iter();
        let said = reversals.map(|reversal| {
            let reason = format::one_line(reversal.reason.as_deref().unwrap_or_default(), REASON_CHARS);
            format!(
                "${} of it was taken back ({reason})",
                reversal.reversed_usd.unwrap_or_default()
            )
        });
        said.collect()
    }

    /// The rows, as `budget export` has them.
    pub(super) fn rows(&self) -> impl Iterator<Item = &LedgerRow> {
        std::iter::once(&self.row).chain(&self.reversals)
    }

    pub(super) fn in_words(&self) -> String {
        let row = &self.row;
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
        if let Some(spent) = self.in_full() {
            return format!("${spent} charged in full: usage unknown; {}", self.correction());
        }
        let cost = match row.spent_usd {
            None => format!("${} is reserved for it", row.reserved_usd),
            Some(NanoUsd::ZERO) => format!("it cost nothing{tokens}"),
            Some(spent) if row.estimated => format!("${spent}, estimated{tokens}"),
            Some(spent) => format!("${spent}{tokens}"),
        };
        let parts: Vec<String> = std::iter::once(cost).chain(self.reversals()).collect();
        parts.join("; ")
    }
}
