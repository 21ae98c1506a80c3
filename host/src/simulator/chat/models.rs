//! The models, as this API lists them.

use serde_json::{Value, json};

use crate::simulator::error::ApiError;
use crate::simulator::models::{self, Model};

/// The answer to `GET /v1/models`. This API has no pages.
pub(in crate::simulator) fn models() -> Value {
    let models: Vec<Value> = models::available().map(describe).collect();
    json!({ "object": "list", "data": models })
}

/// The answer to `GET /v1/models/{id}`.
pub(in crate::simulator) fn model(name: &str) -> Result<Value, ApiError> {
    let found = models::available().find(|model| model.is_named(name)).map(describe);
    found.ok_or_else(|| {
        let mut error = ApiError::new(
            404,
            format!("The model `{name}` does not exist or you do not have access to it."),
        );
        error.error_code = Some("model_not_found".to_owned());
        error
    })
}

fn describe(model: &Model) -> Value {
    json!({ "id": model.id, "object": "model", "created": model.released_at(), "owned_by": "simulator" })
}
