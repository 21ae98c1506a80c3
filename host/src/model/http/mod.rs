//! What every provider that speaks HTTP shares: one client with one policy, bounded bodies, the headers of an answer, and
//! errors that are safe to show. It knows no vendor's paths, bodies or error types.

mod body;
mod client;
mod error;
mod headers;
mod scrub;

pub use self::client::ClientError;
pub(super) use self::client::{HttpClient, HttpSettings, Refusal, Reply};
pub(super) use self::error::display_url;
