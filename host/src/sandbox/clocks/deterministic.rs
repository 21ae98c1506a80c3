//! Clocks and random numbers that are the same in every call, for plugins whose results must be reproducible. Two calls with
//! the same input then differ only in the responses of servers, and in their timing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// 2020-01-01T00:00:00Z, in seconds since 1970.
const START: Duration = Duration::from_secs(1_577_836_800);
/// How far a clock advances with each reading. A clock that didn't advance would hang loops that wait for it.
const STEP: Duration = Duration::from_millis(1);
const SEED: u64 = 0;

/// Replaces all five sources of nondeterminism: two clocks, two random generators and the seed for hash tables.
pub(in crate::sandbox) fn apply(wasi: &mut WasiCtxBuilder) {
    wasi.wall_clock(Ticks::default())
        .monotonic_clock(Ticks::default())
        .secure_random(ChaCha12Rng::seed_from_u64(SEED))
        .insecure_random(ChaCha12Rng::seed_from_u64(SEED))
        .insecure_random_seed(SEED.into());
}

/// A clock that advances when it is read.
#[derive(Default)]
struct Ticks(AtomicU64);

impl Ticks {
    fn read(&self) -> Duration {
        let readings = self.0.fetch_add(1, Ordering::Relaxed);
        STEP.saturating_mul(u32::try_from(readings).unwrap_or(u32::MAX))
    }
}

impl HostWallClock for Ticks {
    fn resolution(&self) -> Duration {
        STEP
    }

    fn now(&self) -> Duration {
        START + self.read()
    }
}

impl HostMonotonicClock for Ticks {
    fn resolution(&self) -> u64 {
        nanoseconds(STEP)
    }

    fn now(&self) -> u64 {
        nanoseconds(self.read())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
