//! The usage of an answer, which each server reports elsewhere, more than once or not at all.

use crate::chat_api;
use crate::events::Usage;
use crate::model::Progress;
use crate::model::estimate::are_counts;

/// The usage as known so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KnownUsage {
    prompt: u64,
    cached: u64,
    completion: Option<u64>,
    total: u64,
    /// Whether there was a report that can't be true.
    is_doubtful: bool,
}

impl KnownUsage {
    /// Merges reported figures. They are cumulative, so the larger of two is right, whichever comes last.
    pub(super) fn update(&mut self, reported: &chat_api::Usage) {
        if !are_counts(reported.largest_figure()) {
            self.is_doubtful = true;
            return;
        }
        self.prompt = self.prompt.max(reported.prompt_tokens.unwrap_or(0));
        self.cached = self.cached.max(reported.cached_tokens.unwrap_or(0));
        self.completion = self.completion.max(reported.completion_tokens);
        self.total = self.total.max(reported.total_tokens.unwrap_or(0));
    }

    pub(super) fn usage(&self) -> Usage {
        let cached = self.cached.min(self.prompt);
        Usage {
            input_tokens: self.prompt - cached,
            cache_read_input_tokens: cached,
            output_tokens: self.completion.unwrap_or(0).max(self.beyond_the_prompt()),
            ..Usage::default()
        }
    }

    /// Reports the figures so far, if there are any.
    pub(super) fn report(&self, progress: &Progress<'_>) {
        if self.prompt > 0 {
            progress.usage_so_far(self.usage());
        }
    }

    /// Reports the figures of a complete answer.
    pub(super) fn report_final(&self, progress: &Progress<'_>) {
        let has_output = self.completion.is_some() || self.beyond_the_prompt() > 0;
        if self.prompt > 0 && has_output && !self.is_doubtful {
            progress.final_usage(self.usage());
        } else {
            self.report(progress);
        }
    }

    /// What the total adds to the prompt. Vendors that don't count reasoning as part of the completion bill it all the same.
    fn beyond_the_prompt(&self) -> u64 {
        match self.prompt {
            0 => 0,
            prompt => self.total.saturating_sub(prompt),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::json_text::Json;
    use crate::model::Measured;

    fn known(reports: &[Value]) -> KnownUsage {
        let mut known = KnownUsage::default();
        for report in reports {
            let report = report.to_string();
            known.update(&chat_api::Usage::read(Json::parse(&report).unwrap()).unwrap());
        }
        known
    }

    #[test]
    fn figures_are_read_as_each_vendor_means_them() {
        for (reports, (input, cached, output)) in [
            (
                vec![json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})],
                (10, 0, 5),
            ),
            // The prompt includes what was read from the cache.
            (
                vec![
                    json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}),
                ],
                (2, 8, 5),
            ),
            (
                vec![json!({"prompt_tokens": 10, "prompt_cache_hit_tokens": 99})],
                (0, 10, 0),
            ),
            // Reasoning beside the completion.
            (
                vec![json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40})],
                (10, 0, 30),
            ),
            // Reasoning within it.
            (
                vec![json!({"prompt_tokens": 10, "completion_tokens": 25, "total_tokens": 35,
                    "completion_tokens_details": {"reasoning_tokens": 20}})],
                (10, 0, 25),
            ),
            // In every chunk, and once more at the end.
            (
                vec![
                    json!({"prompt_tokens": 10, "completion_tokens": 1}),
                    json!({"prompt_tokens": 10, "completion_tokens": 7}),
                    json!({"prompt_tokens": 0, "completion_tokens": 0}),
                ],
                (10, 0, 7),
            ),
            (vec![json!({"prompt_tokens": "10"})], (0, 0, 0)),
            // No counts.
            (
                vec![
                    json!({"prompt_tokens": 1_000_000_000_000_000_u64, "completion_tokens": 20, "total_tokens": u64::MAX}),
                ],
                (0, 0, 0),
            ),
        ] {
            let usage = known(&reports).usage();
            assert_eq!(
                (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens),
                (input, cached, output),
                "{reports:?}"
            );
        }
    }

    /// Whether these reports are known to be all, or a part.
    fn measured(reports: &[Value]) -> (bool, bool) {
        let progress = Progress::new(|_| ());
        progress.begin();
        known(reports).report_final(&progress);
        let measured = progress.measured();
        (
            matches!(measured, Measured::Complete(_)),
            matches!(measured, Measured::Partial(_)),
        )
    }

    #[tokio::test]
    async fn incomplete_figures_are_no_final_ones() {
        for (report, is_final, is_partial) in [
            (json!({"prompt_tokens": 1, "completion_tokens": 0}), true, false),
            (json!({"prompt_tokens": 1, "total_tokens": 3}), true, false),
            (json!({"prompt_tokens": 1}), false, true),
            (json!({"completion_tokens": 1}), false, false),
            (json!({}), false, false),
            // No counts.
            (
                json!({"prompt_tokens": 1, "completion_tokens": 20_000_001}),
                false,
                false,
            ),
            (
                json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": u64::MAX}),
                false,
                false,
            ),
            (
                json!({"prompt_tokens": 1, "completion_tokens": 1, "prompt_cache_hit_tokens": 20_000_001}),
                false,
                false,
            ),
        ] {
            let (is_complete, is_part) = measured(std::slice::from_ref(&report));
            assert_eq!((is_complete, is_part), (is_final, is_partial), "{report}");
        }
        // Nor do earlier ones count as all.
        let running = json!({"prompt_tokens": 1, "completion_tokens": 1});
        let doubtful = json!({"prompt_tokens": 1, "completion_tokens": 20_000_001});
        assert_eq!(measured(&[running, doubtful]), (false, true));
    }
}
