//! File descriptors for the files and connections of calls. A process that runs out of them can't accept connections.

use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sandbox::files::MAX_OPEN;
use crate::sandbox::http::MAX_ATTEMPTS;
use crate::sandbox::limits::Limits;

/// Descriptors for the rest of the process: its own files, connections to models, name lookups.
const RESERVED: u64 = 512;

/// Reading the limit and raising it are two steps, so only one thread does them at a time.
static RAISING: Mutex<()> = Mutex::new(());

/// Raises the soft limit (`RLIMIT_NOFILE`) to what `calls` can need, or as close to it as the hard limit allows.
pub(in crate::sandbox) fn make_room<'a>(calls: u32, limits: impl IntoIterator<Item = &'a Limits>) {
    let per_call = |limits: &Limits| {
        let connections = u64::from(limits.http_requests).saturating_mul(MAX_ATTEMPTS as u64);
        (MAX_OPEN as u64).saturating_add(connections)
    };
    let each = limits.into_iter().map(per_call).max().unwrap_or(0);
    let needed = u64::from(calls).saturating_mul(each).saturating_add(RESERVED);
    let has = raise(needed);
    if has < needed {
        tracing::info!(
            has,
            needed,
            "calls could use up the descriptors of this process: lower [limits] host_concurrency, or raise `ulimit -Hn`"
        );
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
    fn the_limit_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Nofile);
        let has = raise(before.current.unwrap_or(0) + 1);
        assert_eq!(Some(has), getrlimit(Resource::Nofile).current);
        assert_eq!(before.maximum, getrlimit(Resource::Nofile).maximum);
        assert_eq!(raise(1), has);
    }
}
