//! Typed tools: every ordinary function that a component exports, called with the engine's dynamic values.
//!
//! A function's types are read once, when the component is loaded, into a [`Shape`](shape::Shape). The schema that the model
//! sees and both conversions follow that tree.

mod bounds;
mod docs;
mod errors;
mod from_value;
mod function;
mod functions;
mod held;
mod named;
mod names;
mod schema;
mod shape;
mod signature;
#[cfg(test)]
mod tests;
mod to_value;
mod toolchain;
mod wit;

pub(in crate::sandbox) use self::docs::Docs;
pub use self::docs::{DOCS_SECTION, DOCS_VERSION};
pub(in crate::sandbox) use self::function::{Function, NotConverted};
pub use self::functions::UnusableExport;
pub(in crate::sandbox) use self::functions::{Typed, exports_functions, toolchain_exports};
pub(crate) use self::schema::decimal_patterns;
pub use self::wit::WitText;
pub(crate) use self::wit::docs_of_comment;
