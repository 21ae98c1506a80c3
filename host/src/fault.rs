//! Places at which a test ends the process, to see that nothing is lost there. In no build that users get: without the feature
//! `fault-points`, `passes` does nothing.
//!
//! The points that a process passes are numbered from 1, in order. With `COFFERDAM_FAULT_POINT=N`, it kills itself at the Nth. With
//! `COFFERDAM_FAULT_TRACE=FILE`, it appends a line with the name of each point that it passes.

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A place in a run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Point {
            $($(#[$doc])* $name,)*
        }

        #[cfg(feature = "fault-points")]
        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

points! {
    /// A commit has everything but its end.
    CommitReady,
    /// A commit is on the disk, and nobody knows.
    CommitDone,
    /// The witness is as new as the commit.
    WitnessMoved,
    /// The start of an attempt is on the disk, and its request has not left.
    AttemptReady,
    /// The head of an answer has arrived.
    HeadArrived,
    /// An attempt has ended. Its settlement is in the queue, its end not in the journal.
    AnswerArrived,
    /// The answer waits for the next commit.
    AnswerRecorded,
    /// The calls of a turn may begin, and none has.
    CallsAdmitted,
    /// A guest is about to be called.
    CallBegins,
    /// A guest has returned.
    CallReturned,
    /// The end of a call waits for the next commit.
    CallRecorded,
    /// A question to a person waits for the next commit.
    ApprovalRequested,
    /// What a person decided waits for the next commit.
    ApprovalDecided,
    /// The end of a run waits for the next commit.
    RunEnds,
    /// The end of a run is on the disk.
    RunEnded,
}

/// The process passes a point.
#[cfg(not(feature = "fault-points"))]
pub(crate) const fn passes(_: Point) {}

/// The process passes a point, or ends there.
#[cfg(feature = "fault-points")]
pub(crate) fn passes(point: Point) {
    use std::io::Write as _;
    use std::sync::{Mutex, PoisonError};

    static PASSED: Mutex<u64> = Mutex::new(0);
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    *passed += 1;
    if let Some(path) = std::env::var_os("COFFERDAM_FAULT_TRACE") {
        let trace = std::fs::OpenOptions::new().append(true).create(true).open(path);
        // A test that finds no line fails.
        let _ = trace.and_then(|mut trace| writeln!(trace, "{point:?}"));
    }
    let last = std::env::var("COFFERDAM_FAULT_POINT").ok();
    if last.and_then(|last| last.parse().ok()) == Some(*passed) {
        #[cfg(unix)]
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        #[cfg(not(unix))]
        std::process::abort();
    }
}
