//! Outgoing HTTP of a guest: what was granted, whom it may reach, and the one function that sends.

mod address;
mod attach;
mod egress;
mod grant;
mod mask;

pub use attach::{AttachError, AttachedHeader, SecretError, Secrets};
pub(super) use egress::Egress;
pub use egress::HttpUse;
pub use grant::{GrantError, HttpGrant, Scheme};
pub(super) use mask::Masker;
