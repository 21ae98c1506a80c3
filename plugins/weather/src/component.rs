//! The component: implements the contract with [`crate::forecast`], using the host's HTTP and configuration.

use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../../wit/0.1.0", world: "plugin" });

use exports::cofferdam::tool::tools::{Annotations, Content, Error, Guest, Tool, Unavailable};

use crate::forecast::{Services, current_weather};
use crate::service::Problem;

struct Weather;

export!(Weather);

impl Guest for Weather {
    fn list_tools() -> Result<Vec<Tool>, String> {
        let schema = json!({
            "type": "object",
            "properties": {
                "location": {
                    "type": "string",
                    "description": "The name of a city, for example: Boston, or São Paulo",
                    "minLength": 1,
                    "maxLength": 200,
                }
            },
            "required": ["location"],
            "additionalProperties": false,
        });
        Ok(vec![Tool {
            name: "get_weather".to_owned(),
            description: "Gets the weather of a city right now: temperature in °C, sky, wind in km/h, relative humidity. The \
                          answer names the region and country of the city it found, so check that it is the one you meant. No \
                          forecasts and no history."
                .to_owned(),
            input_schema: schema.to_string(),
            annotations: Annotations { read_only: true, idempotent: true, destructive: false },
        }])
    }

    fn call_tool(name: String, input: String) -> Result<Vec<Content>, Error> {
        if name != "get_weather" {
            return Err(Error::Failed(format!("there is no tool `{name}` here")));
        }
        let input: Value = serde_json::from_str(&input).map_err(|error| Error::InvalidInput(error.to_string()))?;
        let location = input["location"].as_str();
        let location = location.ok_or_else(|| Error::InvalidInput("`location` must be a string".to_owned()))?;
        let services = Services {
            geocoding_url: setting("geocoding_url")?,
            forecast_url: setting("forecast_url")?,
        };
        let sentence = current_weather(location, &services, &support::http::send)?;
        Ok(vec![Content::Text(sentence)])
    }
}

fn setting(key: &str) -> Result<String, Error> {
    match support::config::value(key) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Error::Failed(format!(
            "this tool is not configured: a configuration sets `{key}` in the plugin's `config`, the command line with `--set {key}=…`"
        ))),
        Err(message) => Err(Error::Failed(format!("the setting `{key}` can't be read: {message}"))),
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::InvalidInput(message) => Self::InvalidInput(message),
            Problem::Failed(message) => Self::Failed(message),
            Problem::Unavailable { message, retry_after } => Self::Unavailable(Unavailable {
                message,
                retry_after_ms: retry_after.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            }),
        }
    }
}
