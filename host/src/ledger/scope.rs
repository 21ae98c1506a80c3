//! What a limit applies to, and over which period.
//!
//! # Clocks
//!
//! The machine's clock says which day it is, and at times it is wrong. Therefore **what is booked for a later day counts for today as
//! well** (`Window::counts`): an attempt is admitted only if it fits into the limit together with everything that is booked for its own
//! day or a later one, and the same for months. The latest day in the books is the high-water mark; no other is kept.
//!
//! - A clock that steps back over midnight finds that what was spent after midnight is spent. It opens no second day, nor does it open
//!   an earlier day that was never used.
//! - A clock that jumps a month ahead opens a day there: nobody can tell that from a machine that was off for a month. Back again, it
//!   finds that what was spent meanwhile is spent, today and on every day until then.
//! - Each date has one window, whatever order the dates come in. So no date is ever spent twice.
//!
//! `Ledger::confirm` books what lies ahead for today, where it belongs. The days after it are free then.

use serde::Serialize;

/// What a limit applies to. Each scope totals its charges in its own windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// One session of one tenant, from its first attempt to its last, even across processes.
    Session,
    /// All sessions of one tenant in one UTC day.
    TenantDay,
    /// All sessions of one tenant in one UTC month.
    TenantMonth,
    /// Everything this ledger books in one UTC day, for all tenants.
    HostDay,
}

impl Scope {
    /// Every scope, narrowest first. Checks run in this order, so that a refusal names the narrowest scope.
    pub const ALL: [Self; 4] = [Self::Session, Self::TenantDay, Self::TenantMonth, Self::HostDay];

    /// The name on the wire, on the command line and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::TenantDay => "tenant_day",
            Self::TenantMonth => "tenant_month",
            Self::HostDay => "host_day",
        }
    }

    /// When its next window begins, of which nothing is spent yet.
    pub const fn next_window(self) -> &'static str {
        match self {
            Self::Session => "with a new session",
            Self::TenantDay | Self::HostDay => "at 00:00 UTC",
            Self::TenantMonth => "on the first of the next month, at 00:00 UTC",
        }
    }

    /// The key that sets its limit, for a tenant if it is per tenant.
    pub fn key(self, tenant: &str) -> String {
        match self {
            Self::Session | Self::HostDay => format!("[budget] {}_usd", self.name()),
            Self::TenantDay => format!("[tenants.{tenant}.budget] daily_usd"),
            Self::TenantMonth => format!("[tenants.{tenant}.budget] monthly_usd"),
        }
    }

    /// Whether each tenant has a limit of its own. A session's is the same for all.
    pub const fn is_per_tenant(self) -> bool {
        matches!(self, Self::TenantDay | Self::TenantMonth)
    }

    /// The tenant that a limit of this scope is for; empty if it is for all.
    pub(crate) const fn tenant_of_limit(self, tenant: &str) -> &str {
        match self.is_per_tenant() {
            true => tenant,
            false => "",
        }
    }

    /// The scope with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// The window in which this scope books an attempt.
    pub(crate) fn window<'a>(self, attribution: &Attribution<'a>) -> Window<'a> {
        let (tenant, period) = match self {
            Self::Session => (attribution.tenant, attribution.session_id),
            Self::TenantDay => (attribution.tenant, attribution.day),
            Self::TenantMonth => (attribution.tenant, attribution.month()),
            Self::HostDay => ("", attribution.day),
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

/// The tenant, session and day that an attempt is charged to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribution<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) session_id: &'a str,
    /// `YYYY-MM-DD`, UTC: the day of the reservation, even if it is settled after midnight.
    pub(crate) day: &'a str,
}

impl<'a> Attribution<'a> {
    /// `YYYY-MM`.
    fn month(&self) -> &'a str {
        self.day.rsplit_once('-').map_or(self.day, |(month, _)| month)
    }
}

/// One period of one scope, with its own totals. A scope that isn't per tenant leaves `tenant` empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window<'a> {
    pub(crate) scope: Scope,
    pub(crate) tenant: &'a str,
    pub(crate) period: &'a str,
}

impl Window<'_> {
    /// Whether what is booked in the window of another period, of the same scope and tenant, counts in this one.
    pub(crate) fn counts(&self, period: &str) -> bool {
        match self.scope {
            Scope::Session => period == self.period,
            // These texts sort as the dates do.
            Scope::TenantDay | Scope::TenantMonth | Scope::HostDay => period >= self.period,
        }
    }
}

/// The UTC day of a timestamp, as `YYYY-MM-DD`.
pub(crate) fn utc_day(at: jiff::Timestamp) -> String {
    jiff::tz::TimeZone::UTC.to_datetime(at).date().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn scope_names_round_trip() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.name()), Some(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        assert_eq!(Scope::from_name("Session"), None);
    }

    #[test]
    fn equal_session_ids_of_two_tenants_have_separate_windows() {
        let ours = Attribution {
            tenant: "a",
            session_id: "s",
            day: "2026-11-24",
        };
        let theirs = Attribution { tenant: "b", ..ours };
        assert_ne!(Scope::Session.window(&ours), Scope::Session.window(&theirs));
        assert_ne!(Scope::TenantDay.window(&ours), Scope::TenantDay.window(&theirs));
        assert_eq!(Scope::HostDay.window(&ours), Scope::HostDay.window(&theirs));
    }

    #[test]
    fn each_scope_has_its_period() {
        let attribution = Attribution {
            tenant: "a",
            session_id: "s",
            day: "2026-11-24",
        };
        let periods = Scope::ALL.map(|scope| (scope.window(&attribution).tenant, scope.window(&attribution).period));
        assert_eq!(
            periods,
            [("a", "s"), ("a", "2026-11-24"), ("a", "2026-11"), ("", "2026-11-24")]
        );
    }

    #[test]
    fn what_is_booked_for_a_later_day_counts_for_today() {
        for (scope, period, other, counts) in [
            (Scope::HostDay, "2026-11-24", "2026-11-24", true),
            (Scope::HostDay, "2026-11-24", "2026-11-25", true),
            (Scope::HostDay, "2026-11-24", "2027-01-01", true),
            (Scope::HostDay, "2026-11-24", "2026-11-23", false),
            (Scope::TenantDay, "2026-11-24", "2026-11-25", true),
            (Scope::TenantMonth, "2026-11", "2026-12", true),
            (Scope::TenantMonth, "2026-11", "2026-10", false),
            (Scope::Session, "a", "a", true),
            (Scope::Session, "a", "b", false),
        ] {
            let window = Window {
                scope,
                tenant: "",
                period,
            };
            assert_eq!(window.counts(other), counts, "{scope} {period} {other}");
        }
    }

    #[test]
    fn days_change_at_midnight_utc() {
        assert_eq!(utc_day("2026-11-24T23:59:59.999999999Z".parse().unwrap()), "2026-11-24");
        assert_eq!(utc_day("2026-11-25T00:00:00+00:00".parse().unwrap()), "2026-11-25");
        assert_eq!(utc_day("2026-11-25T00:30:00+01:00".parse().unwrap()), "2026-11-24");
    }
}
