//! Maps the HTTP library's errors to [`ModelError`].

use std::error::Error;

use url::Url;

use super::super::ModelError;
use super::body::BodyError;
use crate::causes::causes;

/// A URL for messages, without its user part and query, which may hold secrets.
pub(crate) fn display_url(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that can't have a user part.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// What the HTTP library calls its own layers, which says nothing about the failure.
const LAYERS: [&str; 5] = [
    "error sending request",
    "client error (",
    "tcp connect error",
    "dns error",
    "error resolving DNS",
];

/// The error with its causes on one line, without the layers of the library above them.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let all: Vec<String> = std::iter::once(error.to_string()).chain(causes(error)).collect();
    let is_layer = |message: &&String| LAYERS.iter().any(|layer| message.starts_with(layer));
    let layers = all.iter().take_while(is_layer).count().min(all.len() - 1);
    all[layers..].join(": ")
}

pub(super) fn stream_error(error: sse_stream::Error, request_id: Option<String>) -> ModelError {
    match error {
        sse_stream::Error::Body(source) => match source.downcast::<BodyError>() {
            Ok(error) => body_error(&error, request_id),
            Err(error) => ModelError::Cut {
                reason: error.to_string(),
                request_id,
            },
        },
        error => ModelError::Malformed {
            reason: format!("the stream can't be read: {error}"),
            request_id,
        },
    }
}

pub(super) fn body_error(error: &BodyError, request_id: Option<String>) -> ModelError {
    match error {
        BodyError::Stalled(idle) => ModelError::Stalled {
            idle: *idle,
            request_id,
        },
        BodyError::Broken(reason) => ModelError::Cut {
            reason: reason.clone(),
            request_id,
        },
        BodyError::TooLong(_) | BodyError::EventTooLong => ModelError::Malformed {
            reason: format!("the answer is too long: {error}"),
            request_id,
        },
        BodyError::Compressed(_) | BodyError::BadGzip(_) => ModelError::Malformed {
            reason: error.to_string(),
            request_id,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Layer {
        message: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn the_layers_of_the_library_are_left_out() {
        for (messages, line) in [
            (
                &[
                    "error sending request",
                    "client error (Connect)",
                    "tcp connect error",
                    "Connection refused",
                ][..],
                "Connection refused",
            ),
            (
                &[
                    "error sending request",
                    "client error (Connect)",
                    "tunnel error: unsuccessful",
                ],
                "tunnel error: unsuccessful",
            ),
            (
                &["error sending request", "client error (SendRequest)"],
                "client error (SendRequest)",
            ),
            (&["builder error", "dns error"], "builder error: dns error"),
        ] {
            let layers = messages
                .iter()
                .rev()
                .fold(None, |source, message| Some(Box::new(Layer { message, source })));
            assert_eq!(layers.map(|error| chain(&*error)).as_deref(), Some(line));
        }
    }
}
