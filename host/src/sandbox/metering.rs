//! Stops a guest that computes. The compiler adds a check to every loop and function of the guest.

use std::time::Duration;

use wasmtime::{Engine, EngineWeak, Store, UpdateDeadline};

use super::limits::Limits;

/// Units of fuel between two yields to the executor. A deadline is checked at each yield, so a guest that spins overshoots it
/// only slightly, even if many guests spin on few threads.
const YIELD_INTERVAL: u64 = 100_000;

/// Duration of an epoch. Every guest yields at the beginning of each.
const TICK: Duration = Duration::from_millis(1);

/// How a guest is interrupted: by fuel or by epochs. Both together would slow it down most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Metering {
    /// Counts executed instructions. The limit is the same on every machine, and the guest yields every 100,000 units.
    #[default]
    Fuel,
    /// Checks a clock, and the guest yields every millisecond. Long computations run somewhat faster, but only the timeout
    /// limits them: for plugins that the operator trusts.
    Epoch,
}

impl Metering {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fuel => "fuel",
            Self::Epoch => "epoch",
        }
    }

    pub(in crate::sandbox) fn parse(text: &str) -> Option<Self> {
        [Self::Fuel, Self::Epoch]
            .into_iter()
            .find(|metering| metering.as_str() == text)
    }

    /// Makes the engine compile code that can be interrupted.
    pub(in crate::sandbox) fn configure(self, config: &mut wasmtime::Config) {
        match self {
            Self::Fuel => config.consume_fuel(true),
            Self::Epoch => config.epoch_interruption(true),
        };
    }

    /// Makes the guest of a store yield, and stop at its limit.
    pub(super) fn apply<T>(self, store: &mut Store<T>, limits: &Limits) -> wasmtime::Result<()> {
        match self {
            Self::Fuel => {
                store.set_fuel(limits.fuel)?;
                store.fuel_async_yield_interval(Some(YIELD_INTERVAL))?;
            }
            Self::Epoch => {
                store.set_epoch_deadline(1);
                store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
            }
        }
        Ok(())
    }

    /// The fuel that was spent; 0 with [`Metering::Epoch`], which counts none.
    pub(super) fn spent<T>(self, store: &Store<T>, limits: &Limits) -> u64 {
        match self {
            Self::Fuel => limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0)),
            Self::Epoch => 0,
        }
    }
}

/// Increments the epoch of `engines` for as long as one of them is used. This takes a separate thread, because guests can keep
/// all others busy.
pub(in crate::sandbox) fn tick(engines: impl IntoIterator<Item = Engine>) -> std::io::Result<()> {
    let engines: Vec<EngineWeak> = engines.into_iter().map(|engine| engine.weak()).collect();
    let ticks = move || {
        loop {
            std::thread::sleep(TICK);
            let mut alive = engines.iter().filter_map(EngineWeak::upgrade).peekable();
            if alive.peek().is_none() {
                return;
            }
            alive.for_each(|engine| engine.increment_epoch());
        }
    };
    std::thread::Builder::new().name("epochs".to_owned()).spawn(ticks)?;
    Ok(())
}
