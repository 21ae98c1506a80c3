//! Whether what a tool claims is true: `read-only` and `idempotent`.

use serde_json::Value;

use super::fixture::Fixture;
use super::seen::Seen;
use super::upstream::{Sent, other_effect};
use super::{Check, CheckError, Finding};
use crate::tools::Tool;

const NOT_IDEMPOTENT: &str = "not_idempotent";
const OTHER_REQUESTS: &str = "other_requests";
const REPEATED_REQUEST: &str = "repeated_request";

/// Inputs with an effect that are sent once more each.
const MAX_REPEATED: usize = 4;

impl Check<'_> {
    /// What the calls of a read-only tool changed is a finding, and so is what a repeated call of an idempotent one changes again.
    pub(super) async fn claims(&mut self, fixture: &Fixture, tool: &Tool, seen: &Seen) -> Result<(), CheckError> {
        if tool.annotations.read_only {
            self.reads_only(tool, seen);
        }
        if tool.annotations.idempotent {
            for input in seen.inputs_with_effects().take(MAX_REPEATED) {
                self.repeat(fixture, tool, input).await?;
            }
        }
        Ok(())
    }

    /// A read-only tool stores and writes nothing, and asks servers for nothing that changes something.
    fn reads_only(&mut self, tool: &Tool, seen: &Seen) {
        if let Some((changes, input)) = seen.changes.first() {
            let text = format!("it claims to be read-only, and a call {changes}");
            let finding = Finding::failure("not_read_only", text).of(&tool.name);
            self.findings.push(finding.with_input(input));
        }
        let change = seen.effects.iter().find(|(sent, _)| sent.is_change());
        let Some((sent, input)) = change.or_else(|| seen.effects.first()) else {
            return;
        };
        let request = sent.line();
        let request = request.display_sentence();
        let finding = match sent.is_change() {
            true => Finding::failure(
                "not_read_only",
                format!("it claims to be read-only, and a call sent {request}"),
            ),
            false => Finding::warning(
                "read_only_post",
                format!(
                    "it claims to be read-only, and a call sent {request}; a host may repeat it at will, so the claim is only true \
                     if that request changes nothing"
                ),
            ),
        };
        self.findings.push(finding.of(&tool.name).with_input(input));
    }

    /// Calls an idempotent tool twice in the same surroundings.
    async fn repeat(&mut self, fixture: &Fixture, tool: &Tool, input: &Value) -> Result<(), CheckError> {
        fixture.reset_files()?;
        let tenant = self.probe.new_tenant();
        let Some(first) = self.probe.call(fixture, &tenant, &tool.name, input).await else {
            return Ok(());
        };
        let once = fixture.state().await?;
        let Some(second) = self.probe.call(fixture, &tenant, &tool.name, input).await else {
            return Ok(());
        };
        if !self.has(NOT_IDEMPOTENT, tool)
            && let Some(changes) = once.changes_to(&fixture.state().await?)
        {
            let text = format!("it claims to be idempotent, and a second call with the same input {changes}");
            let finding = Finding::failure(NOT_IDEMPOTENT, text).of(&tool.name);
            self.findings.push(finding.with_input(input));
        }
        self.same_requests(tool, input, &first.sent, &second.sent);
        self.no_repeated_request(tool, input, &second.sent);
        Ok(())
    }

    /// What the second of two equal calls sends again must be something that servers recognise, or the claim rests on what can't be
    /// seen here. A read-only tool has a finding about such requests already.
    fn no_repeated_request(&mut self, tool: &Tool, input: &Value, second: &[Sent]) {
        let is_known = self.has(OTHER_REQUESTS, tool) || self.has(REPEATED_REQUEST, tool);
        if is_known || tool.annotations.read_only {
            return;
        }
        let Some(again) = second.iter().find(|sent| sent.may_act_again()) else {
            return;
        };
        let text = format!(
            "it claims to be idempotent, and a second call with the same input sent {} again, without an idempotency key; whether \
             the server acts once or twice can't be seen here",
            again.line().display_sentence()
        );
        let hint = "a host repeats the call when it is `unavailable`: send a key that is derived from the input, such as the header \
                    `Idempotency-Key`, or drop the claim if the server doesn't recognise the repetition";
        let finding = Finding::warning(REPEATED_REQUEST, text).of(&tool.name);
        self.findings.push(finding.with_hint(hint).with_input(input));
    }

    /// Two calls of an idempotent tool with the same input ask servers for the same changes.
    pub(super) fn same_requests(&mut self, tool: &Tool, input: &Value, first: &[Sent], second: &[Sent]) {
        if !tool.annotations.idempotent || self.has(OTHER_REQUESTS, tool) {
            return;
        }
        let Some(other) = other_effect(first, second) else {
            return;
        };
        let text = format!(
            "it claims to be idempotent, and a second call with the same input sent another request that can change something: {}",
            other.line().display_sentence()
        );
        let hint = "a host repeats the call when it is `unavailable`; derive keys and identifiers from the input, or drop the claim";
        let finding = Finding::warning(OTHER_REQUESTS, text).of(&tool.name);
        self.findings.push(finding.with_hint(hint).with_input(input));
    }

    fn has(&self, code: &str, tool: &Tool) -> bool {
        let is_it = |finding: &Finding| finding.code == code && finding.tool.as_ref() == Some(&tool.name);
        self.findings.iter().any(is_it)
    }
}
