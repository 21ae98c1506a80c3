//! What every provider that speaks HTTP shares.

pub(super) mod body;
pub(super) mod headers;
pub(super) mod scrub;
