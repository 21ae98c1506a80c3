//! The budget layer: reserves the worst case of an attempt and settles it afterwards.

use std::future::Future;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::{AttemptEnd, BoxFuture, Measured, ModelContext, ModelError, ModelResponse, Price, Progress};
use super::ModelStack;
use super::charge::{Charge, cache_savings, charge, in_parts};
use super::estimated::EstimatedRequest;
use crate::events::{EventKind, Usage};
use crate::ledger::{AskAgain, Attempt, BudgetAlert, BudgetExceeded, LedgerError, Reservation, ReserveRequest, Scope};
use crate::telemetry::Emitter;

impl ModelStack {
    /// Reserves the worst case before the attempt and settles after it, however it ended. If this future is dropped while it
    /// reserves, the reservation is released; if it is dropped during the attempt, it is settled as for a cancelled attempt.
    ///
    /// `asking` is the turn of a call that has waited for money. It passes on unless the ledger refuses again.
    pub(super) async fn within_budget(
        &self,
        request: &EstimatedRequest<'_>,
        cx: &ModelContext<'_>,
        progress: &Progress<'_>,
        asking: Option<AskAgain>,
        attempt: impl Future<Output = Result<ModelResponse, ModelError>>,
    ) -> Result<ModelResponse, ModelError> {
        let reserved = tokio::select! {
            biased;
            () = cx.cancel.cancelled() => return Err(ModelError::Cancelled),
            () = tokio::time::sleep_until(cx.deadline) => return Err(ModelError::DeadlineExceeded { in_attempt: false, last: None }),
            reserved = self.reserve(request, cx, asking) => reserved?,
        };
        let account = reserved.map(|(reservation, price)| Account {
            cx,
            progress,
            price,
            stack: self,
            max_tokens: request.request.request.max_tokens,
            estimated_prompt_tokens: request.prompt.likely,
            attempt: Some(reservation.begin()),
        });
        let result = attempt.await;
        let end = AttemptEnd {
            reservation: account.as_ref().and_then(Account::reservation),
            usage: match progress.measured() {
                Measured::Partial(usage) | Measured::Complete(usage) => Some(usage),
                Measured::NotStarted | Measured::NoUsage => None,
            },
            request_id: progress.request_id(),
            error: result.as_ref().err().map(ModelError::info),
            partial_text: result
                .is_err()
                .then(|| progress.text_so_far())
                .filter(|text| !text.is_empty()),
        };
        let booked = account.map_or_else(
            || Box::pin(std::future::ready(())) as _,
            |account| account.settle(&result),
        );
        // Not raced against cancellation: it is short, and the report should include it.
        cx.log.ended(end, booked).await;
        result
    }

    /// `None` if the model has no price and no limit is in force.
    async fn reserve(
        &self,
        request: &EstimatedRequest<'_>,
        cx: &ModelContext<'_>,
        asking: Option<AskAgain>,
    ) -> Result<Option<(Reservation, Price)>, ModelError> {
        let now = Timestamp::now();
        let model = self.provider.model();
        let tenant = cx.emitter.tenant();
        let Some(price) = self.prices.find(model, TimeZone::UTC.to_datetime(now).date()) else {
            let limits = self
                .ledger
                .effective_limits(tenant, &self.budget)
                .await
                .map_err(ModelError::Ledger)?;
            let limits: Vec<_> = Scope::ALL
                .into_iter()
                .filter(|scope| limits.limit(*scope).is_some())
                .collect();
            if limits.is_empty() {
                cx.log.started(&self.ledger, model, None).await?;
                return Ok(None);
            }
            return Err(ModelError::UnknownPrice {
                model: model.to_owned(),
                limits: limits.into_iter().map(Scope::name).collect(),
                hint: self.prices.hint_for(model),
            });
        };
        let cache_writes = self.provider.cache_writes();
        let ask = || {
            let request = ReserveRequest {
                tenant: tenant.to_string(),
                session_id: cx.emitter.session_id().to_owned(),
                model: model.to_owned(),
                amount: request.worst_case(&price, cache_writes),
                limits: self.budget.limits(tenant),
                now,
            };
            cx.log.started(&self.ledger, model, Some(request))
        };
        let mut reserved = ask().await;
        // The estimate is high, so that it suffices. What it would refuse is counted.
        if let Err(ModelError::Budget(exceeded)) = &reserved
            && request.could_fit(exceeded, &price, cache_writes)
            && request.count(&*self.provider).await
        {
            reserved = ask().await;
        }
        if let Err(ModelError::Budget(exceeded)) = &reserved
            && let Some(asking) = asking.filter(|_| exceeded.could_fit_later())
        {
            asking.in_vain();
            return Err(ModelError::Budget(exceeded.clone()));
        }
        let reserved = reserved.map_err(|error| match error {
            ModelError::Budget(refused) => {
                let refused = BudgetExceeded {
                    is_cap: refused.scope == Scope::Session && self.budget.session_cap == Some(refused.limit),
                    ..refused
                };
                ModelError::Budget(request.explained(refused, &price, cache_writes))
            }
            error => error,
        });
        let Some(reservation) = reserved? else { return Ok(None) };
        cx.emitter.emit(EventKind::BudgetReserved {
            reservation: reservation.id().to_string(),
            amount_usd: reservation.amount(),
        });
        Ok(Some((reservation, price)))
    }
}

/// What the API reported, beside what was estimated: how far off estimates are can be read from the books.
#[derive(Serialize)]
struct Reported {
    #[serde(flatten)]
    usage: Usage,
    estimated_prompt_tokens: u64,
}

/// An attempt that may be billed. It is closed once: by [`Self::settle`], or by its drop. Either way one event says how, so that
/// the events add up to what the ledger holds.
struct Account<'a> {
    cx: &'a ModelContext<'a>,
    progress: &'a Progress<'a>,
    price: Price,
    stack: &'a ModelStack,
    max_tokens: u32,
    estimated_prompt_tokens: u64,
    /// `None` once it is closed.
    attempt: Option<Attempt>,
}

impl Account<'_> {
    fn reservation(&self) -> Option<String> {
        self.attempt.as_ref().map(|attempt| attempt.id().to_string())
    }

    /// Settles the attempt, also if the returned future is dropped. The future announces what the settlement has reached.
    fn settle(mut self, result: &Result<ModelResponse, ModelError>) -> BoxFuture<'static, ()> {
        let Some(attempt) = self.attempt.take() else {
            return Box::pin(std::future::ready(()));
        };
        let (id, emitter) = (attempt.id().to_string(), self.cx.emitter.clone());
        // It can be booked with the start of the next one.
        let turn = emitter.turn();
        let booked = self.close(attempt, result);
        Box::pin(async move {
            match booked.await {
                Ok(alerts) => alerts.into_iter().for_each(|alert| announce(&emitter, turn, alert)),
                Err(error) => warn(&id, &error),
            }
        })
    }

    /// Hands the closing over to the ledger, which books it even if the returned future is dropped, and emits the event.
    fn close(
        &self,
        attempt: Attempt,
        result: &Result<ModelResponse, ModelError>,
    ) -> BoxFuture<'static, Result<Vec<BudgetAlert>, LedgerError>> {
        let (reservation, reserved) = (attempt.id().to_string(), attempt.amount());
        let charge = charge(
            &self.price,
            self.progress.measured(),
            self.progress.output_seen(),
            self.max_tokens,
            result,
        );
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        let parts = self.progress.parts();
        let price_of = |model: Option<&str>| match model {
            Some(model) if model != self.stack.provider.model() => self.stack.prices.find(model, today),
            _ => Some(self.price.clone()),
        };
        let charge = in_parts(charge, &parts, price_of);
        let cache_savings_usd = cache_savings(charge, &parts, &self.price, price_of);
        let settled = |amount_usd, estimated, in_full, usage| EventKind::BudgetSettled {
            reservation: reservation.clone(),
            amount_usd,
            estimated,
            in_full,
            usage,
            cache_savings_usd,
        };
        let (booked, event): (BoxFuture<'static, _>, _) = match charge {
            Charge::Release => {
                let released = attempt.release();
                let event = EventKind::BudgetReleased {
                    reservation: reservation.clone(),
                    amount_usd: reserved,
                };
                (Box::pin(async { released.await.map(|()| Vec::new()) }), event)
            }
            Charge::Exact { amount, usage } => {
                let booked = attempt.settle(
                    amount,
                    &Reported {
                        usage,
                        estimated_prompt_tokens: self.estimated_prompt_tokens,
                    },
                );
                (
                    Box::pin(async { Ok(booked.await?.alerts) }),
                    settled(amount, false, false, None),
                )
            }
            Charge::Estimated { amount, usage } => {
                let booked = attempt.settle_estimated(amount, &usage);
                (
                    Box::pin(async { Ok(booked.await?.alerts) }),
                    settled(amount, true, false, Some(usage)),
                )
            }
            Charge::Unknown { measured } => {
                let booked = attempt.settle_unknown(measured);
                let amount = measured.max(reserved);
                // What is free costs nothing, however much of it there was.
                let is_known = self.price.is_free() && parts.is_empty();
                let event = settled(amount, !is_known, !is_known && measured <= reserved, None);
                (Box::pin(async { Ok(booked.await?.alerts) }), event)
            }
        };
        self.cx.emitter.emit(event);
        booked
    }
}

impl Drop for Account<'_> {
    /// The run was dropped during the attempt, which cancels it.
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            drop(self.close(attempt, &Err(ModelError::Cancelled)));
        }
    }
}

fn announce(
    emitter: &Emitter,
    turn: u32,
    BudgetAlert {
        scope,
        percent,
        spent_usd,
        limit_usd,
    }: BudgetAlert,
) {
    let alert = EventKind::BudgetAlert {
        scope: scope.to_string(),
        percent,
        spent_usd,
        limit_usd,
    };
    emitter.emit_of(turn, alert);
}

/// Only warns, because the answer is paid for and usable. A ledger that still can't write refuses the next reservation.
fn warn(reservation: &str, error: &LedgerError) {
    tracing::warn!(%error, reservation, "a reservation couldn't be settled yet");
}
