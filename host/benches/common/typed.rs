//! Typed tools beside the same tools written dynamically, over the whole dispatch path. Both are in one component.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use cofferdam::events::Outcome;
use cofferdam::sandbox::Limits as CallLimits;
use cofferdam::telemetry::{Emitter, EventBus};
use cofferdam::tools::{ComponentSource, PluginSettings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::dispatch::Dispatch;
use super::{IS_BENCH, Limits, Sample, micros};

const ROUNDS: usize = if IS_BENCH { 15 } else { 1 };
const POSITIONS: u32 = 1_000;
const BYTES: usize = 1024 * 1024;
/// The limits: ratios at p50, and how far one call may raise the resident memory, in sizes of its bytes.
const MAX_ADD_PER_DYNAMIC: f64 = 1.0;
const MAX_RECORDS_PER_DYNAMIC: f64 = 1.3;
const MAX_BYTES_PER_TEXT: f64 = 2.0;
const MAX_PEAK_PER_BYTES: f64 = 4.0;

struct Pair {
    dispatch: Dispatch,
    emitter: Emitter,
}

impl Pair {
    async fn new() -> Self {
        let bus = EventBus::new();
        // Base64 takes a third more than its bytes.
        let limits = CallLimits {
            input_bytes: 4 << 20,
            output_bytes: 4 << 20,
            ..CallLimits::default()
        };
        let source = ComponentSource::Path(component());
        let dispatch = Dispatch::with(&bus, "calculator", limits, |config| {
            let grants = config.plugins[0].grants.clone();
            config.plugins = vec![PluginSettings {
                grants,
                ..PluginSettings::new("pair", source)
            }];
        })
        .await;
        let emitter = dispatch.emitter("default");
        Self { dispatch, emitter }
    }

    async fn call(&self, tool: &str, input: &Value) {
        let cancel = CancellationToken::new();
        let called = self.dispatch.call(&self.emitter, tool, input.clone(), &cancel).await;
        assert_eq!(called, Outcome::Ok, "{tool}");
    }

    /// The medians of two tools with the same input, in microseconds. Their calls alternate.
    async fn compare(&self, tools: [&str; 2], input: &Value, calls: usize) -> [f64; 2] {
        let mut samples = [Sample::default(), Sample::default()];
        for _ in 0..ROUNDS * calls {
            for (tool, sample) in tools.iter().zip(&mut samples) {
                let started = Instant::now();
                self.call(tool, input).await;
                sample.push(started.elapsed());
            }
        }
        samples.map(|mut sample| micros(sample.percentile(50)))
    }
}

pub async fn compare(limits: &mut Limits) {
    let pair = Pair::new().await;
    let data = json!({ "data": base64(BYTES) });
    println!("typed tools, and the same written dynamically; p50 of the dispatch path");
    for (what, tools, input, calls, limit) in [
        (
            "add(s32, s32)",
            ["typed_add", "add"],
            json!({ "a": 20, "b": 22 }),
            500,
            MAX_ADD_PER_DYNAMIC,
        ),
        (
            "a record of 20 fields with 1,000 records",
            ["typed_sum", "sum"],
            json!({ "order": order() }),
            10,
            MAX_RECORDS_PER_DYNAMIC,
        ),
        (
            "1 MiB of list<u8>, beside the same text",
            ["typed_echo_bytes", "typed_echo_text"],
            data.clone(),
            5,
            MAX_BYTES_PER_TEXT,
        ),
    ] {
        let [typed, other] = pair.compare(tools, &input, if IS_BENCH { calls } else { 1 }).await;
        println!("  {what:<44} {typed:>9.1} µs {other:>9.1} µs {:>5.2}", typed / other);
        limits.at_most(what, typed / other, limit);
    }
    if let Some(peak) = peak_of(async || pair.call("typed_echo_bytes", &data).await).await {
        let ratio = peak as f64 / BYTES as f64;
        println!("  … resident memory rises by {ratio:.1} times the bytes, the copy of the input included");
        limits.at_most("peak of 1 MiB of list<u8>, in its size", ratio, MAX_PEAK_PER_BYTES);
    }
}

fn order() -> Value {
    let positions: Vec<Value> = (0..POSITIONS)
        .map(|number| {
            json!({ "article": number, "name": format!("Article {number}"), "count": number % 7, "price": f64::from(number) / 8.0 })
        })
        .collect();
    json!({
        "id": 4_711, "customer": "Ada Lovelace", "street": "St James's Square 12", "city": "London", "country": "UK",
        "phone": null, "email": "ada@example.org", "year": 2026, "month": 11, "day": 29, "express": true, "gift": false,
        "discount": 0.05, "shipping": 4.5, "tax": 0.2, "total": 0.0, "weight": 12.25, "note": "Ring twice.",
        "status": "open", "positions": positions,
    })
}

/// Base64 of so many bytes.
fn base64(bytes: usize) -> String {
    let groups = (0..bytes.div_ceil(3)).map(|number| ["AbCd", "0123", "+/xY"][number % 3]);
    groups.collect()
}

/// Builds the guest as `tests/build.rs` does, into the folder of the plugins.
fn component() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "pair",
            "--target",
            "wasm32-wasip2",
            "--target-dir",
        ])
        .arg(&target)
        .envs(["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"].map(|name| (name, "")))
        .current_dir(repository.join("plugins"))
        .status()
        .unwrap();
    assert!(status.success(), "the guest `pair` can't be built");
    target.join("wasm32-wasip2/release/pair.wasm")
}

/// Bytes by which a call raises the peak of the resident memory over what it was before. `None` where the system can't say.
async fn peak_of(call: impl AsyncFn()) -> Option<u64> {
    // The allocator and the pool have what they keep.
    for _ in 0..3 {
        call().await;
    }
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    let before = status("VmRSS:")?;
    call().await;
    Some(status("VmHWM:")?.saturating_sub(before))
}

fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
