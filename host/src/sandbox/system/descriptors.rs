//! File descriptors for the files and connections of calls. A process that runs out of them can't accept connections.

use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::SystemLimit;
use crate::sandbox::files::MAX_OPEN;
use crate::sandbox::http::MAX_ATTEMPTS;
use crate::sandbox::limits::Limits;

/// Descriptors for the rest of the process: its own files, connections to models, name lookups.
const RESERVED: u64 = 512;

/// Descriptors that a call usually needs at most: a connection and some open files. A limit below this is too low for the
/// configured number of calls; a limit below what calls may need at most is common, and worth no more than a debug line.
const USUAL_PER_CALL: u64 = 8;

const HINT: &str = "lower [limits] host_concurrency, or raise `ulimit -Hn`";

/// Reading the limit and raising it are two steps, so only one thread does them at a time.
static RAISING: Mutex<()> = Mutex::new(());

/// Raises the soft limit (`RLIMIT_NOFILE`) to what `calls` can need, or as close to it as the hard limit allows.
pub(in crate::sandbox) fn make_room<'a>(calls: u32, limits: impl IntoIterator<Item = &'a Limits>) {
    let per_call = |limits: &Limits| {
        let connections = u64::from(limits.http_requests).saturating_mul(MAX_ATTEMPTS as u64);
        (MAX_OPEN as u64).saturating_add(connections)
    };
    let each = limits.into_iter().map(per_call).max().unwrap_or(0);
    let needed = for_calls(calls, each);
    let has = raise(needed);
    match judge(has, calls, each) {
        Room::Enough => {}
        Room::Usual => tracing::debug!(
            has,
            needed,
            "if every call used all that it may, they would use up the descriptors"
        ),
        Room::TooLittle => tracing::warn!(
            has,
            needed,
            "calls could use up the descriptors of this process: {HINT}"
        ),
    }
}

/// The limit to which a host can raise its own, and what `calls` usually need.
pub(in crate::sandbox) fn limit(calls: u32) -> SystemLimit {
    SystemLimit {
        what: "file descriptors",
        has: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
        needed: for_calls(calls, USUAL_PER_CALL),
        hint: HINT,
    }
}

fn for_calls(calls: u32, each: u64) -> u64 {
    u64::from(calls).saturating_mul(each).saturating_add(RESERVED)
}

/// Whether a limit is enough for calls that may need `each` descriptors.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Enough,
    /// For what calls usually need.
    Usual,
    TooLittle,
}

fn judge(has: u64, calls: u32, each: u64) -> Room {
    if has >= for_calls(calls, each) {
        Room::Enough
    } else if has >= for_calls(calls, each.min(USUAL_PER_CALL)) {
        Room::Usual
    } else {
        Room::TooLittle
    }
}

/// Returns the limit that is then in force.
fn raise(needed: u64) -> u64 {
    let _raising = RAISING.lock().unwrap_or_else(PoisonError::into_inner);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (now, hard) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let wanted = needed.min(hard);
    if wanted <= now {
        return now;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(_) => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_below_what_calls_usually_need_is_too_low() {
        for (has, room) in [
            (512 + 256 * 176, Room::Enough),
            (20_000, Room::Usual),
            (512 + 256 * 8, Room::Usual),
            (512 + 256 * 8 - 1, Room::TooLittle),
            (256, Room::TooLittle),
        ] {
            assert_eq!(judge(has, 256, 176), room, "{has}");
        }
        assert_eq!(judge(512 + 3, 1, 3), Room::Enough);
    }

    #[test]
    fn the_limit_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Nofile);
        let has = raise(before.current.unwrap_or(0) + 1);
        assert_eq!(Some(has), getrlimit(Resource::Nofile).current);
        assert_eq!(before.maximum, getrlimit(Resource::Nofile).maximum);
        assert_eq!(raise(1), has);
    }
}
