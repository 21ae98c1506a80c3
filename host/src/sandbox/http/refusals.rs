//! Why requests were refused, for the operator.

use std::sync::{Mutex, PoisonError};

/// Characters of a method or an origin that a message quotes.
pub(super) const MAX_QUOTED_CHARS: usize = 100;

pub(super) fn note(refused: &Mutex<Vec<String>>, reason: String) {
    const KEPT: usize = 16;
    let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.len() < KEPT {
        refused.push(reason);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_first_refusals_are_kept() {
        let refused = Mutex::default();
        (0..100).for_each(|index| note(&refused, index.to_string()));
        let kept = refused.into_inner().unwrap();
        assert_eq!((kept.len(), kept[15].as_str()), (16, "15"));
    }
}
