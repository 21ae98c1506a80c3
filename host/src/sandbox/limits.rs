//! What one call may use. Every field is enforced; what a limit does not bound is said beside it.

use std::path::PathBuf;
use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// No duration of a limit or a run may be longer; beyond it arithmetic on instants could overflow.
pub const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The limits of one tool call. Defaults hold host-wide; a plugin can have its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of wasm fuel, about one per instruction and one per byte of a bulk-memory operation. Default
    /// 10,000,000,000. Nothing is counted for a plugin with [`Metering::Epoch`](super::Metering). Host functions cost next to nothing, whatever they do; `timeout` and `host_calls` bound those.
    pub fuel: u64,
    /// From dispatch to the answer, waiting included. Default 10 s. Overshoot is bounded by one bulk-memory operation or
    /// one host call, for neither can be interrupted.
    pub timeout: Duration,
    /// Bytes of all linear memories of the instance together, and of what is written to make an instance. Default
    /// 128 MiB. Does not bound what the host holds on the guest's behalf: `handles`, `output_bytes` and `log_bytes` do.
    pub memory: u64,
    /// Elements of all tables of the instance together. Default 20,000.
    pub table_elements: u32,
    /// Core instances that one component may be made of. Default 64; a Python component needs about 14. It may have 8 memories.
    pub core_instances: u32,
    /// Calls from the guest into host functions. Default 1,000,000. The engine's own calls do not count.
    pub host_calls: u64,
    /// Live host resources of the instance: streams, pollables, requests, descriptors. Default 1,000.
    pub handles: u32,
    /// Bytes of the input's JSON text. Default 1 MiB.
    pub input_bytes: u64,
    /// Bytes of the result, and of what the guest may hand over in one host call. Default 1 MiB.
    pub output_bytes: u64,
    /// Bytes kept of standard output and standard error together. Default 64 KiB; the rest is dropped and counted.
    pub log_bytes: u64,
    /// Outgoing HTTP requests. Default 16.
    pub http_requests: u32,
    /// Bytes of all HTTP request bodies together. Default 8 MiB.
    pub http_request_bytes: u64,
    /// Bytes of all HTTP response bodies together. Default 8 MiB. What else comes in over the connections is bounded by it,
    /// a sixteenth more, and 128 KiB for each request.
    pub http_response_bytes: u64,
    /// Bytes that it keeps between calls, for one tenant: keys, values, and 64 for each. Default 1 MiB.
    pub keyvalue_bytes: u64,
    /// Bytes that it writes to files of folders it may change; a new file or folder counts for 4 KiB. Changes that move no
    /// bytes (names, times, what is removed or cut off, orders to write everything out) are counted apart: 16,384. Default
    /// 64 MiB.
    pub file_bytes: u64,
    /// Calls of one tool at the same time. Default 16.
    pub concurrency: u32,
    /// Bytes of the component itself. Default 64 MiB.
    pub component_bytes: u64,
    /// Default 120 s, once per component.
    pub compile_timeout: Duration,
    /// Bytes of address space of the process that compiles. Default 2 GiB, once per component.
    pub compile_memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 10_000_000_000,
            timeout: Duration::from_secs(10),
            memory: 128 * MIB,
            table_elements: 20_000,
            core_instances: 64,
            host_calls: 1_000_000,
            handles: 1_000,
            input_bytes: MIB,
            output_bytes: MIB,
            log_bytes: 64 * KIB,
            http_requests: 16,
            http_request_bytes: 8 * MIB,
            http_response_bytes: 8 * MIB,
            keyvalue_bytes: MIB,
            file_bytes: 64 * MIB,
            concurrency: 16,
            component_bytes: 64 * MIB,
            compile_timeout: Duration::from_secs(120),
            compile_memory: 2 * 1024 * MIB,
        }
    }
}

/// What holds for the engine as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Bytes of wasm stack of one call. Default 512 KiB.
    pub stack: u64,
    /// Calls of all tools at the same time. Default 256.
    pub host_concurrency: u32,
    /// Bytes of the memories of all calls together, and of what the host
    /// holds for them of HTTP requests and files. A plugin has half of it, and a tenant three times what it leaves free at
    /// most. Default `None`: three
    /// quarters of what the machine, or this process's control group, has.
    pub host_memory: Option<u64>,
    /// Where compiled components are kept; `None`: nowhere, so that every start compiles again.
    pub cache_dir: Option<PathBuf>,
    /// Bytes that the folder grows to; then what was not used for longest goes. Default 1 GiB.
    pub cache_bytes: u64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            stack: 512 * KIB,
            host_concurrency: 256,
            host_memory: None,
            cache_dir: None,
            cache_bytes: 1024 * MIB,
        }
    }
}
