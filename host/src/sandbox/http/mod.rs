//! Outgoing HTTP of a guest: what was granted, whom it may reach, and the one function that sends.

mod address;
mod attach;
mod bodies;
mod budget;
mod destination;
mod echo;
mod egress;
mod exchange;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod grant;
mod lookup;
mod mask;
mod parts;
mod wire;

pub use attach::{AttachError, AttachedHeader, SecretError, Secrets};
pub use egress::HttpUse;
pub(super) use egress::{Egress, Network};
pub(super) use exchange::MAX_ATTEMPTS;
pub use grant::{GrantError, HttpGrant, Scheme};
pub(super) use lookup::work as lookups;
pub(super) use mask::Masker;
pub(super) use parts::{add_to_linker, most_held};
