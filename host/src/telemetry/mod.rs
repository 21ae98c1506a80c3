//! The host's telemetry. Every step of a run emits one [`Event`](crate::events::Event). Metrics, alert rules, the log and observers consume these
//! events, so no caller has to update each of them.
//!
//! Telemetry never affects a run: [`Emitter::emit`] neither waits nor fails. A consumer that is slow, broken or panics loses
//! only its own events, and the losses are counted and reported.
//!
//! The library writes to `tracing` and installs no subscriber; [`logging::init`] sets up logging for the command line.

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
mod subscription;

pub use alerts::AlertSettings;
pub use bus::{EventBus, Observer};
pub use emitter::Emitter;
pub use log_line::RUNS;
pub use logging::{LogLevel, LoggingError, LoggingGuard, LoggingSettings};
pub use metrics::{SessionMetrics, ToolMetrics};
pub use subscription::Subscription;
