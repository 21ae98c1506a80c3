//! What an attempt cost, from what is known of it at its end.

use super::super::{BilledPart, Measured, ModelError, ModelResponse, OutputSeen, Price, estimate};
use crate::events::Usage;
use crate::money::{NanoUsd, NanoUsdDifference};

/// How a reservation is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
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
pub(super) fn charge(
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
pub(super) fn in_parts(
    charge: Charge,
    parts: &[BilledPart],
    price_of: impl Fn(Option<&str>) -> Option<Price>,
) -> Charge {
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
pub(super) fn cache_savings(
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
