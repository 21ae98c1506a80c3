//! The API's own headers.

/// Request: the key, as the vendor documents it for plain HTTP.
pub(crate) const API_KEY: &str = "x-api-key";
/// Request: the key after [`BEARER`], as the vendor's newer SDKs send it.
pub(crate) const AUTHORIZATION: &str = "authorization";
/// The scheme of [`AUTHORIZATION`], with the space that separates it from the key.
pub(crate) const BEARER: &str = "Bearer ";
/// Request: the API version that the client uses.
pub(crate) const VERSION: &str = "anthropic-version";
/// Request: what it uses of features that are in beta.
pub(crate) const BETA: &str = "anthropic-beta";
/// The beta of tools that change in the middle of a conversation, by name and by definition.
pub(crate) const INLINE_TOOLS: &str = "inline-tools-2026-09-15";
/// Response: the id of the request, for the vendor's support.
pub(crate) const REQUEST_ID: &str = "request-id";

/// The version of October 2026: refuses sampling parameters on every model.
pub(crate) const VERSION_2026_10_21: &str = "2026-10-21";
/// The version before it, which older SDKs and many gateways still use.
pub(crate) const VERSION_2023_06_01: &str = "2023-06-01";
/// Every version that the API accepts, the newest first.
pub(crate) const VERSIONS: [&str; 3] = [VERSION_2026_10_21, VERSION_2023_06_01, "2023-01-01"];
