//! Transport faults.

use std::time::Duration;

/// A transport fault, and where it strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    pub at: FaultPoint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Ends the HTTP body properly, without the rest of the answer.
    Cut,
    /// Closes the connection (TCP FIN) in the middle of the HTTP message.
    Close,
    /// Resets the connection (TCP RST).
    Reset,
    /// Sends nothing more and keeps the connection open.
    Stall,
    /// Sends the rest one byte at a time, with this pause before each.
    Drip { every: Duration },
    /// Sends nothing but `ping` events, one after each pause, and never ends.
    Pings { every: Duration },
    /// Sends an `error` event and ends the stream. For a non-streaming request: an HTTP error.
    ErrorEvent { kind: String, message: String },
    /// Sends bytes that are neither UTF-8 nor events nor JSON, then ends the body.
    Garbage,
    /// Sends this text instead of the rest of the answer, then ends the body. Before any byte of the answer, the text
    /// takes the place of the whole HTTP response, and the connection is closed after it.
    Raw(String),
}

/// Where a fault strikes. If the answer is shorter, the fault strikes at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    /// As soon as a connection is accepted. On a connection that is already open: when the request has arrived.
    Accept,
    /// When the request has arrived, before any byte of the answer.
    Request,
    /// After this many bytes of the status line and headers, at the latest at their end.
    HeadBytes(usize),
    /// After the head and this many events of any kind. A non-streaming body counts as one event.
    Events(usize),
    /// After the head and this many bytes of the body.
    Bytes(usize),
    /// This many bytes before the end of the body.
    BeforeEnd(usize),
    /// After the whole HTTP message, on a connection that the client believes it can use again.
    AfterAnswer,
}

impl FaultPoint {
    /// After the last byte of the body, but before the end of the HTTP message if the body is chunked.
    pub const END: Self = Self::Events(usize::MAX);
}

impl FaultKind {
    /// The `error` event of an API that becomes overloaded in the middle of an answer.
    pub fn overloaded() -> Self {
        Self::ErrorEvent {
            kind: "overloaded_error".to_owned(),
            message: "Overloaded".to_owned(),
        }
    }
}
