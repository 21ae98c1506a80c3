//! Maps the HTTP library's errors to [`ModelError`].

use std::error::Error;

use url::Url;

use super::super::ModelError;
use super::body::BodyError;

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

/// An error with all its causes in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut chain = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !chain.ends_with(&text) {
            chain.push_str(": ");
            chain.push_str(&text);
        }
        cause = error.source();
    }
    chain
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
