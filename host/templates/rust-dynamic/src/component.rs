//! Describes the tools to the host, and connects them with the logic.

wit_bindgen::generate!({ path: "wit", world: "tool", generate_all });

use exports::cofferdam::tool::tools::{Annotations, Content, Error, Guest, Tool};

struct Component;
export!(Component);

impl Guest for Component {
    fn list_tools() -> Result<Vec<Tool>, String> {
        let input_schema = serde_json::json!({
            "type": "object",
            "properties": {
                "text": { "type": "string", "description": "The text to search." },
                "letter": { "type": "string", "description": "The letter to count, such as `r`." },
            },
            "required": ["text", "letter"],
            "additionalProperties": false,
        });
        Ok(vec![Tool {
            name: "count_letter".to_owned(),
            description: "Counts how often a letter occurs in a text. Upper and lower case are the same letter.".to_owned(),
            input_schema: input_schema.to_string(),
            annotations: Annotations { read_only: true, idempotent: true, destructive: false },
        }])
    }

    fn call_tool(_name: String, input: String) -> Result<Vec<Content>, Error> {
        // The host has checked the input against the schema.
        let input: serde_json::Value = serde_json::from_str(&input).map_err(|error| Error::Failed(error.to_string()))?;
        let text = |key: &str| input[key].as_str().unwrap_or_default();
        let count = crate::count_letter(text("text"), text("letter")).map_err(Error::InvalidInput)?;
        Ok(vec![Content::Json(serde_json::json!({ "count": count }).to_string())])
    }
}
