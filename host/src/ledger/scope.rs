//! What a limit applies to, and over what stretch.

use serde::Serialize;

/// What a limit applies to. Each scope adds its charges up in windows of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One session of one tenant, from its first attempt to its last, however many processes that takes.
    Session,
    /// Everything this ledger books in one UTC day, whoever asked for it.
    HostDay,
}

impl Scope {
    /// Every scope, narrowest first: the order in which they are checked, so that a refusal names the narrowest.
    pub const ALL: [Self; 2] = [Self::Session, Self::HostDay];

    /// The name on the wire, on the command line and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::HostDay => "host_day",
        }
    }

    /// The scope of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// The window in which this scope books an attempt.
    pub(super) fn window<'a>(self, place: &Place<'a>) -> Window<'a> {
        let (tenant, period) = match self {
            Self::Session => (place.tenant, place.session_id),
            Self::HostDay => ("", place.day),
        };
        Window {
            scope: self,
            tenant,
            period,
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an attempt belongs: all that any scope could want to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) tenant: &'a str,
    pub(super) session_id: &'a str,
    /// `YYYY-MM-DD`, UTC: the day of the reservation, also where it is settled after midnight.
    pub(super) day: &'a str,
}

/// One stretch of one scope, with a total of its own. A scope that is not per tenant leaves `tenant` empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Window<'a> {
    pub(super) scope: Scope,
    pub(super) tenant: &'a str,
    pub(super) period: &'a str,
}

/// The UTC day of a moment, as `YYYY-MM-DD`.
pub(super) fn utc_day(at: jiff::Timestamp) -> String {
    jiff::tz::TimeZone::UTC.to_datetime(at).date().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn names_and_scopes_are_each_others_inverse() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.name()), Some(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        assert_eq!(Scope::from_name("Session"), None);
    }

    #[test]
    fn equal_session_ids_of_two_tenants_are_two_windows() {
        let ours = Place {
            tenant: "a",
            session_id: "s",
            day: "2026-11-24",
        };
        let theirs = Place { tenant: "b", ..ours };
        assert_ne!(Scope::Session.window(&ours), Scope::Session.window(&theirs));
        assert_eq!(Scope::HostDay.window(&ours), Scope::HostDay.window(&theirs));
    }

    #[test]
    fn days_change_at_midnight_utc() {
        assert_eq!(utc_day("2026-11-24T23:59:59.999999999Z".parse().unwrap()), "2026-11-24");
        assert_eq!(utc_day("2026-11-25T00:00:00+00:00".parse().unwrap()), "2026-11-25");
        assert_eq!(utc_day("2026-11-25T00:30:00+01:00".parse().unwrap()), "2026-11-24");
    }
}
