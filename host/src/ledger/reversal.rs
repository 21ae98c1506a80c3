//! Corrections of what was charged: booked beside the charge, which stays.

use serde::Serialize;

use super::ReservationId;
use super::row::exact;
use crate::money::NanoUsd;

/// The longest reason, in characters.
const MAX_REASON_CHARS: usize = 500;

/// What is to be taken back.
#[derive(Clone, Debug)]
pub struct ReversalRequest {
    /// The entry that was charged, by its id in the export.
    pub entry: ReservationId,
    /// `None`: all that is left of the charge.
    pub amount: Option<NanoUsd>,
    /// Why. An entry has one reversal for each reason, so asking again books nothing twice.
    pub reason: String,
}

/// A booked correction. It lowers what is spent in the windows in which the charge was booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reversal {
    /// Its own id in the export.
    pub id: ReservationId,
    pub reverses: ReservationId,
    #[serde(serialize_with = "exact")]
    pub reversed_usd: NanoUsd,
    pub reason: String,
    /// RFC 3339, UTC.
    pub at: String,
    /// False if it was booked before.
    pub is_new: bool,
}

/// Why nothing was taken back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReversalError {
    #[error("the ledger has no charge {entry}")]
    Unknown { entry: ReservationId },
    /// Its attempt is under way.
    #[error("{entry} is still open, so its cost isn't known yet")]
    Open { entry: ReservationId },
    #[error("nothing of {entry} is left to take back: it cost ${charged}, and ${reversed} was taken back before")]
    NothingLeft {
        entry: ReservationId,
        charged: NanoUsd,
        reversed: NanoUsd,
    },
    #[error("${asked} can't be taken back of {entry}: it cost ${charged}, and ${reversed} was taken back before")]
    TooMuch {
        entry: ReservationId,
        charged: NanoUsd,
        reversed: NanoUsd,
        asked: NanoUsd,
    },
    /// The same entry and reason, with another amount.
    #[error("${booked} of {entry} was taken back for this reason before")]
    Booked { entry: ReservationId, booked: NanoUsd },
    #[error("a reason must have 1 to {MAX_REASON_CHARS} characters")]
    Reason,
}

impl ReversalError {
    /// What to do about it.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown { .. } => Some("`cofferdam budget export` prints every charge with its id"),
            Self::Open { .. } => Some("try again when it is settled; a process that died is charged by the next one"),
            Self::NothingLeft { .. } => None,
            Self::TooMuch { .. } => Some("leave the amount out to take back all that is left"),
            Self::Booked { .. } => Some("give another reason if this is another correction"),
            Self::Reason => Some("say why the charge was wrong"),
        }
    }
}

/// An entry as a reversal finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    /// `None` while it is open.
    pub(crate) spent: Option<NanoUsd>,
    /// What was taken back before, for whatever reason.
    pub(crate) reversed: NanoUsd,
}

/// Decides how much is taken back.
pub(crate) fn reverse(charge: Charge, request: &ReversalRequest) -> Result<NanoUsd, ReversalError> {
    let entry = || request.entry.clone();
    if request.reason.trim().is_empty() || request.reason.chars().count() > MAX_REASON_CHARS {
        return Err(ReversalError::Reason);
    }
    let reversed = charge.reversed;
    let charged = charge.spent.ok_or_else(|| ReversalError::Open { entry: entry() })?;
    let left = charged.saturating_sub(reversed);
    match request.amount.unwrap_or(left) {
        NanoUsd::ZERO => Err(ReversalError::NothingLeft {
            entry: entry(),
            charged,
            reversed,
        }),
        asked if asked > left => Err(ReversalError::TooMuch {
            entry: entry(),
            charged,
            reversed,
            asked,
        }),
        asked => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_more_is_taken_back_than_was_charged() {
        let nanos = NanoUsd::from_nanos;
        let entry = ReservationId::new("e".to_owned());
        for (spent, reversed, amount, expected) in [
            (Some(60), 0, None, Ok(60)),
            (Some(60), 0, Some(20), Ok(20)),
            (Some(60), 20, None, Ok(40)),
            (Some(60), 20, Some(40), Ok(40)),
            (Some(60), 20, Some(41), Err("$0.000001 can't be taken back")),
            (Some(60), 60, None, Err("nothing of e is left")),
            (Some(60), 0, Some(0), Err("nothing of e is left")),
            (Some(0), 0, None, Err("nothing of e is left")),
            (None, 0, None, Err("still open")),
        ] {
            let request = ReversalRequest {
                entry: entry.clone(),
                amount: amount.map(nanos),
                reason: "wrong".to_owned(),
            };
            let charge = Charge {
                spent: spent.map(nanos),
                reversed: nanos(reversed),
            };
            match (reverse(charge, &request), expected) {
                (Ok(amount), Ok(expected)) => assert_eq!(amount.as_nanos(), expected),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                other => panic!("{other:?}"),
            }
        }
        for reason in ["", " ", &"x".repeat(501)] {
            let request = ReversalRequest {
                entry: entry.clone(),
                amount: None,
                reason: reason.to_owned(),
            };
            let charge = Charge {
                spent: Some(nanos(1)),
                reversed: nanos(0),
            };
            assert_eq!(reverse(charge, &request), Err(ReversalError::Reason));
        }
    }
}
