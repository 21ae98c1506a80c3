//! The tool `calculate`: arithmetic that a language model can rely on.
//!
//! Whole numbers and decimals are exact, however long; only functions such as `sin` fall back to floating point. The
//! input is parsed by a grammar ([`grammar`], on `winnow`) and evaluated while parsing; nothing is run as code.
//!
//! A model can send anything, so every cost is bounded in advance: a scan of the text limits length, nesting and chained
//! powers, and a [`number::Meter`] limits the size of each number and the total work.

pub mod functions;
pub mod grammar;
pub mod inexact;
pub mod number;

#[cfg(target_family = "wasm")]
mod component;

/// Computes `expression`. The error is a message for the author of the expression.
pub fn calculate(expression: &str) -> Result<String, String> {
    grammar::evaluate(expression).map(|number| number.to_string())
}
