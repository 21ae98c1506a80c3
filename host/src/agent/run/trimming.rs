//! An answer to a conversation that may be too long, too expensive, or have something in it that the model refuses.

use super::{Ended, Run};
use crate::agent::answer_format::names_format;
use crate::agent::known_tools::tools_since;
use crate::agent::report::LeftOut;
use crate::events::{EventKind, TrimReason};
use crate::model::{ApiErrorKind, ModelContext, ModelError, ModelRequest, ModelResponse};
use crate::session::{Fact, TrimKind, Trimmed};

/// How often one turn's history is trimmed because it is too long or too expensive.
const MAX_TRIMS: u32 = 2;

/// Why the history must be trimmed, if a shorter one could be accepted.
fn trim_reason(error: &ModelError) -> Option<TrimReason> {
    match error {
        // Without a status it came in the middle of an answer, which a person may have read and which is paid for.
        ModelError::ContextOverflow(error) if error.status.is_some() => Some(TrimReason::TooLong),
        ModelError::Api(error) if error.status.is_some() && error.kind == ApiErrorKind::RequestTooLarge => {
            Some(TrimReason::TooLong)
        }
        // Other reservations will be settled. They don't justify trimming the history.
        ModelError::Budget(exceeded) if !exceeded.could_fit_later() => Some(TrimReason::Budget),
        _ => None,
    }
}

/// What was taken out of the conversation for one answer.
#[derive(Debug)]
struct Trim {
    reason: TrimReason,
    trimmed: Trimmed,
    /// Whether it stays out whatever comes of the answer, and the journal has it.
    is_permanent: bool,
}

impl Trim {
    fn fact(&self) -> Fact {
        let files = self.trimmed.files.clone();
        let what = match self.reason {
            TrimReason::TooLong | TrimReason::Budget => TrimKind::Results,
            TrimReason::VendorBlocks => TrimKind::VendorBlocks,
            TrimReason::Images => TrimKind::Images,
            TrimReason::CrowdedOut => {
                let images = self.trimmed.images as u64;
                return Fact::CrowdedOut { images, files };
            }
        };
        Fact::Trimmed { what, files }
    }

    /// Whether what was taken out comes back with a request that can be paid for.
    fn comes_back(&self) -> bool {
        self.reason == TrimReason::Budget && !self.is_permanent
    }
}

/// What was already tried for one answer.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    trims: u32,
    without_vendor_blocks: bool,
    without_images: bool,
}

fn is_invalid(error: &ModelError) -> bool {
    matches!(error, ModelError::Api(error) if error.status.is_some() && error.kind == ApiErrorKind::InvalidRequest)
}

impl Run<'_> {
    /// Gets one answer. If the model refuses the history as too long, or the budget can't pay for it, trims it and tries again,
    /// so that one long tool result doesn't end the run. Then restores the history: if that didn't help, the images might not have been
    /// the cause, and what was left out for the budget's sake is sent again as soon as a request can be paid for.
    pub(super) async fn ask_model(&mut self) -> Result<ModelResponse, Ended> {
        let mut trims = Vec::from_iter(self.crowded_out());
        let result = self.ask_trimming_history(&mut trims).await;
        self.state.conversation.restore();
        // Without an answer, what was only tried counts for nothing.
        trims.retain(|trim| trim.is_permanent || result.is_ok());
        for trim in trims {
            if trim.comes_back() {
                self.record(&Fact::LeftOut {
                    results: trim.trimmed.results as u64,
                    files: trim.trimmed.files.clone(),
                });
            } else if !trim.is_permanent {
                self.record(&trim.fact());
            }
            let (comes_back, reason) = (trim.comes_back(), trim.reason);
            for file in trim.trimmed.files {
                let left_out = LeftOut {
                    file,
                    comes_back,
                    reason,
                };
                if !self.left_out.contains(&left_out) {
                    self.left_out.push(left_out);
                }
            }
        }
        result.map_err(Ended::from)
    }

    /// What the conversation has no room for any more, the first time that a request is made without it.
    fn crowded_out(&mut self) -> Option<Trim> {
        let trim = Trim {
            reason: TrimReason::CrowdedOut,
            trimmed: self.state.conversation.take_crowded_out(),
            is_permanent: true,
        };
        if trim.trimmed.is_nothing() {
            return None;
        }
        self.announce(trim.reason, &trim.trimmed);
        self.record(&trim.fact());
        Some(trim)
    }

    fn announce(&self, reason: TrimReason, trimmed: &Trimmed) {
        self.emitter.emit(EventKind::HistoryTrimmed {
            reason,
            results: u32::try_from(trimmed.results).unwrap_or(u32::MAX),
            bytes: trimmed.bytes as u64,
            images: u32::try_from(trimmed.images).unwrap_or(u32::MAX),
            files: trimmed.files.clone(),
        });
    }

    async fn ask_trimming_history(&mut self, trims: &mut Vec<Trim>) -> Result<ModelResponse, ModelError> {
        let parts = self.agent.parts();
        let mut tried = Tried::default();
        let tools_since = tools_since(self.state);
        loop {
            let (system, schema) = (self.format.system(&parts.settings.system), self.format.native());
            let request = ModelRequest {
                system: &system,
                messages: self.state.conversation.messages(),
                tools: self.agent.definitions(),
                max_tokens: parts.max_tokens,
                temperature: parts.temperature,
                schema: schema.as_deref(),
                tools_since: &tools_since,
            };
            let cx = ModelContext {
                emitter: self.emitter,
                deadline: self.deadline,
                cancel: &self.options.cancel,
                streams_to_user: self.options.streams_to_user,
                log: self.journal,
            };
            let error = match parts.model.respond(&request, &cx).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if names_format(&error) && self.format.refuse() {
                continue;
            }
            let Some((reason, trimmed)) = self.trim_after(&error, &mut tried) else {
                if !is_invalid(&error) || !self.format.refuse() {
                    return Err(error);
                }
                // So it was none of what was taken out.
                self.state.conversation.restore();
                trims.retain(|trim| trim.is_permanent);
                tried = Tried::default();
                continue;
            };
            self.announce(reason, &trimmed);
            trims.push(Trim {
                reason,
                trimmed,
                is_permanent: false,
            });
            // The model's limit won't change, so this trim stays whatever comes of it, with those before it.
            if reason == TrimReason::TooLong {
                for trim in trims.iter_mut().filter(|trim| !trim.is_permanent) {
                    self.journal.record(&trim.fact());
                    trim.is_permanent = true;
                }
            }
        }
    }

    /// Takes out of the conversation what may be the reason for an error. `None` if there is nothing left to try.
    fn trim_after(&mut self, error: &ModelError, tried: &mut Tried) -> Option<(TrimReason, Trimmed)> {
        if let Some(reason) = trim_reason(error) {
            if tried.trims >= MAX_TRIMS {
                return None;
            }
            tried.trims += 1;
            match reason {
                // The model's limit won't change, so this trim is permanent, with those before it.
                TrimReason::TooLong => {}
                _ => self.state.conversation.take_snapshot(),
            }
            let trimmed = self.state.conversation.trim();
            if reason == TrimReason::TooLong && !trimmed.is_nothing() {
                self.state.conversation.discard_snapshot();
            }
            return (!trimmed.is_nothing()).then_some((reason, trimmed));
        }
        if !is_invalid(error) {
            return None;
        }
        self.state.conversation.take_snapshot();
        // Signatures of thinking can't be checked here: they are bound to a model and to all messages before them.
        if !std::mem::replace(&mut tried.without_vendor_blocks, true) {
            let dropped = self.state.conversation.drop_vendor_blocks();
            if !dropped.is_nothing() {
                return Some((TrimReason::VendorBlocks, dropped));
            }
        }
        // Images are untrusted bytes, and the API validates them more strictly than the host does.
        if !std::mem::replace(&mut tried.without_images, true) {
            let dropped = self.state.conversation.drop_images();
            return (!dropped.is_nothing()).then_some((TrimReason::Images, dropped));
        }
        None
    }
}
