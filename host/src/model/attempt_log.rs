//! What is written down about attempts.

use std::fmt;

use super::{BoxFuture, ModelError};
use crate::events::{ErrorInfo, Usage};
use crate::ledger::{Ledger, Reservation, ReserveRequest};

/// Writes attempts down, so that a crash forgets none. Its futures return once it is durable.
pub trait AttemptLog: fmt::Debug + Send + Sync {
    /// Reserves for an attempt and writes down that it starts: both or none. Nothing is sent before. Without a request, the model
    /// has no price and no limit is in force.
    fn started<'a>(
        &'a self,
        ledger: &'a Ledger,
        model: &'a str,
        request: Option<ReserveRequest>,
    ) -> BoxFuture<'a, Result<Option<Reservation>, ModelError>>;

    /// Writes down how an attempt ended. `booked` returns once its cost is booked, which happens even if it is dropped. A log can
    /// keep both for a later commit, if it makes one soon.
    fn ended(&self, end: AttemptEnd, booked: BoxFuture<'static, ()>) -> BoxFuture<'_, ()>;
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    pub reservation: Option<String>,
    /// As far as it is known.
    pub usage: Option<Usage>,
    pub request_id: Option<String>,
    /// `None` for an answer.
    pub error: Option<ErrorInfo>,
    /// What had arrived of an answer that has no end.
    pub partial_text: Option<String>,
}

/// Writes nothing down but money.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlogged;

impl AttemptLog for Unlogged {
    fn started<'a>(
        &'a self,
        ledger: &'a Ledger,
        _: &'a str,
        request: Option<ReserveRequest>,
    ) -> BoxFuture<'a, Result<Option<Reservation>, ModelError>> {
        Box::pin(async move {
            let Some(request) = request else { return Ok(None) };
            ledger.reserve(request).await.map(Some).map_err(ModelError::from)
        })
    }

    fn ended(&self, _: AttemptEnd, booked: BoxFuture<'static, ()>) -> BoxFuture<'_, ()> {
        booked
    }
}
