//! The API's own headers.

/// Request: the key.
pub(crate) const API_KEY: &str = "x-api-key";
/// Request: the API version that the client uses.
pub(crate) const VERSION: &str = "anthropic-version";
/// Response: the id of the request, for the vendor's support.
pub(crate) const REQUEST_ID: &str = "request-id";

/// The version that this host uses.
pub(crate) const CURRENT_VERSION: &str = "2023-06-01";
/// Every version that the API accepts.
pub(crate) const VERSIONS: [&str; 2] = [CURRENT_VERSION, "2023-01-01"];
