//! The budget layer: reserves the worst case of an attempt and settles it afterwards.

use std::future::Future;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::{
    Measured, ModelContext, ModelError, ModelResponse, PreparedRequest, Price, Prices, Progress, estimate,
};
use super::ModelStack;
use crate::events::{EventKind, Usage};
use crate::ledger::{BudgetAlert, LedgerError, Reservation, ReserveRequest};
use crate::money::NanoUsd;

/// A request with its token estimate, computed once for all attempts.
pub(super) struct EstimatedRequest<'a> {
    pub(super) request: PreparedRequest<'a>,
    prompt_tokens: u64,
}

impl<'a> EstimatedRequest<'a> {
    pub(super) fn new(request: PreparedRequest<'a>) -> Self {
        Self {
            prompt_tokens: estimate::prompt_tokens(&request),
            request,
        }
    }

    /// The maximum cost of an attempt.
    fn worst_case(&self, price: &Price) -> NanoUsd {
        price.worst_case(self.prompt_tokens, u64::from(self.request.request.max_tokens))
    }
}

/// How a reservation is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charge {
    /// It cost nothing.
    Release,
    Exact {
        amount: NanoUsd,
        usage: Usage,
    },
    /// The cost is unknown. Charges the reservation or the usage measured so far, whichever is larger.
    Unknown {
        measured: NanoUsd,
    },
}

impl ModelStack {
    /// Reserves the worst case before the attempt and settles after it, however it ended. If this future is dropped midway, the
    /// attempt may have been billed, so the reservation is dropped with it and charged in full.
    pub(super) async fn within_budget(
        &self,
        request: &EstimatedRequest<'_>,
        cx: &ModelContext<'_>,
        progress: &Progress<'_>,
        attempt: impl Future<Output = Result<ModelResponse, ModelError>>,
    ) -> Result<ModelResponse, ModelError> {
        // Neither reserving nor settling is raced against cancellation: both are short and must complete.
        let account = self.reserve(request, cx).await?;
        let result = attempt.await;
        if let Some((reservation, price)) = account {
            settle(cx, reservation, charge(&price, progress.measured(), &result)).await;
        }
        result
    }

    /// `None` if the model has no price and no limit is in force.
    async fn reserve(
        &self,
        request: &EstimatedRequest<'_>,
        cx: &ModelContext<'_>,
    ) -> Result<Option<(Reservation, Price)>, ModelError> {
        let now = Timestamp::now();
        let model = self.provider.model();
        let Some(price) = self.prices.find(model, TimeZone::UTC.to_datetime(now).date()) else {
            let limits = self
                .ledger
                .effective_limits(&self.budget)
                .await
                .map_err(ModelError::Ledger)?;
            if !limits.has_limit() {
                return Ok(None);
            }
            return Err(ModelError::UnknownPrice {
                model: model.to_owned(),
                add: Prices::line_to_add(model),
            });
        };
        let amount = request.worst_case(&price);
        let request = ReserveRequest {
            tenant: cx.emitter.tenant().to_string(),
            session_id: cx.emitter.session_id().to_owned(),
            model: model.to_owned(),
            amount,
            limits: self.budget.clone(),
            now,
        };
        let reservation = self.ledger.reserve(request).await.map_err(|error| match error {
            LedgerError::Exceeded(exceeded) => ModelError::Budget(exceeded),
            error => ModelError::Ledger(error),
        })?;
        cx.emitter.emit(EventKind::BudgetReserved {
            reservation: reservation.id().to_string(),
            amount_usd: reservation.amount(),
        });
        Ok(Some((reservation, price)))
    }
}

/// Pure, so that one table can test every way an attempt ends.
fn charge(price: &Price, measured: Measured, result: &Result<ModelResponse, ModelError>) -> Charge {
    // An error status costs nothing, and neither does a request that was never sent.
    let is_free = match result {
        Err(ModelError::Api(error) | ModelError::SpendLimit(error) | ModelError::ContextOverflow(error)) => {
            error.status.is_some()
        }
        Err(ModelError::Connect { .. }) => true,
        Err(_) => measured == Measured::NotStarted,
        Ok(_) => false,
    };
    if is_free {
        return Charge::Release;
    }
    let exact = |usage: Usage| Charge::Exact {
        amount: price.cost(&usage),
        usage,
    };
    match (measured, result) {
        (Measured::Complete(usage), _) => exact(usage),
        // A provider that reports no usage to `progress` has it in the answer.
        (Measured::NoUsage | Measured::NotStarted, Ok(response)) if response.usage.prompt_tokens() > 0 => {
            exact(response.usage)
        }
        (Measured::Partial(usage), _) => Charge::Unknown {
            measured: price.cost(&usage),
        },
        (Measured::NoUsage | Measured::NotStarted, _) => Charge::Unknown {
            measured: NanoUsd::ZERO,
        },
    }
}

async fn settle(cx: &ModelContext<'_>, reservation: Reservation, charge: Charge) {
    let id = reservation.id().to_string();
    let (amount_usd, estimated, settled) = match charge {
        Charge::Release => {
            if let Err(error) = reservation.release().await {
                warn(&id, &error);
            }
            return;
        }
        Charge::Exact { amount, usage } => (amount, false, reservation.settle(amount, &usage).await),
        Charge::Unknown { measured } => (
            measured.max(reservation.amount()),
            true,
            reservation.settle_unknown(measured).await,
        ),
    };
    // The money is spent even if the ledger couldn't record it yet. The ledger retries the write.
    cx.emitter.emit(EventKind::BudgetSettled {
        reservation: id.clone(),
        amount_usd,
        estimated,
    });
    match settled {
        Ok(settled) => settled.alerts.into_iter().for_each(|alert| announce(cx, alert)),
        Err(error) => warn(&id, &error),
    }
}

fn announce(
    cx: &ModelContext<'_>,
    BudgetAlert {
        scope,
        percent,
        spent_usd,
        limit_usd,
    }: BudgetAlert,
) {
    cx.emitter.emit(EventKind::BudgetAlert {
        scope: scope.to_string(),
        percent,
        spent_usd,
        limit_usd,
    });
}

/// Only warns, because the answer is paid for and usable. A ledger that still can't write refuses the next reservation.
fn warn(reservation: &str, error: &LedgerError) {
    tracing::warn!(%error, reservation, "a reservation couldn't be settled yet");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use super::super::super::StopReason;
    use super::super::harness::{COST, MODEL, USAGE, api, cut};
    use super::*;
    use crate::events::Usage;

    #[test]
    fn every_outcome_of_an_attempt_has_its_charge() {
        let price = Prices::builtin().find(MODEL, jiff::civil::date(2026, 11, 24)).unwrap();
        let answer = || {
            Ok(ModelResponse {
                model: MODEL.to_owned(),
                content: Vec::new(),
                stop_reason: StopReason::EndTurn,
                usage: USAGE,
                request_id: None,
            })
        };
        let in_stream = || {
            ModelError::from(crate::model::ApiError {
                status: None,
                ..api(529)
            })
        };
        let refused = || ModelError::Connect {
            endpoint: String::new(),
            reason: String::new(),
        };
        let reset = || ModelError::Connection {
            endpoint: String::new(),
            reason: String::new(),
        };
        let malformed = || ModelError::Malformed {
            reason: String::new(),
            request_id: None,
        };
        let timeout = || ModelError::AttemptTimeout {
            limit: Duration::ZERO,
            request_id: None,
        };
        let exact = Charge::Exact {
            amount: COST,
            usage: USAGE,
        };
        let nothing_known = Charge::Unknown {
            measured: NanoUsd::ZERO,
        };
        let partly_known = Charge::Unknown { measured: COST };
        use Measured::{Complete, NoUsage, NotStarted, Partial};
        for (measured, result, expected) in [
            (Complete(USAGE), answer(), exact),
            (NoUsage, answer(), exact),
            (Partial(USAGE), answer(), partly_known),
            (Complete(USAGE), Err(malformed()), exact),
            (NoUsage, Err(malformed()), nothing_known),
            (NoUsage, Err(api(529).into()), Charge::Release),
            (NoUsage, Err(api(400).into()), Charge::Release),
            (NoUsage, Err(refused()), Charge::Release),
            (NotStarted, Err(ModelError::Cancelled), Charge::Release),
            (NoUsage, Err(ModelError::Cancelled), nothing_known),
            (Partial(USAGE), Err(ModelError::Cancelled), partly_known),
            (NoUsage, Err(reset()), nothing_known),
            (NoUsage, Err(timeout()), nothing_known),
            (Partial(USAGE), Err(cut()), partly_known),
            (Partial(Usage::default()), Err(in_stream()), nothing_known),
        ] {
            assert_eq!(charge(&price, measured, &result), expected, "{measured:?} {result:?}");
        }
    }
}
