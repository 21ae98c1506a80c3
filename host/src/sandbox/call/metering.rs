//! What stops a guest that computes. It is compiled into the guest's code, as a check in every loop and function.

use std::time::Duration;

use wasmtime::{Engine, EngineWeak, Store, UpdateDeadline};

use crate::sandbox::limits::Limits;

/// Units of fuel between two yields to the executor. A spinning guest is seen about this often, so its deadline is
/// overshot by little even where many spin on few threads.
const YIELD_INTERVAL: u64 = 100_000;

/// Between two epochs, at whose beginning every guest yields.
const TICK: Duration = Duration::from_millis(1);

/// One of two ways. Both together would cost most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metering {
    /// Counts what is executed. It is a limit, the same on every machine, and the guest yields every 100,000 units.
    #[default]
    Fuel,
    /// Looks at a clock. Code that computes for long is somewhat faster, nothing bounds its work but the time, and it yields
    /// once a millisecond: for plugins that an operator trusts.
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

    /// Makes the code of an engine one that can be stopped.
    pub(in crate::sandbox) fn configure(self, config: &mut wasmtime::Config) {
        match self {
            Self::Fuel => config.consume_fuel(true),
            Self::Epoch => config.epoch_interruption(true),
        };
    }

    /// Makes the guest of a store one that yields and ends.
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

    /// Fuel that was spent; none is counted by a clock.
    pub(super) fn spent<T>(self, store: &Store<T>, limits: &Limits) -> u64 {
        match self {
            Self::Fuel => limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0)),
            Self::Epoch => 0,
        }
    }
}

/// Lets time pass for these engines, for as long as one of them is used. On a thread of its own: guests keep all others busy.
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
