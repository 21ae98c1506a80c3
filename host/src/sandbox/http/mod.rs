//! Outgoing HTTP of a guest: its grants, the addresses it can reach, its budgets, and the one function that sends.

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
mod guest_body;
mod header_names;
mod held;
mod linked;
mod lookup;
mod mask;
mod prepared;
mod refusals;
mod spellings;
mod upload;
mod upstream;
mod wire;

pub use attach::{AttachError, AttachedHeader, SecretError, Secrets};
pub(super) use egress::Egress;
pub use egress::HttpUse;
pub(super) use exchange::MAX_ATTEMPTS;
pub use grant::{GrantError, HttpGrant, Scheme};
pub(super) use held::{FIELD_BYTES, max_held};
pub(super) use linked::{HttpCtx, HttpView, add_to_linker};
pub(super) use lookup::work as lookups;
pub(super) use mask::Masker;
pub(super) use prepared::{HttpSetup, Network};
pub(crate) use upstream::Upstream;
