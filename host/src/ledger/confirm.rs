//! What a person must accept before the ledger goes on as usual.

use serde::Serialize;

use crate::money::NanoUsd;

/// What is unusual about the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unusual {
    /// It isn't the newest copy. Nothing is reserved until this is confirmed.
    pub restored: Option<Restored>,
    /// What is booked for later days than the clock shows.
    pub ahead: Option<Ahead>,
}

/// A database that was put back from a copy, or copied to another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// How many commits that moved money are missing from it, at least. `None`: the file beside it that would tell is missing or damaged, so
    /// nothing is known.
    pub missing_commits: Option<u64>,
}

impl std::fmt::Display for Restored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.missing_commits {
            Some(1) => f.write_str("it lacks at least 1 commit that moved money"),
            Some(count) => write!(f, "it lacks at least {count} commits that moved money"),
            None => f.write_str(
                "the file beside it that tells how new it is, with `-witness` at its end, is missing or damaged",
            ),
        }
    }
}

/// Amounts that lie ahead of the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ahead {
    /// The latest UTC day.
    pub day: String,
    /// Settled, charged or reserved.
    pub amount_usd: NanoUsd,
}
