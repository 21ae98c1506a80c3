//! The budget layer: reserves the worst case of an attempt and settles it afterwards.

use std::future::Future;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::{
    AttemptEnd, BilledPart, BoxFuture, Measured, ModelContext, ModelError, ModelResponse, OutputSeen, Price, Progress,
    estimate,
};
use super::ModelStack;
use super::estimated::EstimatedRequest;
use crate::events::{EventKind, Usage};
use crate::ledger::{AskAgain, Attempt, BudgetAlert, BudgetExceeded, LedgerError, Reservation, ReserveRequest, Scope};
use crate::money::{NanoUsd, NanoUsdDifference};
use crate::telemetry::Emitter;

/// How a reservation is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charge {
    /// It cost nothing.
    Release,
    Exact {
        amount: NanoUsd,
        usage: Usage,
    },
    /// The input as reported, and the output that arrived, with a margin.
    Estimated {
        amount: NanoUsd,
        usage: Usage,
    },
    /// The cost is unknown. Charges the reservation or the usage measured so far, whichever is larger.
    Unknown {
        measured: NanoUsd,
    },
}

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
                let event = settled(measured.max(reserved), true, measured <= reserved, None);
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

/// Pure, so that one table can test every way an attempt ends.
///
/// # Who hung up?
///
/// If the **server** cut the answer, or a time-out gave up on a silent one, its usage is unknown: nobody can tell how much more
/// the model wrote than what arrived. The reservation is kept, or what was measured if that is more.
///
/// If the **host** hung up on a stream that was under way (Ctrl-C, the run's deadline, a dropped run), it knows better: the API has
/// reported the input, everything that the model wrote up to a moment ago has arrived, and the API stops when the connection
/// closes. So the input costs what was reported, and the output is estimated from what arrived ([`estimate::output_tokens`]), never
/// below what was reported nor above `max_tokens`. To charge the whole reservation would take a session's budget for a few words.
/// This needs both figures: without a reported input, or if part of the output is hidden (thinking), the usage is unknown as above.
fn charge(
    price: &Price,
    measured: Measured,
    seen: OutputSeen,
    max_tokens: u32,
    result: &Result<ModelResponse, ModelError>,
) -> Charge {
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
        (Measured::Partial(usage), Err(ModelError::Cancelled | ModelError::DeadlineExceeded { .. })) => {
            match usage_so_far(usage, seen, max_tokens) {
                Some(usage) => Charge::Estimated {
                    amount: price.cost(&usage),
                    usage,
                },
                None => Charge::Unknown {
                    measured: price.cost(&usage),
                },
            }
        }
        (Measured::Partial(usage), _) => Charge::Unknown {
            measured: price.cost(&usage),
        },
        (Measured::NoUsage | Measured::NotStarted, _) => Charge::Unknown {
            measured: NanoUsd::ZERO,
        },
    }
}

/// The charge of an answer that several models or steps of the API made: each part at the price of its own model, and by the length of
/// its own prompt.
///
/// The host asks for no such answers, but gateways can. If the parts are fewer than what the API reports in all, the larger amount is
/// charged. If a part's model has no price, the cost is unknown.
fn in_parts(charge: Charge, parts: &[BilledPart], price_of: impl Fn(Option<&str>) -> Option<Price>) -> Charge {
    let Charge::Exact { amount: whole, usage } = charge else {
        return charge;
    };
    if parts.is_empty() {
        return charge;
    }
    let costs = parts
        .iter()
        .map(|part| Some(price_of(part.model.as_deref())?.cost(&part.usage)));
    let Some(amount) = costs.sum::<Option<NanoUsd>>() else {
        return Charge::Unknown { measured: whole };
    };
    let sum = parts.iter().fold(Usage::default(), |sum, part| sum.add(part.usage));
    match sum.covers(&usage) {
        true => Charge::Exact { amount, usage: sum },
        false => Charge::Exact {
            amount: amount.max(whole),
            usage,
        },
    }
}

/// What prompt caching saved in an attempt of known usage.
fn cache_savings(
    charge: Charge,
    parts: &[BilledPart],
    price: &Price,
    price_of: impl Fn(Option<&str>) -> Option<Price>,
) -> Option<NanoUsdDifference> {
    match charge {
        Charge::Exact { .. } if !parts.is_empty() => parts
            .iter()
            .map(|part| Some(price_of(part.model.as_deref())?.cache_savings(&part.usage)))
            .sum(),
        Charge::Exact { usage, .. } | Charge::Estimated { usage, .. } => Some(price.cache_savings(&usage)),
        Charge::Release | Charge::Unknown { .. } => None,
    }
}

/// The usage of an answer that the host stopped reading, if enough is known to estimate it.
fn usage_so_far(reported: Usage, seen: OutputSeen, max_tokens: u32) -> Option<Usage> {
    let OutputSeen::Bytes(bytes) = seen else { return None };
    if reported.prompt_tokens() == 0 {
        return None;
    }
    let estimated = estimate::output_tokens(bytes).min(u64::from(max_tokens));
    Some(Usage {
        output_tokens: reported.output_tokens.max(estimated),
        ..reported
    })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::super::{Prices, StopReason};
    use super::super::harness::{COST, MODEL, USAGE, api, cut};
    use std::time::Duration;

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
                refusal: None,
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
            (NoUsage, Err(reset()), nothing_known),
            (NoUsage, Err(timeout()), nothing_known),
            (Partial(USAGE), Err(cut()), partly_known),
            (Partial(Usage::default()), Err(in_stream()), nothing_known),
        ] {
            // Whatever arrived, nothing is estimated unless the host hung up.
            for seen in [OutputSeen::Bytes(10_000), OutputSeen::PartlyHidden] {
                let found = charge(&price, measured, seen, 1_000, &result);
                assert_eq!(found, expected, "{measured:?} {seen:?} {result:?}");
            }
        }
    }

    /// In nano-dollars per token: Sonnet 5.5 takes 2,000 for input and 10,000 for output; Haiku 5.5 100 and 500, for prompts above
    /// 100,000 tokens 500 and 2,500.
    #[test]
    fn an_answer_in_parts_costs_what_its_parts_cost() {
        const SONNET: &str = "claude-sonnet-5-5";
        const HAIKU: &str = "claude-haiku-5-5";
        let price = |model: &str| Prices::builtin().find(model, jiff::civil::date(2026, 11, 24));
        let usage = |input_tokens, output_tokens| Usage {
            input_tokens,
            output_tokens,
            ..Usage::default()
        };
        let part = |model: Option<&str>, input, output| BilledPart {
            model: model.map(str::to_owned),
            is_extra: false,
            usage: usage(input, output),
        };
        for (asked, total, parts, expected) in [
            // Compaction, which the totals leave out, is in the usage already.
            (
                SONNET,
                (1_100, 110),
                vec![part(None, 100, 40), part(None, 1_000, 70)],
                Some(3_300_000),
            ),
            // Another model.
            (
                SONNET,
                (1_100, 60),
                vec![part(None, 100, 40), part(Some(HAIKU), 1_000, 20)],
                Some(710_000),
            ),
            // As a whole, it would be in the tier of long prompts.
            (HAIKU, (120_000, 20), vec![part(None, 60_000, 10); 2], Some(12_010_000)),
            (HAIKU, (120_000, 20), vec![part(None, 120_000, 20)], Some(60_050_000)),
            // The list is incomplete.
            (SONNET, (1_100, 60), vec![part(Some(HAIKU), 1_000, 20)], Some(2_800_000)),
            (SONNET, (1_100, 60), vec![part(Some("nobody-knows-1"), 1_000, 20)], None),
            (SONNET, (1_100, 60), Vec::new(), Some(2_800_000)),
        ] {
            let usage = usage(total.0, total.1);
            let whole = price(asked).unwrap().cost(&usage);
            let charge = Charge::Exact { amount: whole, usage };
            let found = in_parts(charge, &parts, |model| price(model.unwrap_or(asked)));
            let expected = expected.map_or(Charge::Unknown { measured: whole }, |nanos| Charge::Exact {
                amount: NanoUsd::from_nanos(nanos),
                usage,
            });
            assert_eq!(found, expected, "{parts:?}");
        }
    }

    #[test]
    fn hanging_up_on_a_stream_costs_the_input_and_what_arrived() {
        let price = Prices::builtin().find(MODEL, jiff::civil::date(2026, 11, 24)).unwrap();
        let reported = |output_tokens| Usage { output_tokens, ..USAGE };
        let cost = |output_tokens| Charge::Estimated {
            amount: price.cost(&reported(output_tokens)),
            usage: reported(output_tokens),
        };
        let unknown = |usage| Charge::Unknown {
            measured: price.cost(&usage),
        };
        let no_input = Usage {
            input_tokens: 0,
            ..USAGE
        };
        use OutputSeen::{Bytes, PartlyHidden};
        for (usage, seen, expected) in [
            // Half the bytes, and 256 tokens on their way.
            (reported(1), Bytes(0), cost(256)),
            (reported(1), Bytes(101), cost(51 + 256)),
            // Never above the limit that the request sets, never below what is reported.
            (reported(1), Bytes(1_000_000), cost(1_000)),
            (reported(700), Bytes(10), cost(700)),
            (reported(2_000), Bytes(1_000_000), cost(2_000)),
            // Unknown: charged in full.
            (reported(1), PartlyHidden, unknown(reported(1))),
            (no_input, Bytes(10), unknown(no_input)),
        ] {
            for ended in [
                ModelError::Cancelled,
                ModelError::DeadlineExceeded {
                    in_attempt: true,
                    last: None,
                },
            ] {
                let found = charge(&price, Measured::Partial(usage), seen, 1_000, &Err(ended));
                assert_eq!(found, expected, "{usage:?} {seen:?}");
            }
        }
    }
}
