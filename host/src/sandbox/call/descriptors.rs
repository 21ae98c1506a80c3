//! Room for the files and connections that calls may have open: a process that runs out of descriptors can answer nobody.

use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sandbox::files::MAX_OPEN;
use crate::sandbox::http::MAX_ATTEMPTS;
use crate::sandbox::limits::Limits;

/// What the rest of the process needs: its own files, connections to models, lookups of names.
const OWN: u64 = 512;

/// One at a time: reading the limit and raising it are two steps.
static RAISING: Mutex<()> = Mutex::new(());

/// Raises this process's own limit to what so many calls may need, as far as the system allows.
pub(in crate::sandbox) fn make_room<'a>(calls: u32, limits: impl IntoIterator<Item = &'a Limits>) {
    let of_a_call = |limits: &Limits| {
        let connections = u64::from(limits.http_requests).saturating_mul(MAX_ATTEMPTS as u64);
        (MAX_OPEN as u64).saturating_add(connections)
    };
    let each = limits.into_iter().map(of_a_call).max().unwrap_or(0);
    let needed = u64::from(calls).saturating_mul(each).saturating_add(OWN);
    let has = raise(needed);
    if has < needed {
        tracing::info!(
            has,
            needed,
            "calls could use up the descriptors of this process: lower [limits] host_concurrency, or raise `ulimit -Hn`"
        );
    }
}

/// Returns what there is then.
fn raise(needed: u64) -> u64 {
    let _raising = RAISING.lock().unwrap_or_else(PoisonError::into_inner);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (now, most) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let wanted = needed.min(most);
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
    fn the_limit_is_raised_as_far_as_it_goes() {
        let before = getrlimit(Resource::Nofile);
        let has = raise(before.current.unwrap_or(0) + 1);
        assert_eq!(Some(has), getrlimit(Resource::Nofile).current);
        assert_eq!(before.maximum, getrlimit(Resource::Nofile).maximum);
        // Nothing is ever taken away.
        assert_eq!(raise(1), has);
    }
}
