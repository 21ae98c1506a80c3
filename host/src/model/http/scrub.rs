//! Makes the untrusted texts in an error safe to show. Runs last on every error.

use super::super::{ApiError, ModelError};
use crate::secret::Secret;
use crate::untrusted::{is_terminal_control, is_zero_width};

/// The longest message passed on, in characters.
const MAX_MESSAGE: usize = 1_000;

/// Masks the key wherever a server or a library echoed it, and reduces untrusted texts to one bounded line.
pub(super) fn scrub(mut error: ModelError, key: Option<&Secret>) -> ModelError {
    match &mut error {
        ModelError::Api(error) | ModelError::SpendLimit(error) | ModelError::ContextOverflow(error) => {
            let ApiError {
                error_type,
                message,
                error_code,
                request_id,
                location,
                ..
            } = &mut **error;
            for text in [
                Some(error_type),
                Some(message),
                error_code.as_mut(),
                request_id.as_mut(),
                location.as_mut(),
            ]
            .into_iter()
            .flatten()
            {
                clean(text, key);
            }
        }
        ModelError::Connect { reason, .. }
        | ModelError::Connection { reason, .. }
        | ModelError::Cut { reason, .. }
        | ModelError::Malformed { reason, .. } => clean(reason, key),
        ModelError::Misconnected(error) => clean(&mut error.reason, key),
        _ => {}
    }
    error
}

/// Reduces `text` to one bounded line without the key.
pub(super) fn clean(text: &mut String, key: Option<&Secret>) {
    // Invisible characters leave first, because they could stand inside the key, and the cut comes last, because it could
    // leave the beginning of one.
    let visible = text.chars().filter(|c| !is_zero_width(*c));
    let line: String = visible.map(|c| if is_terminal_control(c) { ' ' } else { c }).collect();
    let masked = key.map_or_else(|| line.clone(), |key| line.replace(key.expose(), "[redacted]"));
    *text = masked.chars().take(MAX_MESSAGE).collect();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_key_is_masked_and_the_text_is_one_bounded_line() {
        let key = Secret::new("sk-ant-secret");
        let reason = format!("b\u{202e}ad\u{1b}[31m key sk-ant-secret\n{}", "x".repeat(2_000));
        let error = scrub(
            ModelError::Cut {
                reason,
                request_id: None,
            },
            Some(&key),
        );
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("sk-ant-secret"), "{shown}");
        assert!(shown.contains("bad [31m key [redacted] x"), "{shown}");
        assert!(shown.len() < 2_300);
    }
}
