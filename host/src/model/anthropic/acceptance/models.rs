//! What differs between models.

/// What one model accepts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The values of `thinking.type` that it accepts.
    pub(super) thinking: &'static [&'static str],
    /// Whether `tool_choice` can force a call.
    pub(super) forced_choice: bool,
    /// Whether the last message can be the assistant's.
    pub(super) prefill: bool,
    /// Whether sampling parameters other than the defaults are accepted at version 2023-06-01.
    pub(super) sampling: bool,
    pub(super) effort: bool,
    /// Whether `messages` can hold messages of the role `system`.
    pub(super) system_messages: bool,
    /// Whether `speed` is accepted.
    pub(super) speed: bool,
    pub(super) max_tokens: u64,
    /// The most characters in the name of a tool.
    pub(super) tool_name: usize,
}

/// Models that this table doesn't know accept everything but long names of tools.
const UNKNOWN: Rules = Rules {
    thinking: &["adaptive", "enabled", "disabled", "between_tools"],
    forced_choice: true,
    prefill: true,
    sampling: true,
    effort: true,
    system_messages: true,
    speed: true,
    max_tokens: u64::MAX,
    tool_name: 64,
};

const NEWEST: Rules = Rules {
    thinking: &["adaptive"],
    forced_choice: false,
    prefill: false,
    sampling: false,
    effort: true,
    system_messages: true,
    speed: false,
    max_tokens: 128_000,
    tool_name: 128,
};

/// The rules of a model, by its id without a date.
pub(super) fn rules(model: &str) -> Rules {
    let undated = model.rsplit_once('-').filter(|(_, date)| date.len() == 8);
    match undated.map_or(model, |(name, _)| name) {
        "claude-fable-5-2" | "claude-mythos-5-2" | "claude-fable-5-1" | "claude-mythos-5-1" => NEWEST,
        "claude-fable-5" | "claude-mythos-5" => Rules {
            forced_choice: true,
            ..NEWEST
        },
        "claude-opus-5-5" => Rules { speed: true, ..NEWEST },
        "claude-opus-5" | "claude-opus-4-8" | "claude-opus-4-7" => Rules {
            thinking: &["adaptive", "disabled"],
            forced_choice: true,
            ..NEWEST
        },
        "claude-opus-4-6" | "claude-sonnet-4-6" => Rules {
            thinking: &["adaptive", "enabled", "disabled"],
            forced_choice: true,
            sampling: true,
            ..NEWEST
        },
        "claude-opus-4-5" | "claude-sonnet-4-5" => Rules {
            thinking: &["enabled", "disabled"],
            forced_choice: true,
            prefill: true,
            sampling: true,
            ..NEWEST
        },
        "claude-sonnet-5-5" => Rules {
            thinking: &["adaptive", "between_tools"],
            ..NEWEST
        },
        "claude-sonnet-5" => Rules {
            thinking: &["adaptive", "disabled"],
            forced_choice: true,
            system_messages: false,
            ..NEWEST
        },
        "claude-haiku-5-5" => Rules {
            thinking: &["adaptive", "disabled"],
            forced_choice: true,
            ..NEWEST
        },
        "claude-haiku-4-5" => Rules {
            thinking: &["enabled", "disabled"],
            forced_choice: true,
            prefill: true,
            sampling: true,
            effort: false,
            max_tokens: 64_000,
            ..NEWEST
        },
        _ => UNKNOWN,
    }
}
