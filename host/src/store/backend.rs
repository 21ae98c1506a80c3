//! What a database must do for the store.

use std::fmt;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::StoreError;
use super::breakers::{BreakerOrder, BreakerRecord};
use crate::events::Ending;
use crate::ledger::{
    BookReader, BudgetAlert, LimitOverride, PendingClosing, ReservationId, ReserveRequest, Reversal, ReversalRequest,
    Scope, Unusual,
};
use crate::resilience::Override;
use crate::session::{Approval, ApprovalDecision, ApprovalState, Fact, SessionInfo, UsageRow};

/// One change. A closed list, so that every backend applies all of them.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Reserves in every scope, or refuses.
    Reserve(ReservationId, ReserveRequest),
    /// Overrides a scope's configured limit; `None` removes the override. The tenant counts only for a scope that is per tenant.
    SetLimit {
        scope: Scope,
        tenant: Arc<str>,
        limit: Option<LimitOverride>,
    },
    /// Takes back what was charged.
    Reverse(ReservationId, ReversalRequest),
    /// Accepts a copy that was put back, and books what lies ahead of this time for its day.
    Confirm(Timestamp),
    /// Begins a journal, with lease 1.
    OpenSession {
        id: Arc<str>,
        tenant: Arc<str>,
        title: String,
    },
    /// Takes a session over, unless a process that lives has it.
    Lease { id: Arc<str> },
    /// Lets others take it over.
    Release { id: Arc<str>, lease: u64 },
    /// Appends to a journal, if the lease is the newest.
    Append {
        id: Arc<str>,
        lease: u64,
        /// The number of the first fact.
        first: u64,
        facts: Vec<Arc<FactBody>>,
        /// How the last run ended, if that changes; `None` in it: one is under way.
        outcome: Option<Option<Ending>>,
    },
    /// Deletes a session with everything that only it uses.
    DeleteSession { id: Arc<str> },
    /// Notes what the clock shows, and deletes up to [`EXPIRED_AT_ONCE`] sessions that nobody has: those that were last changed longer
    /// than `retention` before the newest confirmed time, and the oldest of those that are too much.
    DeleteExpired {
        now: Timestamp,
        retention: SignedDuration,
        max_bytes: u64,
    },
    /// Adds a call to what its tool has used.
    CountCall(Box<UsageRow>),
    /// A call waits for a person.
    RequestApproval(Box<Approval>),
    /// A person decides. Refused if another decision was made before.
    Decide {
        id: String,
        decision: ApprovalDecision,
        at: Timestamp,
    },
    /// Notes what became of an approval. Ignored where it doesn't follow on its state.
    AdvanceApproval { id: String, to: ApprovalState },
    /// A breaker changed its state.
    RecordBreaker(BreakerRecord),
    /// An operator overrides every breaker of this name.
    OrderBreaker { name: String, to: Override, at: Timestamp },
}

/// How many sessions one commit deletes, so that others don't wait for long.
pub(crate) const EXPIRED_AT_ONCE: usize = 16;

/// A fact as it is stored.
#[derive(Debug)]
pub(crate) struct FactBody {
    pub(crate) at: Timestamp,
    pub(crate) kind: &'static str,
    pub(crate) json: String,
}

impl FactBody {
    /// Whether something begins with it that isn't begun if it can't be written.
    pub(crate) fn begins(&self) -> bool {
        matches!(self.kind, "prompted" | "attempt_started")
    }

    pub(crate) fn new(fact: &Fact) -> Self {
        Self {
            at: Timestamp::now(),
            kind: fact.kind(),
            // Strings, numbers and lists always have a JSON form.
            json: serde_json::to_string(fact).unwrap_or_default(),
        }
    }
}

/// A fact as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredFact {
    pub(crate) seq: u64,
    pub(crate) at: String,
    pub(crate) version: u32,
    /// `None` if it isn't where the fact says.
    pub(crate) json: Option<String>,
}

/// Which sessions to list. By default, up to 100 of all.
#[derive(Clone, Debug)]
pub struct SessionFilter {
    pub tenant: Option<String>,
    pub id_prefix: Option<String>,
    /// Only those whose last run has not ended: it goes on, waits for a person, or its process has ended.
    pub only_unfinished: bool,
    /// The most that are listed.
    pub count: u32,
}

impl Default for SessionFilter {
    fn default() -> Self {
        Self {
            tenant: None,
            id_prefix: None,
            only_unfinished: false,
            count: 100,
        }
    }
}

/// What to look at of that which tool calls used. By default, all.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    pub tenant: Option<String>,
    /// The first and the last day, such as `2026-11-29` (UTC).
    pub since: Option<String>,
    pub until: Option<String>,
}

/// Which approvals to list. By default, up to 100 of all.
#[derive(Clone, Debug)]
pub struct ApprovalFilter {
    pub id_prefix: Option<String>,
    pub session: Option<String>,
    pub tenant: Option<String>,
    /// Only those that a person can still decide about, or that are approved and have not begun.
    pub only_open: bool,
    /// When approvals that nobody decided about expire.
    pub now: Timestamp,
    /// The most that are listed.
    pub count: u32,
}

impl Default for ApprovalFilter {
    fn default() -> Self {
        Self {
            id_prefix: None,
            session: None,
            tenant: None,
            only_open: false,
            now: Timestamp::now(),
            count: 100,
        }
    }
}

/// What a change brought.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Applied {
    Leased(u64),
    Reversed(Reversal),
    Confirmed(Unusual),
    /// The number of deleted sessions.
    Deleted(usize),
    /// What holds now.
    Decided(Box<Approval>),
    Done,
}

impl Applied {
    /// The number of the lease that was taken; 0 if none was.
    pub(crate) const fn lease(&self) -> u64 {
        match self {
            Self::Leased(lease) => *lease,
            Self::Reversed(_) | Self::Confirmed(_) | Self::Deleted(_) | Self::Decided(_) | Self::Done => 0,
        }
    }
}

/// A part of a commit that succeeds or fails by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work<'a> {
    /// Books a closing where the reservation is, even if that file is displaced: it may come back, and no other file has the
    /// reservation.
    Close(&'a PendingClosing),
    /// One caller's changes, all or none.
    Write(&'a [Change]),
}

impl Work<'_> {
    pub(crate) fn asks_for_money(&self) -> bool {
        let asks = |change: &Change| matches!(change, Change::Reserve(..));
        matches!(self, Self::Write(changes) if changes.iter().any(asks))
    }

    /// Whether it must not be done in a copy that was put back: what was spent, or what a call has done, may be missing there.
    pub(crate) fn needs_newest(&self) -> bool {
        let needs = |change: &Change| matches!(change, Change::Reserve(..) | Change::Lease { .. });
        matches!(self, Self::Write(changes) if changes.iter().any(needs))
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Write([]))
    }

    /// Whether a person accepts what is unusual.
    pub(crate) fn confirms(&self) -> bool {
        let confirms = |change: &Change| matches!(change, Change::Confirm(_));
        matches!(self, Self::Write(changes) if changes.iter().any(confirms))
    }

    /// Whether it matters that a copy without it is noticed. Without a closing, a copy charges in full. After a lease, calls may be made.
    pub(crate) fn is_missed(&self) -> bool {
        let is_missed = |change: &Change| {
            matches!(
                change,
                Change::Reserve(..)
                    | Change::Lease { .. }
                    | Change::SetLimit { .. }
                    | Change::Reverse(..)
                    | Change::Confirm(_)
            )
        };
        matches!(self, Self::Write(changes) if changes.iter().any(is_missed))
    }
}

/// What a work brought.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Worked {
    /// Thresholds that the closing is the first to reach; empty if nobody waits for them.
    Closed(Vec<BudgetAlert>),
    Written(Vec<Applied>),
}

impl Worked {
    /// Whether sessions are gone.
    pub(crate) fn has_deleted(&self) -> bool {
        let has_deleted = |applied: &Applied| matches!(applied, Applied::Deleted(count) if *count > 0);
        matches!(self, Self::Written(applied) if applied.iter().any(has_deleted))
    }
}

/// Keeps rows, durably. Everything here blocks.
pub(crate) trait Backend: fmt::Debug + Send {
    /// Applies all works in one commit, in this order, and says for each how it went. When it returns, what succeeded is durable.
    fn commit(&mut self, works: &[Work<'_>]) -> Vec<Result<Worked, StoreError>>;

    /// Opens the same rows for somebody who reads for long, beside the commits. A read there sees every commit that was made before it.
    /// `None` if the rows can't be opened a second time: then they are read here.
    fn open_reader(&self) -> Option<Box<dyn Backend>>;

    /// Lets the database have this many pages more.
    #[cfg(test)]
    fn limit_pages(&mut self, more: u32);

    /// Answers questions about the ledger.
    fn books(&mut self) -> &mut dyn BookReader;

    /// The sessions that the filter accepts, newest change first.
    fn sessions(&mut self, filter: &SessionFilter) -> Result<Vec<SessionInfo>, StoreError>;

    /// Facts of a session that follow `after`, in order: as many as have about `bytes`, and at least one if there is one.
    fn facts(&mut self, id: &str, after: u64, bytes: usize) -> Result<Vec<StoredFact>, StoreError>;

    /// What tool calls used, oldest day first.
    fn usage(&mut self, filter: &UsageFilter) -> Result<Vec<UsageRow>, StoreError>;

    /// The approvals that the filter accepts, the newest first.
    fn approvals(&mut self, filter: &ApprovalFilter) -> Result<Vec<Approval>, StoreError>;

    /// Breakers as their last change left them.
    fn breakers(&mut self) -> Result<Vec<BreakerRecord>, StoreError>;

    /// Operators' orders after this one, oldest first; with `None`, the newest alone.
    fn breaker_orders(&mut self, after: Option<u64>) -> Result<Vec<BreakerOrder>, StoreError>;
}
