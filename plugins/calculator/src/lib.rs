//! The tool `calculate`: arithmetic that a language model can rely on.
//!
//! Whole numbers and decimals are exact, however long; only functions such as `sin` fall back to floating point. The
//! input is parsed by a grammar ([`grammar`], on `winnow`) and computed while it is parsed; nothing is run as code.
//!
//! A model may send anything, so every cost is bounded before it is paid: length, nesting and chained powers by a scan
//! of the text, the size of each number and the work of the whole by a [`number::Meter`].

pub mod functions;
pub mod grammar;
pub mod inexact;
pub mod number;

#[cfg(target_family = "wasm")]
mod component;

/// Computes `expression`. The error is a sentence for whoever wrote the expression.
pub fn calculate(expression: &str) -> Result<String, String> {
    grammar::evaluate(expression).map(|number| number.to_string())
}
