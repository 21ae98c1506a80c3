//! What all HTTP providers share: one client with one policy, bounded bodies, parsed response headers, and errors that are
//! safe to show. This module knows no vendor's paths, bodies or error types.

mod body;
mod certificate;
mod client;
mod error;
mod failure;
mod headers;
mod proxy;
mod scrub;
mod upload;

pub(super) use self::body::Content;
pub use self::client::ClientError;
pub(super) use self::client::{HttpClient, HttpSettings, Refusal, Reply};
pub(super) use self::error::display_url;
pub use self::proxy::{ProxySetting, ProxyUrl};
