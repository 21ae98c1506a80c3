//! The endpoints of the API.

use http::Method;

use super::chat::{RESPONSES_PATH, is_responses};
use super::error::ApiError;
use crate::chat_api::CHAT_COMPLETIONS_PATH;
use crate::messages_api::MESSAGES_PATH;

pub(super) const MODELS_PATH: &str = "/v1/models";

/// The model's name follows.
pub(super) const MODEL_PATH: &str = "/v1/models/";

/// An endpoint that exists, with its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Messages,
    ChatCompletions,
    CountTokens,
    Models,
    Model(&'a str),
}

/// A request that goes nowhere.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Misrouted {
    pub(super) error: ApiError,
    /// The `allow` header of a 405.
    pub(super) allow: Option<&'static str>,
}

pub(super) fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, Misrouted> {
    let route = match path {
        MESSAGES_PATH => Route::Messages,
        CHAT_COMPLETIONS_PATH => Route::ChatCompletions,
        "/v1/messages/count_tokens" => Route::CountTokens,
        MODELS_PATH => Route::Models,
        _ => match path.strip_prefix(MODEL_PATH) {
            Some(model) if !model.is_empty() => Route::Model(model),
            _ => {
                let message = match is_responses(path) {
                    true => format!("of this API only {CHAT_COMPLETIONS_PATH} is simulated, not {RESPONSES_PATH}"),
                    false => "Not Found".to_owned(),
                };
                return Err(Misrouted {
                    error: ApiError::new(404, message),
                    allow: None,
                });
            }
        },
    };
    let (is_allowed, allow) = match route {
        Route::Messages | Route::ChatCompletions | Route::CountTokens => (method == Method::POST, "POST"),
        // The answer to HEAD is that to GET without its body.
        Route::Models | Route::Model(_) => (method == Method::GET || method == Method::HEAD, "GET, HEAD"),
    };
    if is_allowed {
        Ok(route)
    } else {
        Err(Misrouted {
            error: ApiError::new(405, "Method Not Allowed"),
            allow: Some(allow),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_methods() {
        for (method, path, expected) in [
            (Method::POST, "/v1/messages", Ok(Route::Messages)),
            (Method::POST, "/v1/messages/count_tokens", Ok(Route::CountTokens)),
            (Method::POST, "/v1/chat/completions", Ok(Route::ChatCompletions)),
            (Method::GET, "/v1/chat/completions", Err((405, Some("POST")))),
            (Method::POST, "/v1/responses", Err((404, None))),
            (Method::GET, "/v1/responses/a", Err((404, None))),
            (Method::GET, "/v1/models", Ok(Route::Models)),
            (Method::HEAD, "/v1/models", Ok(Route::Models)),
            (Method::GET, "/v1/models/a/b", Ok(Route::Model("a/b"))),
            (Method::GET, "/v1/messages", Err((405, Some("POST")))),
            (Method::HEAD, "/v1/messages", Err((405, Some("POST")))),
            (Method::POST, "/v1/models", Err((405, Some("GET, HEAD")))),
            (Method::POST, "/v1/v1/messages", Err((404, None))),
            (Method::POST, "/v1/messages/", Err((404, None))),
            (Method::GET, "/v1/models/", Err((404, None))),
            (Method::GET, "/", Err((404, None))),
        ] {
            let found = route(&method, path).map_err(|problem| (problem.error.status, problem.allow));
            assert_eq!(found, expected, "{method} {path}");
        }
    }
}
