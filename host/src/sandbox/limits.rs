//! The limits of one call. Every field is enforced. Its doc comment says what the limit doesn't bound.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
/// The longest duration of a limit or a run. Arithmetic on instants could overflow beyond it.
pub const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 3600);
const SHORTEST: Duration = Duration::from_nanos(1);

/// A limit of one call: everything that the configuration needs to read, check, describe and display it.
#[derive(Debug)]
pub(crate) struct Limit {
    /// The field of [`Limits`], and the key in a file.
    pub(crate) name: &'static str,
    /// The doc comment, line by line.
    pub(crate) doc: &'static [&'static str],
    pub(crate) min: LimitValue,
    pub(crate) max: LimitValue,
    pub(crate) get: fn(&Limits) -> LimitValue,
    /// Returns whether the field can hold the value.
    pub(crate) set: fn(&mut Limits, LimitValue) -> bool,
}

/// The value of a limit. Values of different units aren't comparable.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) enum LimitValue {
    Count(u64),
    Bytes(u64),
    Time(Duration),
}

/// As in a configuration. A size has the largest binary unit that divides it.
impl fmt::Display for LimitValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Count(number) => write!(f, "{number}"),
            Self::Time(time) => write!(f, "{time:?}"),
            Self::Bytes(bytes) => {
                let units = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
                let unit = units
                    .iter()
                    .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
                let (name, unit) = unit.unwrap_or(&("B", 1));
                write!(f, "{}{name}", bytes / unit)
            }
        }
    }
}

/// The type of a field of [`Limits`].
trait Field: Sized {
    fn from_value(value: LimitValue) -> Option<Self>;
}

impl Field for u64 {
    fn from_value(value: LimitValue) -> Option<Self> {
        match value {
            LimitValue::Count(number) | LimitValue::Bytes(number) => Some(number),
            LimitValue::Time(_) => None,
        }
    }
}

impl Field for u32 {
    fn from_value(value: LimitValue) -> Option<Self> {
        u64::from_value(value)?.try_into().ok()
    }
}

impl Field for Duration {
    fn from_value(value: LimitValue) -> Option<Self> {
        match value {
            LimitValue::Time(time) => Some(time),
            LimitValue::Count(_) | LimitValue::Bytes(_) => None,
        }
    }
}

/// Generates [`Limits`] and [`Limits::ALL`] from lines `name: type = default, unit in min, max;`. Both ends are inclusive.
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $unit:ident in $min:expr, $max:expr;)+) => {
        /// The limits of one tool call. Defaults apply host-wide; a plugin can override them.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
                pub $name: $type,
            )+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// Every limit, in the order of the fields.
            pub(crate) const ALL: &'static [Limit] = &[$(Limit {
                name: stringify!($name),
                doc: &[$($doc),+],
                min: LimitValue::$unit($min),
                max: LimitValue::$unit($max),
                get: |limits| LimitValue::$unit(limits.$name.into()),
                set: |limits, value| Field::from_value(value).map(|value| limits.$name = value).is_some(),
            },)+];

            pub(crate) const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];
        }
    };
}

limits! {
    /// Units of wasm fuel, about one per instruction and one per byte of a bulk-memory operation. Nothing is counted for
    /// a plugin with `metering = "epoch"`. Host functions cost next to no fuel; `timeout` and `host_calls` bound those. A
    /// processor takes 4 to 10 units per nanosecond, so a tight loop reaches the default in 10 to 20 seconds.
    fuel: u64 = 100_000_000_000, Count in 1, u64::MAX;

    /// The time from dispatch to the answer, waiting included. One bulk-memory operation or one host call can overshoot
    /// it, because neither can be interrupted.
    timeout: Duration = Duration::from_secs(10), Time in SHORTEST, MAX_DURATION;

    /// Bytes of all linear memories and tables of the instance together, and of what the engine keeps for it and copies to
    /// make it. Doesn't bound what the host holds on the guest's behalf: `handles`, `output_bytes` and `log_bytes` do.
    memory: u64 = 128 * MIB, Bytes in 64 * KIB, 4 * GIB;

    /// Elements of all tables of the instance together.
    table_elements: u32 = 20_000, Count in 1, 10_000_000;

    /// Core instances that one component can consist of; a Python component needs about 14. It can have
    /// 8 memories, and 1,000 instances of components that are nested in it.
    core_instances: u32 = 64, Count in 1, 10_000;

    /// Calls from the guest into host functions. The engine's own calls don't count.
    host_calls: u64 = 1_000_000, Count in 1, u64::MAX;

    /// Live host resources of the instance: streams, pollables, requests, descriptors.
    handles: u32 = 1_000, Count in 1, 1_000_000;

    /// Bytes of the input's JSON text.
    input_bytes: u64 = MIB, Bytes in 1, GIB;

    /// Bytes of the result, and of what the guest can pass in one host call.
    output_bytes: u64 = MIB, Bytes in 1, GIB;

    /// Bytes kept of standard output, standard error and logging together; the rest is dropped and counted.
    log_bytes: u64 = 64 * KIB, Bytes in 1, GIB;

    /// Outgoing HTTP requests.
    http_requests: u32 = 16, Count in 1, 1_000_000;

    /// Bytes of all HTTP request bodies together.
    http_request_bytes: u64 = 8 * MIB, Bytes in 1, 4 * GIB;

    /// Bytes of all HTTP response bodies together. Everything that comes in over the connections is bounded by this
    /// number, a sixteenth more, and 128 KiB for each request.
    http_response_bytes: u64 = 8 * MIB, Bytes in 1, 4 * GIB;

    /// Bytes that the plugin keeps between calls, for one tenant: keys, values, and 64 for each pair.
    keyvalue_bytes: u64 = MIB, Bytes in 1, GIB;

    /// Bytes written to files of folders that the plugin can change; a new file or folder counts for 4 KiB. Changes that
    /// move no bytes (names, times, removing, truncating, syncing) are counted apart: 16,384.
    file_bytes: u64 = 64 * MIB, Bytes in 1, 1024 * GIB;

    /// Calls of one tool at the same time.
    concurrency: u32 = 16, Count in 1, 10_000;

    /// Bytes of the component itself.
    component_bytes: u64 = 64 * MIB, Bytes in 1, 4 * GIB;

    /// How long compiling the component can take, once per component. A component that takes longer is refused for a minute
    /// without another attempt, unless this limit changes.
    compile_timeout: Duration = Duration::from_secs(120), Time in SHORTEST, MAX_DURATION;

    /// Bytes of address space of the process that compiles the component, with a thread for each 512 MiB, at most four. A
    /// component that takes more is tried once more on one thread, and then refused for an hour without another attempt, unless
    /// this limit changes.
    compile_memory: u64 = 2 * GIB, Bytes in 16 * MIB, 1024 * GIB;
}

/// Settings of the engine as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Bytes of wasm stack of one call. Default 512 KiB.
    pub stack: u64,
    /// Calls of all tools at the same time. Default 256.
    pub host_concurrency: u32,
    /// Bytes of the memories of all calls together, and of the HTTP requests and files that the host holds for them. A plugin
    /// gets at most half of it, and a tenant at most three times what it leaves free. Default `None`: three quarters of the
    /// memory of the machine, or of this process's control group.
    pub host_memory: Option<u64>,
    /// The folder for compiled components. With `None` every start compiles again.
    pub cache_dir: Option<PathBuf>,
    /// The most bytes of the folder. Beyond it, the least recently used entries are removed. Default 1 GiB.
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
