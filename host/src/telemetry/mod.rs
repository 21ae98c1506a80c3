//! What a host tells about itself. Every step of a run is one [`Event`]; metrics, alert rules, the log and observers are
//! listeners of those events, so no caller can forget one of them.
//!
//! Telemetry never hurts a run: [`Emitter::emit`] does not wait, does not fail, and a listener that is slow, broken or
//! panics loses its own events only. What was lost is counted and said.
//!
//! The library writes to `tracing` and installs nothing; [`logging::init`] sets up the log of the command line.

mod alerts;
mod bus;
mod console;
mod daily_file;
mod emitter;
mod log_line;
pub mod logging;
mod metrics;
mod queue;
pub mod redact;
mod sink;

pub use alerts::AlertSettings;
pub use bus::{EventBus, Observer};
pub use emitter::Emitter;
pub use logging::{LogLevel, LoggingError, LoggingGuard, LoggingSettings};
pub use metrics::{SessionMetrics, ToolMetrics};
