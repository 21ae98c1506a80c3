//! The sessions that a store keeps.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use tokio::sync::oneshot;

use super::backend::StoredFact;
use super::{Applied, Change, Commit, SessionFilter, Store, StoreError, UsageFilter};
use crate::ledger::LedgerError;
use crate::session::{Fact, RecordedFact, SessionError, SessionInfo, State, UsageRow};

/// The bytes of facts that one read returns.
const PAGE_BYTES: usize = 1024 * 1024;

/// The shortest beginning of an id that names a session.
const MIN_PREFIX_CHARS: usize = 8;

/// As many sessions as are looked at to complete an id. The one with exactly this id comes first.
const MATCHES: u32 = 50;

/// A session that this process drives from now on.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) lease: Lease,
    /// The number of its last fact.
    pub(crate) seq: u64,
    pub(crate) state: State,
}

/// The right to drive a session. Dropping it lets others take the session over.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Store,
    id: Arc<str>,
    number: u64,
    is_kept: bool,
}

impl Lease {
    /// The session and the number of the lease, for somebody who releases it.
    pub(crate) fn keep(mut self) -> (Arc<str>, u64) {
        self.is_kept = true;
        (Arc::clone(&self.id), self.number)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_kept {
            let release = Change::Release {
                id: Arc::clone(&self.id),
                lease: self.number,
            };
            self.store.commit_all([Commit::until_done(vec![release])]);
        }
    }
}

impl Store {
    /// The sessions that the filter accepts, newest change first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn sessions(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>, StoreError> {
        self.report(move |backend| backend.sessions(&filter)).await
    }

    /// The session whose id is `id`. Generated ids can be shortened to 8 characters or more. Of any tenant, if none is given.
    ///
    /// # Errors
    ///
    /// [`SessionError::Unknown`], [`SessionError::Ambiguous`], or if the database fails.
    pub async fn find_session(&self, id: &str, tenant: Option<&str>) -> Result<SessionInfo, StoreError> {
        let filter = SessionFilter {
            tenant: tenant.map(str::to_owned),
            id_prefix: Some(id.to_owned()),
            count: MATCHES,
            ..SessionFilter::default()
        };
        let mut found = self.read(move |backend| backend.sessions(&filter)).await?;
        if let Some(exact) = found.iter().position(|session| session.id == id) {
            return Ok(found.swap_remove(exact));
        }
        // A few characters are the beginning of too many, and a name that somebody chose is not the beginning of another.
        let is_generated = |session: &SessionInfo| uuid::Uuid::try_parse(&session.id).is_ok();
        found.retain(|session| id.len() >= MIN_PREFIX_CHARS && is_generated(session));
        let id = id.to_owned();
        match (found.pop(), found.is_empty()) {
            (Some(session), true) => Ok(session),
            (Some(_), false) => Err(SessionError::Ambiguous { id }.into()),
            (None, _) => Err(SessionError::Unknown { id }.into()),
        }
    }

    /// The facts of a session that follow `after`, in order; a page of them. Empty at the end.
    ///
    /// # Errors
    ///
    /// [`SessionError::Damaged`] if the first of them can't be read, or doesn't follow on `after`. The ones before a damaged fact are a
    /// page of their own.
    pub async fn facts(&self, id: &str, after: u64) -> Result<Vec<RecordedFact>, StoreError> {
        let mut facts = Vec::new();
        for (seq, stored) in (after + 1..).zip(self.page(id, after).await?) {
            let fact = stored.json.as_deref().and_then(|json| serde_json::from_str(json).ok());
            match fact {
                Some(fact) if stored.seq == seq => facts.push(RecordedFact {
                    fact,
                    seq,
                    at: stored.at,
                    version: stored.version,
                }),
                _ if facts.is_empty() => return Err(damaged(id, stored.seq).into()),
                _ => break,
            }
        }
        Ok(facts)
    }

    async fn page(&self, id: &str, after: u64) -> Result<Vec<StoredFact>, StoreError> {
        let id = id.to_owned();
        self.read(move |backend| backend.facts(&id, after, PAGE_BYTES)).await
    }

    /// Deletes a session, of whichever tenant, and what is stored only for it.
    ///
    /// # Errors
    ///
    /// [`SessionError::InUse`] while a process that lives drives it.
    pub async fn delete_session(&self, id: &str) -> Result<(), StoreError> {
        self.change(vec![Change::DeleteSession { id: id.into() }])
            .await
            .map(drop)
    }

    /// Deletes the sessions that nobody drives and that were last changed more than `retention` ago, and the oldest others beyond
    /// `max_bytes`. Returns their number.
    ///
    /// `now` may be wrong: a session is deleted for its age only by the newest time that an earlier call gave, at least a day before
    /// this one. So it is kept for up to a day longer than `retention` if this is called every hour, and longer if calls are farther apart.
    /// A clock that jumps ahead once, for less than a day, deletes nothing for its age.
    ///
    /// # Errors
    ///
    /// If the database fails. Some may be deleted by then.
    pub async fn delete_expired_sessions(
        &self,
        now: Timestamp,
        retention: SignedDuration,
        max_bytes: u64,
    ) -> Result<usize, StoreError> {
        let change = Change::DeleteExpired {
            now,
            retention,
            max_bytes,
        };
        let mut total = 0;
        loop {
            let applied = self.change(vec![change.clone()]).await?;
            let deleted = applied.iter().map(|applied| match applied {
                Applied::Deleted(count) => *count,
                _ => 0,
            });
            match deleted.sum() {
                0 => return Ok(total),
                count => total += count,
            }
        }
    }

    /// What tool calls of kept sessions used: a row for each day, tenant, plugin and tool, oldest day first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn usage(&self, filter: UsageFilter) -> Result<Vec<UsageRow>, StoreError> {
        self.report(move |backend| backend.usage(&filter)).await
    }

    /// Takes a session over and reads what it is.
    pub(crate) async fn take_session(&self, id: &str) -> Result<Taken, StoreError> {
        let lease = self.lease(id).await?;
        let (seq, state) = self.read_session(id).await?;
        Ok(Taken { lease, seq, state })
    }

    async fn lease(&self, id: &str) -> Result<Lease, StoreError> {
        let (sender, leased) = oneshot::channel();
        let (id, store): (Arc<str>, _) = (id.into(), self.clone());
        let change = Change::Lease { id: Arc::clone(&id) };
        // Made here, so that a caller that is gone doesn't keep it.
        self.commit(vec![change], move |applied| {
            let leased = applied.map(|applied| Lease {
                store,
                id,
                number: applied.first().map_or(0, Applied::lease),
                is_kept: false,
            });
            let _ = sender.send(leased);
        });
        leased.await.unwrap_or_else(|_| Err(LedgerError::Interrupted.into()))
    }

    pub(super) async fn read_session(&self, id: &str) -> Result<(u64, State), StoreError> {
        let mut facts: Vec<(Timestamp, Fact)> = Vec::new();
        let mut seq = 0;
        loop {
            let page = self.page(id, seq).await?;
            if page.is_empty() {
                break;
            }
            let name = id.to_owned();
            // A session can have many megabytes.
            let parsed = tokio::task::spawn_blocking(move || parse(&name, seq, &page));
            facts.append(&mut parsed.await.map_err(|_| LedgerError::Interrupted)??);
            seq = facts.len() as u64;
        }
        let fold = move || State::fold(facts.iter().map(|(at, fact)| (*at, fact)));
        let state = tokio::task::spawn_blocking(fold).await;
        Ok((seq, state.map_err(|_| LedgerError::Interrupted)?))
    }
}

/// The facts of a page that follows the fact with this number.
fn parse(id: &str, mut seq: u64, page: &[StoredFact]) -> Result<Vec<(Timestamp, Fact)>, SessionError> {
    let facts = page.iter().map(|stored| {
        seq += 1;
        let fact = stored.json.as_deref().and_then(|json| serde_json::from_str(json).ok());
        match (stored.seq == seq, stored.at.parse(), fact) {
            (true, Ok(at), Some(fact)) => Ok((at, fact)),
            _ => Err(damaged(id, stored.seq)),
        }
    });
    facts.collect()
}

fn damaged(id: &str, seq: u64) -> SessionError {
    SessionError::Damaged { id: id.to_owned(), seq }
}
