//! The rules of a fault: where it can strike, and what has an effect beside it.

use super::super::script::{Answer, AnswerKind, Fault, FaultKind, FaultPoint, StreamOptions};
use super::{check_duration, check_text};

pub(super) fn check_fault(answer: &Answer, fault: &Fault, report: &mut dyn FnMut(String)) {
    if let FaultKind::ErrorEvent { kind, message } = &fault.kind {
        check_text("fault.error_type", kind, report);
        check_text("fault.message", message, report);
        if !matches!(answer.kind, AnswerKind::Message(_)) {
            report("an `error_event` is part of a model's answer, not of `error` or `raw`".to_owned());
        }
    }
    match &fault.kind {
        FaultKind::Raw(text) => check_text("fault.body", text, report),
        FaultKind::Drip { every } | FaultKind::Pings { every } => check_duration("fault.every", *every, report),
        _ => {}
    }
    let point = match (fault.at, &fault.kind) {
        // The answer is still sent, only slowly.
        (_, FaultKind::Drip { .. }) => return,
        (FaultPoint::Accept, _) => "accept",
        (FaultPoint::Request, _) => "request",
        _ => return,
    };
    let is_empty = answer.kind == AnswerKind::Message(Box::default());
    let ignored = [
        ("an answer", !is_empty),
        ("`headers`", !answer.headers.is_empty()),
        ("`omit_headers`", !answer.omit_headers.is_empty()),
        ("`gzip`", answer.gzip),
        ("`stream`", answer.stream != StreamOptions::default()),
        ("`delay`", fault.at == FaultPoint::Accept && !answer.delay.is_zero()),
    ];
    for (what, _) in ignored.into_iter().filter(|(_, set)| *set) {
        report(format!("{what} has no effect with `fault.at = \"{point}\"`"));
    }
}

/// Not every fault can strike everywhere.
pub(super) fn check_fault_point(fault: &Fault, report: &mut dyn FnMut(String)) {
    use FaultKind::{Close, Cut, Drip, ErrorEvent, Garbage, Pings, Raw, Reset, Stall};
    let (is_possible, point, kinds) = match fault.at {
        FaultPoint::Accept => (
            matches!(fault.kind, Reset | Close | Stall | Garbage | Raw(_)),
            "`fault.at = \"accept\"`",
            "reset, close, stall, garbage and raw",
        ),
        FaultPoint::Request => (
            !matches!(fault.kind, Cut | ErrorEvent { .. } | Pings { .. }),
            "`fault.at = \"request\"`",
            "reset, close, stall, drip, garbage and raw",
        ),
        FaultPoint::HeadBytes(_) => (
            matches!(fault.kind, Reset | Close | Stall | Drip { .. }),
            "`fault.after_head_bytes`",
            "reset, close, stall and drip",
        ),
        FaultPoint::AfterAnswer => (
            matches!(fault.kind, Reset | Close),
            "`fault.at = \"after_answer\"`",
            "reset and close",
        ),
        FaultPoint::Events(_) | FaultPoint::Bytes(_) | FaultPoint::BeforeEnd(_) => return,
    };
    if !is_possible {
        report(format!(
            "{point} is for {kinds}; use `fault.after_events`, `fault.after_bytes` or `fault.before_end_bytes`"
        ));
    }
}
