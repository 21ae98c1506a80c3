//! Clocks and random numbers: those of the host, or some that are the same in every call.

pub(super) mod deterministic;
