//! The least and the most that each value may be, once: the schema has its ranges from here, and so has the check of
//! settings that no schema has seen.

use std::fmt::Display;
use std::time::Duration;

use super::problem::Wrong;
use super::size::{ByteSize, GIB, KIB, MIB};
use crate::sandbox::LONGEST;

/// What a value may be, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds<T> {
    pub(super) least: T,
    pub(super) most: T,
}

pub(super) const fn between<T: Copy>(least: T, most: T) -> Bounds<T> {
    Bounds { least, most }
}

const fn sizes(least: u64, most: u64) -> Bounds<ByteSize> {
    between(ByteSize(least), ByteSize(most))
}

impl<T: Copy + PartialOrd + Display> Bounds<T> {
    /// What is wrong with a value out of bounds; no number at all is out of all bounds.
    pub(super) fn wrong(self, value: T) -> Option<Wrong> {
        let Self { least, most } = self;
        let fits = (least..=most).contains(&value);
        (!fits).then(|| Wrong::new(format!("must be between {least} and {most}, found {value}")))
    }
}

/// What is wrong with a duration out of bounds, which are the same for all.
pub(super) fn wrong_duration(value: Duration) -> Option<Wrong> {
    const DAY: u64 = 24 * 3600;
    let fits = !value.is_zero() && value <= LONGEST;
    let days = LONGEST.as_secs() / DAY;
    (!fits).then(|| {
        Wrong::new(format!(
            "must be longer than zero and at most {days} days, found {value:?}"
        ))
    })
}

pub(super) const MAX_TOKENS: Bounds<u32> = between(1, 10_000_000);
pub(super) const TEMPERATURE: Bounds<f64> = between(0.0, 1.0);

pub(super) const AGENT_NAME_CHARS: usize = 64;
pub(super) const MAX_ITERATIONS: Bounds<u32> = between(1, 10_000);
pub(super) const MAX_TOOL_CALLS: Bounds<u32> = between(1, 100_000);
pub(super) const PARALLEL_TOOL_CALLS: Bounds<u32> = between(1, 10_000);
pub(super) const MAX_RESULT_BYTES: Bounds<ByteSize> = sizes(1, GIB);

pub(super) const MAX_ATTEMPTS: Bounds<u32> = between(1, 100);
pub(super) const MULTIPLIER: Bounds<f64> = between(1.0, 100.0);

/// Of a breaker, in either direction.
pub(super) const THRESHOLD: Bounds<u32> = between(1, 1_000_000);

pub(super) const STACK: Bounds<ByteSize> = sizes(64 * KIB, 16 * MIB);
pub(super) const HOST_CONCURRENCY: Bounds<u32> = between(1, 10_000);

pub(super) const HOST_MEMORY: Bounds<ByteSize> = sizes(MIB, 1024 * 1024 * GIB);

pub(super) const ERROR_RATE: Bounds<f64> = between(0.0, 1.0);

pub(super) const CACHE_BYTES: Bounds<ByteSize> = sizes(1, u64::MAX);
