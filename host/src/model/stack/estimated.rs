//! The size of a request before the API has seen it.

use std::sync::OnceLock;
use std::time::Duration;

use super::super::{
    DeferredTools, ModelRequest, PreparedRequest, Price, PromptTokens, Provider, ToolDefinition, estimate,
};
use crate::ledger::BudgetExceeded;
use crate::messages_api::CacheTtl;
use crate::money::NanoUsd;
use crate::panics;
use crate::resilience::RequestSize;

/// How long a count may take. Then the estimate stays.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// A request with its token estimate, computed once for all attempts.
pub(super) struct EstimatedRequest<'a> {
    pub(super) request: PreparedRequest<'a>,
    pub(super) prompt: PromptTokens,
    /// What the API has counted, if it was asked: with a margin, and only if that is less than the bound.
    counted_tokens: OnceLock<Option<u64>>,
}

impl<'a> EstimatedRequest<'a> {
    pub(super) fn new(request: PreparedRequest<'a>) -> Self {
        Self {
            prompt: PromptTokens::of(&request),
            counted_tokens: OnceLock::new(),
            request,
        }
    }

    pub(super) fn size(&self) -> RequestSize {
        RequestSize {
            prompt_tokens: self.prompt.likely,
            output_tokens: u64::from(self.request.request.max_tokens),
        }
    }

    /// The maximum cost of an attempt.
    pub(super) fn worst_case(&self, price: &Price, cache_writes: Option<CacheTtl>) -> NanoUsd {
        self.worst_case_of(
            self.prompt_tokens(),
            self.request.request.max_tokens,
            price,
            cache_writes,
        )
    }

    fn prompt_tokens(&self) -> u64 {
        let counted = self.counted_tokens.get().copied().flatten();
        counted.unwrap_or(self.prompt.most)
    }

    /// The refusal with the prompt's share of what was asked for, and what most of it is.
    pub(super) fn explained(
        &self,
        refused: BudgetExceeded,
        price: &Price,
        cache_writes: Option<CacheTtl>,
    ) -> BudgetExceeded {
        let prompt = self.worst_case_of(self.prompt_tokens(), 0, price, cache_writes);
        BudgetExceeded {
            prompt,
            is_mostly_carried: self.carried_bytes().saturating_mul(2) > self.prompt.most,
            ..refused
        }
    }

    /// Bytes that every request carries and that the model reads: the system prompt and the definitions of tools.
    fn carried_bytes(&self) -> u64 {
        let ModelRequest { system, tools, .. } = self.request.request;
        let definitions: u64 = tools.list().iter().map(ToolDefinition::bytes).sum();
        let DeferredTools {
            bytes, findable_bytes, ..
        } = self.request.deferred;
        let read = definitions.saturating_sub(bytes.saturating_sub(findable_bytes));
        read.saturating_add(self.request.outdated_bytes)
            .saturating_add(system.len() as u64)
    }

    /// A prompt that is too short for the model's cache counts as cached when it is read again, which is little money.
    fn worst_case_of(
        &self,
        prompt_tokens: u64,
        max_tokens: u32,
        price: &Price,
        cache_writes: Option<CacheTtl>,
    ) -> NanoUsd {
        let searches = self.request.deferred.searches;
        price.worst_case_with_searches(prompt_tokens, searches, u64::from(max_tokens), cache_writes)
    }

    /// Whether a request that was refused could be admitted if its prompt were short enough.
    pub(super) fn could_fit(&self, refused: &BudgetExceeded, price: &Price, cache_writes: Option<CacheTtl>) -> bool {
        let others = refused.spent.saturating_add(refused.reserved);
        others.saturating_add(self.worst_case_of(0, self.request.request.max_tokens, price, cache_writes))
            <= refused.limit
    }

    /// Has the API count the prompt, once. Returns whether that lowers the maximum cost.
    pub(super) async fn count(&self, provider: &dyn Provider) -> bool {
        if self.counted_tokens.get().is_some() {
            return false;
        }
        // A provider of the program may panic.
        let counting = panics::catch_async(|| provider.count_tokens(&self.request));
        let counted = tokio::time::timeout(COUNT_TIMEOUT, counting).await;
        let counted = counted.ok().and_then(Result::ok).flatten();
        let counted = counted.map(|counted| estimate::with_count_margin(counted, self.request.deferred));
        let less = counted.filter(|counted| *counted < self.prompt.most);
        self.counted_tokens.set(less).is_ok() && less.is_some()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::ToolDefinitions;

    #[test]
    fn outdated_definitions_are_carried_as_well() {
        let tools = ToolDefinitions::from_iter([ToolDefinition {
            name: "t".to_owned(),
            description: "d".to_owned(),
            input_schema: "{}".into(),
            always_load: false,
        }]);
        let request = ModelRequest {
            system: "be brief",
            messages: &[],
            tools: &tools,
            max_tokens: 16,
            temperature: None,
            schema: None,
            tools_since: &[],
        };
        let prepared = PreparedRequest {
            outdated_bytes: 100,
            ..PreparedRequest::new(&request, Bytes::new())
        };
        assert_eq!(EstimatedRequest::new(prepared).carried_bytes(), 8 + 4 + 100);
    }
}
