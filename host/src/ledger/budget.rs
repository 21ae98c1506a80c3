//! Pure budget decisions: whether to admit a reservation, and which thresholds spending has reached.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::{Attribution, Closing, LedgerRow, Scope, Window};
use crate::money::NanoUsd;

/// `[budget]`, and the budget of each tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetSettings {
    /// The most that one session can spend. Default $1.00; `None`: no limit.
    pub session: Option<NanoUsd>,
    /// A limit of a session for one command, beside that above: the lower one counts, also beside [`LimitOverride`]. Default `None`.
    pub session_cap: Option<NanoUsd>,
    /// The most that the host can spend in one UTC day. Default $10.00; `None`: no limit.
    pub daily: Option<NanoUsd>,
    /// `[tenants.T.budget]`. A tenant that isn't here has no limits of its own. Default: none has.
    pub tenants: BTreeMap<String, TenantBudget>,
    /// A price table that replaces the built-in one. Default `None`.
    pub prices: Option<PathBuf>,
}

/// `[tenants.T.budget]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantBudget {
    /// The most that all sessions of the tenant can spend in one UTC day. Default `None`: no limit.
    pub daily: Option<NanoUsd>,
    /// The same in one UTC month. Default `None`: no limit.
    pub monthly: Option<NanoUsd>,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        let dollars = |dollars: u64| Some(NanoUsd::from_nanos(dollars * 1_000_000_000));
        Self {
            session: dollars(1),
            daily: dollars(10),
            session_cap: None,
            tenants: BTreeMap::new(),
            prices: None,
        }
    }
}

impl BudgetSettings {
    /// The limits of one tenant's attempts.
    pub fn limits(&self, tenant: &str) -> BudgetLimits {
        let TenantBudget { daily, monthly } = self.tenants.get(tenant).copied().unwrap_or_default();
        BudgetLimits {
            session: self.session,
            session_cap: self.session_cap,
            tenant_day: daily,
            tenant_month: monthly,
            host_day: self.daily,
        }
    }
}

/// What applies to an attempt: the limit of each scope. `None`: no limit, which is the default of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetLimits {
    pub session: Option<NanoUsd>,
    /// As [`BudgetSettings::session_cap`].
    pub session_cap: Option<NanoUsd>,
    pub tenant_day: Option<NanoUsd>,
    pub tenant_month: Option<NanoUsd>,
    pub host_day: Option<NanoUsd>,
}

impl BudgetLimits {
    /// The limit of a scope; `None`: no limit.
    pub fn limit(&self, scope: Scope) -> Option<NanoUsd> {
        match scope {
            Scope::Session => match (self.session, self.session_cap) {
                (Some(limit), Some(cap)) => Some(limit.min(cap)),
                (limit, cap) => limit.or(cap),
            },
            Scope::TenantDay => self.tenant_day,
            Scope::TenantMonth => self.tenant_month,
            Scope::HostDay => self.host_day,
        }
    }

    /// Whether any scope has a limit. If so, attempts with an unknown price must be refused.
    pub fn has_limit(&self) -> bool {
        Scope::ALL.into_iter().any(|scope| self.limit(scope).is_some())
    }

    /// These limits, with overrides applied.
    pub(crate) fn overridden(mut self, overrides: &[(Scope, Option<LimitOverride>)]) -> Self {
        for (scope, set) in overrides {
            let Some(set) = set else { continue };
            let limit = match scope {
                Scope::Session => &mut self.session,
                Scope::TenantDay => &mut self.tenant_day,
                Scope::TenantMonth => &mut self.tenant_month,
                Scope::HostDay => &mut self.host_day,
            };
            *limit = set.limit();
        }
        self
    }
}

/// What [`Ledger::set_limit`](super::Ledger::set_limit) puts in place of a configured limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitOverride {
    Usd(NanoUsd),
    Unlimited,
}

impl LimitOverride {
    /// The limit in force; `None`: no limit.
    pub const fn limit(self) -> Option<NanoUsd> {
        match self {
            Self::Usd(amount) => Some(amount),
            Self::Unlimited => None,
        }
    }
}

/// The totals of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Settled, or charged in full because no settlement was reported.
    pub(crate) spent: NanoUsd,
    /// Reserved and still open.
    pub(crate) reserved: NanoUsd,
}

impl Totals {
    pub(crate) const fn spent(amount: NanoUsd) -> Self {
        Self {
            spent: amount,
            reserved: NanoUsd::ZERO,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            spent: self.spent.saturating_add(other.spent),
            reserved: self.reserved.saturating_add(other.reserved),
        }
    }

    pub(crate) const fn reserved(amount: NanoUsd) -> Self {
        Self {
            spent: NanoUsd::ZERO,
            reserved: amount,
        }
    }
}

/// An attempt was refused because it could cost more than a scope has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error(
    "the {scope} budget of ${limit} does not allow up to ${asked} more: ${spent} is spent and ${reserved} is reserved"
)]
#[non_exhaustive]
pub struct BudgetExceeded {
    pub scope: Scope,
    /// Whose limit it is, if the scope [is per tenant](Scope::is_per_tenant); else empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    pub limit: NanoUsd,
    pub spent: NanoUsd,
    pub reserved: NanoUsd,
    pub asked: NanoUsd,
    /// What of `asked` is for the prompt; the rest is for the longest answer.
    #[serde(skip_serializing_if = "is_zero")]
    pub prompt: NanoUsd,
    /// Whether most of the prompt is what every request carries: the system prompt and the definitions of tools.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_mostly_carried: bool,
    /// Whether `cofferdam budget set` gave the limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_override: bool,
    /// Whether [`BudgetSettings::session_cap`] gave the limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_cap: bool,
    /// What of it is booked for a later day or month than the clock shows.
    #[serde(skip_serializing_if = "is_zero")]
    pub ahead: NanoUsd,
}

fn is_zero(amount: &NanoUsd) -> bool {
    *amount == NanoUsd::ZERO
}

impl BudgetExceeded {
    /// Whether it could fit once open reservations are settled for less.
    pub fn could_fit_later(&self) -> bool {
        self.reserved > NanoUsd::ZERO && self.spent.saturating_add(self.asked) <= self.limit
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        if self.ahead > NanoUsd::ZERO {
            return format!(
                "${} of it is booked for a later date than the clock of this machine shows; if the clock is right now, `cofferdam budget \
                 confirm --date YYYY-MM-DD`, with today's date in UTC, books it for today",
                self.ahead
            );
        }
        let Self { scope, tenant, .. } = self;
        let answer = self.asked.saturating_sub(self.prompt);
        let way_on = match self.asked > self.limit {
            true if self.spent > NanoUsd::ZERO && self.spent >= self.limit => {
                format!(
                    "all of it is spent; it begins again {}, and even then this request can cost more than that",
                    scope.next_window()
                )
            }
            true if self.prompt > answer && self.is_mostly_carried => format!(
                "or send less: the prompt, which is mostly the system prompt and the definitions of tools, can cost ${} of that; fewer \
                 plugins, a shorter `[agent] system` or `[model] tool_search` lower it",
                self.prompt
            ),
            true if self.prompt > answer => format!(
                "or send less: the prompt, with its attachments and the conversation before it, can cost ${} of that",
                self.prompt
            ),
            true => format!("or lower `[model] max_tokens`: the longest answer can cost ${answer} of that"),
            false => {
                let taken = self.spent.saturating_add(self.reserved);
                let left = self.limit.saturating_sub(taken);
                let begins = format!("it begins again {}", scope.next_window());
                match self.prompt > NanoUsd::ZERO && self.prompt < left {
                    true => format!(
                        "or lower `[model] max_tokens`: ${left} is left, and the longest answer can cost ${answer}; {begins}"
                    ),
                    false => begins,
                }
            }
        };
        let of_tenant = match scope.is_per_tenant() {
            true => format!(" --tenant {tenant}"),
            false => String::new(),
        };
        let key = scope.key(tenant);
        match self.is_override {
            true => format!(
                "raise the limit with `cofferdam budget set {scope} USD{of_tenant}`, or end it with `default` as the amount, so that `{key}` \
                 holds again; {way_on}"
            ),
            false if self.is_cap => format!("raise `--budget`; {way_on}"),
            false => format!("raise `{key}`; {way_on}"),
        }
    }
}

/// Decides whether `asked` can be reserved. An amount of zero is always admitted, even if an earlier settlement overshot the
/// limit.
pub(crate) fn admit(
    window: &Window<'_>,
    limit: Option<NanoUsd>,
    totals: Totals,
    asked: NanoUsd,
) -> Result<(), BudgetExceeded> {
    let Some(limit) = limit else { return Ok(()) };
    let Totals { spent, reserved } = totals;
    // Exact sums: a saturated sum would pass a limit of `NanoUsd::MAX`.
    let needed = [spent, reserved, asked]
        .map(|amount| u128::from(amount.as_nanos()))
        .iter()
        .sum::<u128>();
    if asked == NanoUsd::ZERO || needed <= u128::from(limit.as_nanos()) {
        Ok(())
    } else {
        Err(BudgetExceeded {
            scope: window.scope,
            tenant: window.scope.tenant_of_limit(window.tenant).to_owned(),
            limit,
            spent,
            reserved,
            asked,
            prompt: NanoUsd::ZERO,
            is_mostly_carried: false,
            is_override: false,
            is_cap: false,
            ahead: NanoUsd::ZERO,
        })
    }
}

/// Spending has reached a threshold of a limit for the first time in its window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetAlert {
    pub scope: Scope,
    /// 50, 75, 90 or 100.
    pub percent: u8,
    pub spent_usd: NanoUsd,
    pub limit_usd: NanoUsd,
}

/// The thresholds, in percent of the limit, that `spent` has reached.
pub(crate) fn thresholds(spent: NanoUsd, limit: NanoUsd) -> impl Iterator<Item = u8> {
    let reached =
        move |percent: &u8| u128::from(spent.as_nanos()) * 100 >= u128::from(limit.as_nanos()) * u128::from(*percent);
    // Under a limit of zero, zero spending would reach every threshold.
    [50, 75, 90, 100]
        .into_iter()
        .filter(move |percent| spent > NanoUsd::ZERO && reached(percent))
}

/// One scope's status, as in reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BudgetStatus {
    pub scope: Scope,
    /// Whose limit it is, if the scope [is per tenant](Scope::is_per_tenant).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// `None`: no limit.
    pub limit_usd: Option<NanoUsd>,
    pub spent_usd: NanoUsd,
    pub reserved_usd: NanoUsd,
    /// What can still be reserved; `None`: no limit.
    pub remaining_usd: Option<NanoUsd>,
}

impl BudgetStatus {
    pub(crate) fn new(window: &Window<'_>, limit: Option<NanoUsd>, totals: Totals) -> Self {
        let Totals { spent, reserved } = totals;
        let remaining_usd = limit.map(|limit| limit.saturating_sub(spent).saturating_sub(reserved));
        Self {
            scope: window.scope,
            tenant: window.scope.is_per_tenant().then(|| window.tenant.to_owned()),
            limit_usd: limit,
            spent_usd: spent,
            reserved_usd: reserved,
            remaining_usd,
        }
    }

    /// Counts how an open reservation ends that the books still have as open, if it belongs here. `asked` is what the status is of.
    pub(crate) fn count(&mut self, asked: &Attribution<'_>, row: &LedgerRow, closing: &Closing) {
        let booked = self.scope.window(&Attribution {
            tenant: &row.tenant,
            session_id: &row.session_id,
            day: &row.day,
        });
        let window = self.scope.window(asked);
        if row.state != "open" || booked.tenant != window.tenant || !window.counts(booked.period) {
            return;
        }
        let spent = match closing {
            Closing::Settle(settlement) => settlement.amount,
            Closing::Release => NanoUsd::ZERO,
            Closing::Charge => row.reserved_usd,
        };
        let totals = Totals {
            spent: self.spent_usd.saturating_add(spent),
            reserved: self.reserved_usd.saturating_sub(row.reserved_usd),
        };
        *self = Self::new(&window, self.limit_usd, totals);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const fn nanos(nanos: u64) -> NanoUsd {
        NanoUsd::from_nanos(nanos)
    }

    const fn window(scope: Scope) -> Window<'static> {
        Window {
            scope,
            tenant: "acme",
            period: "",
        }
    }

    #[test]
    fn admission_table() {
        let max = u64::MAX;
        for (limit, spent, reserved, asked, admitted) in [
            (Some(100), 0, 0, 100, true),
            (Some(100), 0, 0, 101, false),
            (Some(100), 40, 40, 20, true),
            (Some(100), 40, 40, 21, false),
            (Some(100), 100, 0, 1, false),
            (Some(0), 0, 0, 1, false),
            (Some(0), 0, 0, 0, true),
            // A settlement overshot; requests that cost nothing still pass.
            (Some(100), 150, 0, 0, true),
            (Some(max), max, 0, 1, false),
            (Some(max), max, max, max, false),
            (None, max, max, max, true),
        ] {
            let totals = Totals {
                spent: nanos(spent),
                reserved: nanos(reserved),
            };
            let verdict = admit(&window(Scope::Session), limit.map(nanos), totals, nanos(asked));
            assert_eq!(verdict.is_ok(), admitted, "{limit:?} {spent} {reserved} {asked}");
        }
    }

    #[test]
    fn a_refusal_names_scope_limit_and_totals() {
        let totals = Totals {
            spent: nanos(970_000_000),
            reserved: nanos(10_000_000),
        };
        let refusal = admit(
            &window(Scope::HostDay),
            Some(nanos(1_000_000_000)),
            totals,
            nanos(50_000_000),
        )
        .unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the host_day budget of $1.000000 does not allow up to $0.050000 more: \
             $0.970000 is spent and $0.010000 is reserved"
        );
        assert!(refusal.hint().contains("`[budget] host_day_usd`"), "{}", refusal.hint());
        let refusal = admit(&window(Scope::TenantMonth), Some(nanos(1)), totals, nanos(1)).unwrap_err();
        assert_eq!((refusal.scope, refusal.tenant.as_str()), (Scope::TenantMonth, "acme"));
        let hint = refusal.hint();
        assert!(hint.contains("`[tenants.acme.budget] monthly_usd`"), "{hint}");
    }

    #[test]
    fn a_tenant_without_a_budget_has_the_limits_of_all() {
        let settings = BudgetSettings {
            tenants: BTreeMap::from([(
                "acme".to_owned(),
                TenantBudget {
                    daily: Some(nanos(2)),
                    monthly: Some(nanos(5)),
                },
            )]),
            ..BudgetSettings::default()
        };
        let limits = |tenant| Scope::ALL.map(|scope| settings.limits(tenant).limit(scope).map(NanoUsd::as_nanos));
        assert_eq!(
            limits("acme"),
            [Some(1_000_000_000), Some(2), Some(5), Some(10_000_000_000)]
        );
        assert_eq!(limits("other"), [Some(1_000_000_000), None, None, Some(10_000_000_000)]);
    }

    #[test]
    fn a_refusal_names_the_way_on() {
        let hint = |scope, asked| {
            let spent = Totals::spent(nanos(7));
            let refusal = admit(&window(scope), Some(nanos(10)), spent, nanos(asked));
            refusal.unwrap_err().hint()
        };
        assert_eq!(
            hint(Scope::HostDay, 4),
            "raise `[budget] host_day_usd`; it begins again at 00:00 UTC"
        );
        assert_eq!(
            hint(Scope::TenantMonth, 4),
            "raise `[tenants.acme.budget] monthly_usd`; it begins again on the first of the next month, at 00:00 UTC"
        );
        let refusal = admit(
            &window(Scope::TenantDay),
            Some(nanos(10)),
            Totals::spent(nanos(7)),
            nanos(4),
        )
        .unwrap_err();
        let set = BudgetExceeded {
            is_override: true,
            ..refusal
        };
        assert_eq!(
            set.hint(),
            "raise the limit with `cofferdam budget set tenant_day USD --tenant acme`, or end it with `default` as the amount, so that \
             `[tenants.acme.budget] daily_usd` holds again; it begins again at 00:00 UTC"
        );
        assert!(hint(Scope::Session, 4).ends_with("it begins again with a new session"));
        // A shorter answer would fit.
        let tight = BudgetExceeded {
            is_override: false,
            prompt: nanos(1),
            ..set
        };
        assert_eq!(
            tight.hint(),
            "raise `[tenants.acme.budget] daily_usd`; or lower `[model] max_tokens`: $0.000001 is left, and the longest answer can cost \
             $0.000001; it begins again at 00:00 UTC"
        );
        // No window has room for it.
        let too_large = admit(
            &window(Scope::Session),
            Some(nanos(10_000)),
            Totals::default(),
            nanos(12_000),
        );
        let too_large = too_large.unwrap_err();
        for (prompt, is_mostly_carried, way_on) in [
            (
                5_000,
                true,
                "or lower `[model] max_tokens`: the longest answer can cost $0.000007 of that",
            ),
            (
                7_000,
                true,
                "or send less: the prompt, which is mostly the system prompt and the definitions of tools, can cost $0.000007 of that; \
                 fewer plugins, a shorter `[agent] system` or `[model] tool_search` lower it",
            ),
            (
                7_000,
                false,
                "or send less: the prompt, with its attachments and the conversation before it, can cost $0.000007 of that",
            ),
        ] {
            let refusal = BudgetExceeded {
                prompt: nanos(prompt),
                is_mostly_carried,
                ..too_large.clone()
            };
            assert_eq!(refusal.hint(), format!("raise `[budget] session_usd`; {way_on}"));
            let of_command = BudgetExceeded {
                is_cap: true,
                ..refusal
            };
            assert_eq!(of_command.hint(), format!("raise `--budget`; {way_on}"));
        }
        let lowered = admit(
            &window(Scope::Session),
            Some(nanos(10)),
            Totals::spent(nanos(10)),
            nanos(12),
        );
        assert_eq!(
            lowered.unwrap_err().hint(),
            "raise `[budget] session_usd`; all of it is spent; it begins again with a new session, and even then this request can cost more \
             than that"
        );
    }

    #[test]
    fn threshold_table() {
        let max = u64::MAX;
        for (spent, limit, reached) in [
            (0, 0, &[][..]),
            (1, 0, &[50, 75, 90, 100]),
            (49, 100, &[]),
            (50, 100, &[50]),
            (89, 100, &[50, 75]),
            (90, 100, &[50, 75, 90]),
            (250, 100, &[50, 75, 90, 100]),
            // Half of an odd limit isn't rounded down.
            (50, 101, &[]),
            (51, 101, &[50]),
            (max, max, &[50, 75, 90, 100]),
        ] {
            assert_eq!(
                thresholds(nanos(spent), nanos(limit)).collect::<Vec<_>>(),
                reached,
                "{spent} of {limit}"
            );
        }
    }

    #[test]
    fn a_status_serializes_the_report_fields() {
        let totals = Totals {
            spent: nanos(2_880_000),
            reserved: NanoUsd::ZERO,
        };
        let status = BudgetStatus::new(&window(Scope::Session), Some(nanos(1_000_000_000)), totals);
        assert_eq!(
            serde_json::to_string(&status).unwrap(),
            r#"{"scope":"session","limit_usd":"1.000000","spent_usd":"0.002880","reserved_usd":"0.000000","remaining_usd":"0.997120"}"#
        );
        assert_eq!(
            BudgetStatus::new(&window(Scope::Session), None, totals).remaining_usd,
            None
        );
    }
}
