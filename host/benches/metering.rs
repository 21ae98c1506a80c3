//! The cost of interrupting a guest that computes, as ratios to uninterruptible code. These figures decide which checks are
//! compiled into every guest.
//!
//! Uses bare wasmtime, so that nothing else differs: fuel with yields as in the product, epochs with a tick every millisecond,
//! or both. Three kinds of work: a hash (loops over arrays), Fibonacci numbers (calls) and a JSON parser (branches). Rounds
//! are interleaved, because machines are shared.
//!
//! `cargo bench --bench metering`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_types
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::common::bare::{Bare, Instances, Metering};
use self::common::{IS_BENCH, Limits, Sample, runtime};

const ROUNDS: usize = if IS_BENCH { 41 } else { 1 };
const TICK: Duration = Duration::from_millis(1);
const WORK: [(&str, &str); 3] = [
    ("sha256 of 1 MiB", r#"{"what":"sha256","size":1048576}"#),
    ("fib(27)", r#"{"what":"fib","size":27}"#),
    ("parse of 200 KB of JSON", r#"{"what":"parse","size":2000}"#),
];
const KINDS: [(&str, Metering); 4] = [
    ("none", metering(false, false)),
    ("fuel", metering(true, false)),
    ("epoch", metering(false, true)),
    ("both", metering(true, true)),
];
/// The default, fuel, may cost at most this many times the cost of epochs, as a geometric mean. It is worth more because it
/// also limits the work of a call.
const MAX_FUEL_PER_EPOCH: f64 = 1.25;

const fn metering(fuel: bool, epoch: bool) -> Metering {
    Metering { fuel, epoch }
}

fn main() {
    let mut limits = Limits::default();
    runtime().block_on(metered(&mut limits));
    limits.enforce();
}

async fn metered(limits: &mut Limits) {
    let engines = KINDS.map(|(_, metering)| Bare::new("faulty", Instances::Pooled, metering));
    let stop = Arc::new(AtomicBool::new(false));
    let ticker = std::thread::spawn({
        let stop = stop.clone();
        let engines: Vec<_> = engines.iter().map(|bare| bare.engine().clone()).collect();
        move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                engines.iter().for_each(wasmtime::Engine::increment_epoch);
            }
        }
    });
    println!("{:<28} {:>9} {:>8} {:>8} {:>8}", "", "none", "fuel", "epoch", "both");
    // Products of ratios, which become geometric means below.
    let mut products = [1.0; KINDS.len()];
    for (name, input) in WORK {
        let mut samples: [Sample; KINDS.len()] = Default::default();
        for _ in 0..ROUNDS {
            for (bare, sample) in engines.iter().zip(&mut samples) {
                let started = Instant::now();
                bare.call("work", input).await;
                sample.push(started.elapsed());
            }
        }
        let medians = samples.map(|mut sample| sample.percentile(50).as_secs_f64());
        let ratios = medians.map(|median| median / medians[0]);
        println!(
            "{name:<28} {:>6.2} ms {:>8.2} {:>8.2} {:>8.2}",
            medians[0] * 1e3,
            ratios[1],
            ratios[2],
            ratios[3]
        );
        for (product, ratio) in products.iter_mut().zip(ratios) {
            *product *= ratio;
        }
    }
    stop.store(true, Ordering::Relaxed);
    ticker.join().unwrap();
    let means = products.map(|product: f64| product.powf(1.0 / WORK.len() as f64));
    println!(
        "{:<28} {:>9} {:>8.2} {:>8.2} {:>8.2}",
        "geometric mean", "", means[1], means[2], means[3]
    );
    limits.at_most("fuel, in costs of the epoch", means[1] / means[2], MAX_FUEL_PER_EPOCH);
}
