//! Clocks and random numbers: the host's own, or deterministic ones.

pub(super) mod deterministic;
