//! Outgoing HTTP of a guest: what was granted, whom it may reach, and the one function that sends.

mod address;
mod egress;
mod grant;

pub(super) use egress::Egress;
pub use egress::HttpUse;
pub use grant::{GrantError, HttpGrant, Scheme};
