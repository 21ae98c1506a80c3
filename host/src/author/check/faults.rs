//! How a tool copes with surroundings that fail: no grants, small limits, servers that fail.

use super::fixture::{Fixture, Imports};
use super::report::ServerReport;
use super::seen::Seen;
use super::upstream::Answer;
use super::verdict::failure;
use super::{Check, Finding, MAX_FAILURES};
use crate::events::Outcome;
use crate::sandbox::Limits;

impl Check<'_> {
    /// Limits under which a tool can hardly receive, store or print anything.
    pub(super) fn small_limits(&self) -> Limits {
        Limits {
            http_response_bytes: 1,
            keyvalue_bytes: 1,
            file_bytes: 1,
            log_bytes: 1,
            ..self.limits()
        }
    }

    /// Calls a tool that gets nothing of what it imports.
    pub(super) async fn without_grants(&mut self, fixture: &Fixture, tool: &str, seen: &Seen) -> Option<()> {
        let input = seen.sample()?;
        let called = self.probe.call_once(fixture, tool, input).await?;
        if let Some(found) = failure(&called.result) {
            let text = format!("{} where nothing is granted; return an error instead", found.text);
            self.fault("crashes_without_grants", text, found, tool, input);
        }
        Some(())
    }

    /// Calls a tool that can neither store nor receive anything.
    pub(super) async fn with_small_limits(
        &mut self,
        fixture: &Fixture,
        imports: Imports,
        tool: &str,
        seen: &Seen,
    ) -> Option<()> {
        let input = seen.sample()?;
        let called = self.probe.call_once(fixture, tool, input).await?;
        if let Some(found) = failure(&called.result) {
            let limits = [
                (imports.keyvalue, "keyvalue_bytes"),
                (imports.files, "file_bytes"),
                (imports.http, "http_response_bytes"),
            ];
            let limits: Vec<&str> = limits
                .into_iter()
                .filter_map(|(imported, limit)| imported.then_some(limit))
                .collect();
            let text = format!(
                "{} when it can't store or receive anything ({} = 1); return an error instead",
                found.text,
                limits.join(", ")
            );
            self.fault("crashes_when_full", text, found, tool, input);
        }
        Some(())
    }

    /// Calls a tool that sends requests while the server fails in every way. `None` if the time was over, or there is nothing to
    /// see.
    pub(super) async fn server_faults(
        &mut self,
        fixture: &Fixture,
        tool: &str,
        seen: &Seen,
    ) -> Option<Vec<ServerReport>> {
        let (upstream, input) = (fixture.upstream.as_ref()?, seen.sender.as_ref()?);
        let mut reports = Vec::new();
        let mut outages = Outages::default();
        let mut failures = 0;
        for answer in Answer::FAULTS {
            upstream.set_answer(answer);
            let called = self.probe.call_once(fixture, tool, input).await;
            upstream.set_answer(Answer::default());
            let called = called?;
            if called.sent.is_empty() {
                continue;
            }
            let outcome = called.result.outcome;
            reports.push(ServerReport {
                server: answer.about(),
                outcome,
                duration_ms: called.result.finished.duration_ms,
            });
            match failure(&called.result) {
                Some(found) if answer == Answer::Nothing && outcome == Outcome::Timeout => {
                    let text = "it waits for a server that doesn't answer until the limit `timeout` ends the call; give its requests a \
                                time-out of their own and return `unavailable`"
                        .to_owned();
                    self.fault("waits_for_server", text, found, tool, input);
                }
                Some(found) if failures < MAX_FAILURES => {
                    failures += 1;
                    let text = format!(
                        "{} when it gets {}; return an error instead",
                        found.text,
                        answer.about()
                    );
                    self.fault("crashes_on_bad_answer", text, found, tool, input);
                }
                Some(_) => {}
                None if answer.is_outage() => outages.note(answer, outcome),
                None => {}
            }
        }
        let found = outages.findings();
        self.findings
            .extend(found.into_iter().map(|finding| finding.of(tool).with_input(input)));
        Some(reports)
    }

    /// A warning in the place of a failure that isn't the input's.
    fn fault(&mut self, code: &'static str, text: String, found: Finding, tool: &str, input: &serde_json::Value) {
        let warning = Finding {
            printed: found.printed,
            ..Finding::warning(code, text)
        };
        self.findings.push(warning.of(tool).with_input(input));
    }
}

/// What a tool made of servers that are down. `unavailable` is what the host can use: it retries such calls where that is safe.
#[derive(Default)]
struct Outages {
    ok: Vec<&'static str>,
    invalid_input: Vec<&'static str>,
    failed: Vec<&'static str>,
}

impl Outages {
    fn note(&mut self, answer: Answer, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok.push(answer.about()),
            Outcome::InvalidInput => self.invalid_input.push(answer.about()),
            Outcome::Failed => self.failed.push(answer.about()),
            _ => {}
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let cases = [
            (
                &self.ok,
                "ignores_outage",
                "it succeeds, so the model takes what it says for the server's answer; check the status and return `unavailable`",
            ),
            (
                &self.invalid_input,
                "blames_input",
                "it answers `invalid-input`, so the model changes an input that wasn't wrong; return `unavailable`",
            ),
            (
                &self.failed,
                "outage_is_failed",
                "it answers `failed`, so no host tries again; return `unavailable`",
            ),
        ];
        cases
            .into_iter()
            .filter(|(answers, ..)| !answers.is_empty())
            .map(|(answers, code, text)| {
                Finding::warning(
                    code,
                    format!("when the server is down ({}), {text}", answers.join(", ")),
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_makes_of_outages_is_one_finding_for_each_kind() {
        let mut outages = Outages::default();
        outages.note(Answer::InternalError, Outcome::Ok);
        outages.note(Answer::Unavailable, Outcome::Unavailable);
        assert_eq!(codes(&outages), ["ignores_outage"]);
        outages.note(Answer::Unavailable, Outcome::InvalidInput);
        outages.note(Answer::InternalError, Outcome::Failed);
        outages.note(Answer::Nothing, Outcome::Failed);
        assert_eq!(codes(&outages), ["ignores_outage", "blames_input", "outage_is_failed"]);
        let failed = outages.findings().pop();
        assert!(failed.is_some_and(|finding| finding.text.contains("(500, no answer)")));
    }

    fn codes(outages: &Outages) -> Vec<&'static str> {
        outages.findings().iter().map(|finding| finding.code).collect()
    }
}
