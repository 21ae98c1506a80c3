//! Fuzz target for JSON as text.

use serde_json::Value;

use super::{Json, parse_unique};

/// What `serde_json` says about texts that are JSON and that it can't build.
const BEYOND_VALUE: [&str; 5] = [
    "number out of range",
    "surrogate",
    "unicode code point",
    "unexpected end of hex escape",
    "recursion limit",
];

/// Checks that this host and `serde_json` agree on what is JSON, and on its parts.
pub fn json(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let theirs = serde_json::from_str::<Value>(&text);
    match (Json::parse(&text), &theirs) {
        (Ok(json), Ok(value)) => {
            assert_eq!(rebuilt(json), Some(value.clone()), "{text}");
            let minified = json.minified();
            assert_eq!(
                serde_json::from_str::<Value>(&minified).ok().as_ref(),
                Some(value),
                "{text}"
            );
        }
        (Err(error), Ok(_)) => assert!(error.to_string().is_empty(), "{text}: refused: {error}"),
        (Ok(_), Err(error)) => {
            let error = error.to_string();
            assert!(
                BEYOND_VALUE.iter().any(|known| error.contains(known)),
                "{text}: {error}"
            );
        }
        (Err(_), Err(_)) => {}
    }
    if let Ok(value) = parse_unique(&text) {
        assert_eq!(theirs.ok(), Some(value), "{text}");
    }
}

/// A value rebuilt from the texts of its parts.
pub(super) fn rebuilt(json: Json<'_>) -> Option<Value> {
    if json.is_object() {
        let fields = json
            .fields()
            .map(|field| Some((field.name.string()?.into_owned(), rebuilt(field.value)?)));
        return fields.collect::<Option<_>>().map(Value::Object);
    }
    match (json.items(), json.string()) {
        (Some(items), _) => items.map(rebuilt).collect::<Option<Vec<_>>>().map(Value::from),
        (None, Some(string)) => Some(string.into()),
        (None, None) => serde_json::from_str(json.text()).ok(),
    }
}
