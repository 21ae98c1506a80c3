//! What requests are expected to take, learned from what earlier ones took.

use super::{RequestSize, TokensUsed};

/// How much the newest answer counts.
const NEWEST: f64 = 0.25;

/// The parts of their sizes that requests have taken, as moving averages. All of it before the first answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpectedUsage {
    prompt: f64,
    uncached: f64,
    output: f64,
    is_known: bool,
}

impl Default for ExpectedUsage {
    fn default() -> Self {
        Self {
            prompt: 1.0,
            uncached: 1.0,
            output: 1.0,
            is_known: false,
        }
    }
}

impl ExpectedUsage {
    pub(super) fn of(&self, size: RequestSize) -> TokensUsed {
        let part = |most: u64, ratio: f64| (most as f64 * ratio).round() as u64;
        TokensUsed {
            prompt: part(size.prompt_tokens, self.prompt),
            uncached: part(size.prompt_tokens, self.uncached),
            output: part(size.output_tokens, self.output),
        }
    }

    pub(super) fn learn(&mut self, size: RequestSize, used: TokensUsed) {
        let newest = if self.is_known { NEWEST } else { 1.0 };
        self.is_known = true;
        for (ratio, most, used) in [
            (&mut self.prompt, size.prompt_tokens, used.prompt),
            (&mut self.uncached, size.prompt_tokens, used.uncached),
            (&mut self.output, size.output_tokens, used.output),
        ] {
            let observed = used as f64 / most.max(1) as f64;
            *ratio += (observed - *ratio) * newest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_replaces_the_guess_and_later_ones_adjust_it() {
        let size = RequestSize {
            prompt_tokens: 1_000,
            output_tokens: 100,
        };
        let used = |prompt, uncached, output| TokensUsed {
            prompt,
            uncached,
            output,
        };
        let mut expected = ExpectedUsage::default();
        assert_eq!(expected.of(size), used(1_000, 1_000, 100));
        expected.learn(size, used(400, 40, 10));
        assert_eq!(expected.of(size), used(400, 40, 10));
        expected.learn(size, used(800, 40, 50));
        assert_eq!(expected.of(size), used(500, 40, 20));
    }
}
