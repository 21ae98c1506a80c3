//! What is wrong with what a client sent, where the protocol library doesn't say it: it takes a request with other parameters than the
//! protocol's for a request of an unknown method.

use std::borrow::Cow;

use rmcp::ErrorData;
use rmcp::model::{ClientRequest, ErrorCode, GetMeta as _, ProtocolVersion};
use serde_json::{Value, json};

/// Why something isn't a message of the protocol, or not now.
pub(super) struct Fault {
    code: ErrorCode,
    message: Cow<'static, str>,
    /// The id of the request, or null.
    id: Value,
}

impl Fault {
    pub(super) const fn invalid(message: &'static str) -> Self {
        Self::new(ErrorCode::INVALID_REQUEST, message)
    }

    const fn new(code: ErrorCode, message: &'static str) -> Self {
        Self {
            code,
            message: Cow::Borrowed(message),
            id: Value::Null,
        }
    }

    /// Of bytes that the library doesn't take for a message.
    pub(super) fn of(bytes: &[u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Err(_) => Self::new(ErrorCode::PARSE_ERROR, "this isn't JSON"),
            Ok(Value::Array(_)) => Self::invalid("batches aren't supported: send each message by itself"),
            Ok(message) => Self {
                id: match message.get("id").cloned().unwrap_or_default() {
                    id if id.is_string() || id.is_i64() || id.is_u64() => id,
                    _ => Value::Null,
                },
                ..Self::invalid("this isn't a message of the protocol")
            },
        }
    }

    /// JSON-RPC wants the id of the request, and null where it can't be read; the library's type would leave it out.
    pub(super) fn answer(&self) -> Value {
        let error = json!({ "code": self.code.0, "message": self.message });
        json!({ "jsonrpc": "2.0", "id": self.id, "error": error })
    }
}

/// A request that comes before a connection has begun.
pub(super) enum First {
    /// The connection begins with it.
    Begins,
    /// The library answers it, and still waits for the beginning.
    Answered,
    /// The library would answer something else, and end the connection at the next notification.
    Wrong(Fault),
}

impl First {
    pub(super) fn of(request: &ClientRequest, id: Value, versions: &[ProtocolVersion]) -> Self {
        let newest = ProtocolVersion::V_2026_07_28;
        let wrong = match request {
            ClientRequest::InitializeRequest(_) => return Self::Begins,
            ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_) => return Self::Answered,
            ClientRequest::CustomRequest(request) if request.method == INITIALIZE => {
                wrong_params(INITIALIZE, request.params.as_ref())
            }
            _ => None,
        };
        let error = wrong.or_else(|| {
            let missing = request.get_meta().missing_required_keys(&newest);
            let message = format!(
                "the connection has not begun: send `initialize` first, or with each request the `_meta` that revision {newest} needs \
                 ({} is missing or malformed)",
                missing.join(", ")
            );
            (!missing.is_empty()).then(|| ErrorData::invalid_params(message, None))
        });
        match error {
            Some(ErrorData { code, message, .. }) => Self::Wrong(Fault { code, message, id }),
            None if request
                .get_meta()
                .protocol_version()
                .is_some_and(|version| versions.contains(&version)) =>
            {
                Self::Begins
            }
            None => Self::Answered,
        }
    }
}

const INITIALIZE: &str = "initialize";

/// The parameters of the requests that clients write by hand. A path of keys, what must be there, and whether it must.
type Param = (&'static [&'static str], Kind, bool);

const PARAMS: [(&str, &[Param]); 4] = [
    (
        INITIALIZE,
        &[
            (&["protocolVersion"], Kind::Text, true),
            (&["capabilities"], Kind::Object, true),
            (&["clientInfo"], Kind::Object, true),
            (&["clientInfo", "name"], Kind::Text, true),
            (&["clientInfo", "version"], Kind::Text, true),
        ],
    ),
    ("tools/list", &[(&["cursor"], Kind::Text, false)]),
    (
        "tools/call",
        &[
            (&["name"], Kind::Text, true),
            (&["arguments"], Kind::Object, false),
            (&["_meta"], Kind::Object, false),
        ],
    ),
    ("subscriptions/listen", &[(&["notifications"], Kind::Object, true)]),
];

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Object,
}

/// What is wrong with the parameters of a request that the library doesn't know. `None`: none of these methods has that name.
pub(super) fn wrong_params(method: &str, params: Option<&Value>) -> Option<ErrorData> {
    let (_, expected) = PARAMS.iter().find(|(name, _)| *name == method)?;
    let params = params.unwrap_or(&Value::Null);
    let wrong = expected.iter().find_map(|param| wrong_param(params, param));
    let wrong = wrong.unwrap_or_else(|| "they aren't those of the protocol".to_owned());
    Some(ErrorData::invalid_params(
        format!("the params of {method}: {wrong}"),
        None,
    ))
}

fn wrong_param(params: &Value, (path, kind, is_required): &Param) -> Option<String> {
    let found = path.iter().try_fold(params, |value, key| value.get(key));
    let name = path.join(".");
    let wanted = match (kind, found) {
        (_, None | Some(Value::Null)) => return is_required.then(|| format!("`{name}` is missing")),
        (Kind::Text, Some(Value::String(_))) | (Kind::Object, Some(Value::Object(_))) => return None,
        (Kind::Text, _) => "a string",
        (Kind::Object, Some(Value::String(text))) if text.trim_start().starts_with('{') => {
            "an object, not a string with one in it"
        }
        (Kind::Object, _) => "an object",
    };
    Some(format!("`{name}` must be {wanted}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_wrong_with_parameters_is_named() {
        for (method, params, expected) in [
            ("tools/call", json!({}), "`name` is missing"),
            ("tools/call", json!({ "name": 5 }), "`name` must be a string"),
            (
                "tools/call",
                json!({ "name": "a", "arguments": [] }),
                "`arguments` must be an object",
            ),
            (
                "tools/call",
                json!({ "name": "a", "arguments": "{\"b\": 1}" }),
                "`arguments` must be an object, not a string with one in it",
            ),
            ("tools/call", json!([]), "`name` is missing"),
            (
                "tools/call",
                json!({ "name": "a", "task": 5 }),
                "they aren't those of the protocol",
            ),
            ("tools/list", json!({ "cursor": 5 }), "`cursor` must be a string"),
            ("initialize", Value::Null, "`protocolVersion` is missing"),
            (
                "initialize",
                json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "a" } }),
                "`clientInfo.version` is missing",
            ),
        ] {
            let error = wrong_params(method, Some(&params)).unwrap();
            assert_eq!(error.code, ErrorCode::INVALID_PARAMS);
            assert_eq!(error.message, format!("the params of {method}: {expected}"));
        }
        assert!(wrong_params("tools/other", None).is_none());
    }
}
