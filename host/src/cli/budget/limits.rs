//! The limits of every scope, with what is spent of them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::format;
use crate::cli::table::{Column, Table};
use crate::config::{Config, Origin};
use crate::ledger::{BudgetStatus, Ledger, LedgerError, LimitOverride, Scope};
use crate::money::NanoUsd;

/// A line per scope: the limit of each session, limits and spending of each tenant's day and month, and of the host's day. Tenants are
/// those that have limits, and those that have spent something in this month.
pub(super) async fn lines(
    ledger: &Ledger,
    config: &Config,
    tenant: Option<String>,
) -> Result<Vec<BudgetLine>, LedgerError> {
    let now = Timestamp::now();
    let tenants = match tenant {
        Some(tenant) => BTreeSet::from([tenant]),
        None => {
            let known = ledger.tenants(now).await?;
            known.into_iter().chain(config.budget.tenants.keys().cloned()).collect()
        }
    };
    let is_of_tenant = |line: &BudgetLine| line.scope.is_per_tenant();
    let of_all = lines_for(ledger, config, &config.agent.tenant, now).await?;
    let (mut lines, of_host): (Vec<_>, Vec<_>) = of_all
        .into_iter()
        .filter(|line| !is_of_tenant(line))
        .partition(|line| line.scope == Scope::Session);
    for tenant in &tenants {
        let of_tenant = lines_for(ledger, config, tenant, now).await?;
        lines.extend(of_tenant.into_iter().filter(is_of_tenant));
    }
    lines.extend(of_host);
    Ok(lines)
}

/// A line for each scope of a tenant.
async fn lines_for(
    ledger: &Ledger,
    config: &Config,
    tenant: &str,
    now: Timestamp,
) -> Result<Vec<BudgetLine>, LedgerError> {
    let overrides = ledger.limit_overrides(tenant).await?;
    let known = ledger.status(tenant, None, &config.budget, now).await?;
    let limits = config.budget.limits(tenant);
    let line = |(scope, over): (Scope, Option<LimitOverride>)| {
        let configured = limits.limit(scope);
        let line = match known.iter().find(|status| status.scope == scope) {
            Some(status) => BudgetLine::from(status),
            None => BudgetLine::unused(scope, over.map_or(configured, LimitOverride::limit)),
        };
        let source = match over {
            Some(_) => LimitSource::Override { configured },
            None => LimitSource::Configured(config.origins.of_key(&key_path(scope, tenant)).cloned()),
        };
        line.with_source(source)
    };
    Ok(overrides.into_iter().map(line).collect())
}

/// The key of a limit, as the configuration nests it.
fn key_path(scope: Scope, tenant: &str) -> Vec<&str> {
    match scope {
        Scope::Session => vec!["budget", "session_usd"],
        Scope::HostDay => vec!["budget", "host_day_usd"],
        Scope::TenantDay => vec!["tenants", tenant, "budget", "daily_usd"],
        Scope::TenantMonth => vec!["tenants", tenant, "budget", "monthly_usd"],
    }
}

/// The budget table. A scope with unknown spending has a limit but no accounting window yet.
pub fn table<'a>(scopes: impl IntoIterator<Item = &'a BudgetLine>, width: Option<usize>) -> String {
    let limited = |amount: Option<NanoUsd>| amount.map_or_else(|| "unlimited".to_owned(), |usd| format!("${usd}"));
    let known = |amount: Option<NanoUsd>| amount.map_or_else(|| "-".to_owned(), |usd| format!("${usd}"));
    let scopes: Vec<&BudgetLine> = scopes.into_iter().collect();
    let mut columns = vec![Column::Left("budget")];
    let has_tenants = scopes.iter().any(|line| line.tenant.is_some());
    if has_tenants {
        columns.push(Column::Left("tenant"));
    }
    columns.extend([
        Column::Right("limit"),
        Column::Right("spent"),
        Column::Right("reserved"),
        Column::Right("remaining"),
    ]);
    if scopes.iter().any(|line| line.source.is_some()) {
        columns.push(Column::Left("limit from"));
    }
    let mut table = Table::new(columns);
    for line in scopes {
        let tenant = line.tenant.as_deref().unwrap_or_default();
        let tenant = has_tenants.then(|| format::escape(tenant).into_owned());
        table.row([line.scope.to_string()].into_iter().chain(tenant).chain([
            limited(line.limit_usd),
            known(line.spent_usd),
            known(line.reserved_usd),
            if line.spent_usd.is_none() {
                known(None)
            } else {
                limited(line.remaining_usd)
            },
            match &line.source {
                None => String::new(),
                Some(LimitSource::Configured(None)) => "default".to_owned(),
                Some(LimitSource::Configured(Some(origin))) => format::escape(&origin.to_string()).into_owned(),
                Some(LimitSource::Override { configured }) => {
                    format!("budget set (configured: {})", limited(*configured))
                }
            },
        ]));
    }
    table.render_within(width)
}

/// Where a limit comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitSource {
    /// The file or variable that sets it; `None`: it has its default.
    Configured(Option<Origin>),
    /// `budget set`, in place of the configured limit.
    Override { configured: Option<NanoUsd> },
}

/// `limit_from`: `default`, a place in a file, a variable, or `override`, which adds `configured_usd`.
impl Serialize for LimitSource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Configured(None) => map.serialize_entry("limit_from", "default")?,
            Self::Configured(Some(origin)) => map.serialize_entry("limit_from", &origin.to_string())?,
            Self::Override { configured } => {
                map.serialize_entry("limit_from", "override")?;
                map.serialize_entry("configured_usd", configured)?;
            }
        }
        map.end()
    }
}

/// A scope's limit, and its spending if known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetLine {
    pub scope: Scope,
    /// If each tenant has a limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub limit_usd: Option<NanoUsd>,
    pub spent_usd: Option<NanoUsd>,
    pub reserved_usd: Option<NanoUsd>,
    pub remaining_usd: Option<NanoUsd>,
    /// In the output of `budget` only.
    #[serde(flatten)]
    pub source: Option<LimitSource>,
}

impl BudgetLine {
    /// A scope with a limit and no window.
    pub const fn unused(scope: Scope, limit_usd: Option<NanoUsd>) -> Self {
        Self {
            scope,
            tenant: None,
            limit_usd,
            spent_usd: None,
            reserved_usd: None,
            remaining_usd: None,
            source: None,
        }
    }

    /// What concerns a run: without the tenant's own scopes where they have no limit.
    pub fn of_run(status: &[BudgetStatus]) -> Vec<Self> {
        let concerns = |status: &&BudgetStatus| status.limit_usd.is_some() || !status.scope.is_per_tenant();
        status.iter().filter(concerns).map(Self::from).collect()
    }

    pub fn with_source(self, source: LimitSource) -> Self {
        Self {
            source: Some(source),
            ..self
        }
    }
}

impl From<&BudgetStatus> for BudgetLine {
    fn from(status: &BudgetStatus) -> Self {
        Self {
            scope: status.scope,
            tenant: status.tenant.clone(),
            limit_usd: status.limit_usd,
            spent_usd: Some(status.spent_usd),
            reserved_usd: Some(status.reserved_usd),
            remaining_usd: status.remaining_usd,
            source: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::super::parse_amount;
    use super::*;
    use crate::store::Store;

    async fn shown(ledger: &Ledger) -> String {
        table(&lines(ledger, &Config::default(), None).await.unwrap(), None)
    }

    #[tokio::test]
    async fn a_limit_is_shown_with_where_it_comes_from() {
        let ledger = Store::in_memory().unwrap().ledger();
        let set = |scope, text| ledger.set_limit(scope, "acme", parse_amount(text).unwrap().limit());
        set(Scope::Session, "2.5").await.unwrap();
        assert_eq!(
            shown(&ledger).await,
            "budget         limit      spent   reserved   remaining  limit from\n\
             session    $2.500000          -          -           -  budget set (configured: $1.000000)\n\
             host_day  $10.000000  $0.000000  $0.000000  $10.000000  default\n"
        );
        set(Scope::Session, "unlimited").await.unwrap();
        set(Scope::HostDay, "unlimited").await.unwrap();
        assert_eq!(
            shown(&ledger).await,
            "budget        limit      spent   reserved  remaining  limit from\n\
             session   unlimited          -          -          -  budget set (configured: $1.000000)\n\
             host_day  unlimited  $0.000000  $0.000000  unlimited  budget set (configured: $10.000000)\n"
        );
        let lines = lines(&ledger, &Config::default(), None).await.unwrap();
        assert_eq!(
            serde_json::to_value(&lines[0]).unwrap(),
            json!({
                "scope": "session", "limit_usd": null, "spent_usd": null, "reserved_usd": null, "remaining_usd": null,
                "limit_from": "override", "configured_usd": "1.000000",
            })
        );
        set(Scope::TenantMonth, "30").await.unwrap();
        let with_tenant = shown(&ledger).await;
        let beginnings = with_tenant.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().take(3).collect();
            words.join(" ")
        });
        assert_eq!(
            beginnings.collect::<Vec<_>>(),
            [
                "budget tenant limit",
                "session unlimited -",
                "tenant_day acme unlimited",
                "tenant_month acme $30.000000",
                "host_day unlimited $0.000000",
            ]
        );
        set(Scope::Session, "default").await.unwrap();
        set(Scope::TenantMonth, "default").await.unwrap();
        assert!(
            shown(&ledger).await.contains("session   $1.000000"),
            "{}",
            shown(&ledger).await
        );
    }
}
