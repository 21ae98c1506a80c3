//! Transport faults.

use std::time::Duration;

use serde::Deserialize;

use super::super::super::script::{Fault, FaultKind, FaultPoint};
use super::values::optional_duration;

/// The pause of `drip` and `pings`, unless the script sets one.
const DEFAULT_EVERY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFault {
    kind: RawKind,
    at: Option<RawPoint>,
    after_head_bytes: Option<usize>,
    after_events: Option<usize>,
    after_bytes: Option<usize>,
    before_end_bytes: Option<usize>,
    error_type: Option<String>,
    message: Option<String>,
    body: Option<String>,
    #[serde(default, deserialize_with = "optional_duration")]
    every: Option<Duration>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum RawKind {
    Cut,
    Close,
    Reset,
    Stall,
    Drip,
    Pings,
    ErrorEvent,
    Garbage,
    Raw,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawPoint {
    Accept,
    Request,
    End,
    AfterAnswer,
}

impl RawFault {
    pub(super) fn into_fault(self) -> Result<Fault, String> {
        if self.kind != RawKind::ErrorEvent && (self.error_type.is_some() || self.message.is_some()) {
            return Err("`fault.error_type` and `fault.message` are for `kind = \"error_event\"`".to_owned());
        }
        if self.every.is_some() && !matches!(self.kind, RawKind::Drip | RawKind::Pings) {
            return Err("`fault.every` is for `kind = \"drip\"` and `kind = \"pings\"`".to_owned());
        }
        let every = self.every.unwrap_or(DEFAULT_EVERY);
        let kind = match (self.kind, self.body) {
            (RawKind::Raw, Some(body)) => FaultKind::Raw(body),
            (RawKind::Raw, None) => {
                return Err("`fault.body` is missing: the text that `kind = \"raw\"` sends".to_owned());
            }
            (_, Some(_)) => return Err("`fault.body` is for `kind = \"raw\"`".to_owned()),
            (RawKind::Cut, None) => FaultKind::Cut,
            (RawKind::Close, None) => FaultKind::Close,
            (RawKind::Reset, None) => FaultKind::Reset,
            (RawKind::Stall, None) => FaultKind::Stall,
            (RawKind::Garbage, None) => FaultKind::Garbage,
            (RawKind::Drip, None) => FaultKind::Drip { every },
            (RawKind::Pings, None) => FaultKind::Pings { every },
            (RawKind::ErrorEvent, None) => FaultKind::ErrorEvent {
                kind: self.error_type.unwrap_or_else(|| "overloaded_error".to_owned()),
                message: self.message.unwrap_or_else(|| "Overloaded".to_owned()),
            },
        };
        let named = self.at.map(|at| match at {
            RawPoint::Accept => FaultPoint::Accept,
            RawPoint::Request => FaultPoint::Request,
            RawPoint::End => FaultPoint::END,
            RawPoint::AfterAnswer => FaultPoint::AfterAnswer,
        });
        let points = [
            named,
            self.after_head_bytes.map(FaultPoint::HeadBytes),
            self.after_events.map(FaultPoint::Events),
            self.after_bytes.map(FaultPoint::Bytes),
            self.before_end_bytes.map(FaultPoint::BeforeEnd),
        ];
        let mut points = points.into_iter().flatten();
        let at = points.next().unwrap_or(match kind {
            FaultKind::Close | FaultKind::Reset | FaultKind::Stall | FaultKind::Drip { .. } => FaultPoint::Request,
            _ => FaultPoint::Bytes(0),
        });
        if points.next().is_some() {
            return Err(
                "`fault.at`, `fault.after_head_bytes`, `fault.after_events`, `fault.after_bytes` and \
                        `fault.before_end_bytes` exclude each other"
                    .to_owned(),
            );
        }
        Ok(Fault { kind, at })
    }
}
