//! What all HTTP providers share: one client with one policy, bounded bodies, parsed response headers, and errors that are
//! safe to show. This module knows no vendor's paths, bodies or error types.

mod body;
mod client;
mod error;
mod headers;
mod scrub;

pub use self::client::ClientError;
pub(super) use self::client::{HttpClient, HttpSettings, Refusal, Reply};
pub(super) use self::error::display_url;
