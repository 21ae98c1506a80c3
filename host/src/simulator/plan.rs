//! Applies a fault to a response: what is sent before it strikes, and what happens then.

use bytes::Bytes;

use super::answer::RequestContext;
use super::body::{BodyPlan, Part};
use super::connection::Hangup;
use super::error::{ApiError, status_of};
use super::piece::{self, Piece};
use super::script::{Fault, FaultKind, FaultPoint, StreamOptions};
use super::socket::{HeadFault, HeadFaultKind};

const GARBAGE: &[u8] = b"\xff\xfe<html>upstream connect error\0{\"type\":";

/// Whether a fault strikes before any byte of the response. Only a slow response still has bytes then.
pub(super) fn replaces_response(fault: &Fault) -> bool {
    matches!(fault.at, FaultPoint::Accept | FaultPoint::Request) && !matches!(fault.kind, FaultKind::Drip { .. })
}

/// What a fault does to a connection, instead of anything else. `None`: it stays open and silent.
pub(super) fn hangup(kind: &FaultKind) -> Option<Hangup> {
    match kind {
        FaultKind::Reset => Some(Hangup::Reset),
        FaultKind::Close => Some(Hangup::Close),
        FaultKind::Raw(text) => Some(Hangup::Send(Bytes::from(text.clone()))),
        FaultKind::Garbage => Some(Hangup::Send(Bytes::from_static(GARBAGE))),
        _ => None,
    }
}

/// A fault that strikes within the status line and headers.
pub(super) fn head_fault(fault: &Fault) -> Option<HeadFault> {
    let after_bytes = match (fault.at, &fault.kind) {
        (FaultPoint::HeadBytes(bytes), _) => bytes,
        (FaultPoint::Request, FaultKind::Drip { .. }) => 0,
        _ => return None,
    };
    let kind = match &fault.kind {
        FaultKind::Drip { every } => HeadFaultKind::Drip(*every),
        kind => hangup(kind).map_or(HeadFaultKind::Stall, HeadFaultKind::HangUp),
    };
    Some(HeadFault { after_bytes, kind })
}

/// The body up to the fault, and the fault.
pub(super) fn body(
    pieces: Vec<Piece>,
    is_stream: bool,
    fault: Option<&Fault>,
    options: &StreamOptions,
    context: &RequestContext<'_>,
) -> BodyPlan {
    let length = (!is_stream).then(|| piece::size(&pieces));
    let whole = |pieces: Vec<Piece>| BodyPlan {
        length,
        ..BodyPlan::of(pieces.into_iter().flat_map(Piece::parts).collect())
    };
    let Some(fault) = fault else {
        return whole(pieces);
    };
    match (fault.at, &fault.kind) {
        (FaultPoint::AfterAnswer, kind) => {
            return BodyPlan {
                then: hangup(kind),
                ..whole(pieces)
            };
        }
        // Never reached, but it decides the headers.
        (FaultPoint::HeadBytes(_), kind) if !matches!(kind, FaultKind::Drip { .. }) => return whole(pieces),
        _ => {}
    }
    let (before, rest) = piece::split(pieces, fault.at);
    let is_early = !rest.is_empty();
    let mut plan = BodyPlan::of(before.into_iter().flat_map(Piece::parts).collect());
    match &fault.kind {
        FaultKind::Cut => {}
        FaultKind::Close => plan.parts.push(Part::HangUp(Hangup::Close)),
        FaultKind::Reset => plan.parts.push(Part::HangUp(Hangup::Reset)),
        FaultKind::Stall => plan.parts.push(Part::Stall),
        FaultKind::Garbage => plan.parts.push(Part::Data(Bytes::from_static(GARBAGE))),
        FaultKind::Raw(text) => plan.parts.push(Part::Data(Bytes::from(text.clone()))),
        FaultKind::Pings { every } => plan.parts.push(Part::Forever(context.dialect.ping(options), *every)),
        FaultKind::Drip { every } => {
            plan.parts.push(Part::Drip(*every));
            plan.parts.extend(rest.into_iter().flat_map(Piece::parts));
        }
        FaultKind::ErrorEvent { kind, message } => {
            let error = ApiError {
                kind: kind.clone(),
                ..ApiError::new(status_of(kind), message)
            };
            let event = context.dialect.error_event(&error, context.request_id, options);
            plan.parts.push(Part::Data(event));
        }
    }
    // A whole body that breaks off is shorter than its content-length says, as behind a real server.
    let breaks_off = matches!(
        fault.kind,
        FaultKind::Close | FaultKind::Reset | FaultKind::Stall | FaultKind::Drip { .. }
    );
    if breaks_off && is_early {
        plan.length = length;
    }
    plan
}
