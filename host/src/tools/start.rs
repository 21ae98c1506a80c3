//! Whether a call has begun.

use std::sync::{Arc, OnceLock};

/// The moment from which on a call may have an effect. Who makes the call and who gives it up can come at the same time, and agree.
#[derive(Clone, Debug, Default)]
pub struct CallStart {
    has_begun: Arc<OnceLock<bool>>,
}

impl CallStart {
    /// The tool is about to be called, unless somebody has given the call up.
    pub(super) fn begin(&self) -> bool {
        *self.has_begun.get_or_init(|| true)
    }

    /// Gives the call up: it doesn't begin any more. `false` if it has begun.
    pub fn give_up(&self) -> bool {
        !*self.has_begun.get_or_init(|| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_begins_or_is_given_up() {
        let (made, given_up) = (CallStart::default(), CallStart::default());
        // Again for a retry.
        assert!(made.begin() && made.begin() && !made.clone().give_up());
        assert!(given_up.give_up() && given_up.give_up() && !given_up.clone().begin());
    }
}
