//! The component: implements the contract with [`crate::calculate`].

use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../../wit/0.1.0", world: "plugin" });

use exports::cofferdam::tool::tools::{Annotations, Content, Error, Guest, Tool};

struct Calculator;

export!(Calculator);

impl Guest for Calculator {
    fn list_tools() -> Result<Vec<Tool>, String> {
        let schema = json!({
            "type": "object",
            "properties": {
                "expression": {
                    "type": "string",
                    "description": "For example: 25 * 17, (1 + 2)^10 / 3, sqrt(2) * sin(pi / 6), 17 % 5, round(2.675, 2)",
                    "minLength": 1,
                    "maxLength": crate::grammar::MAX_LENGTH,
                }
            },
            "required": ["expression"],
            "additionalProperties": false,
        });
        Ok(vec![Tool {
            name: "calculate".to_owned(),
            description: format!(
                "Computes an arithmetic expression. Use it for every calculation instead of doing it in your head. Whole \
                 numbers, decimals and fractions are exact, up to 10,000 digits; a fraction with no decimal form, or one of \
                 more than 1,000 decimals, is rounded to 30 digits. Functions such as sin have about 15 digits, and results \
                 from 2.2e-308 to 1.8e308. Operators: + - * / ^ (power, from the right), % (remainder, with the sign of \
                 the divisor), parentheses. Angles are in radians. log is to the base of 10; round(x, -2) is to hundreds. \
                 Functions: {}. No variables, units, equations, percentages or thousands separators.",
                crate::functions::NAMES
            ),
            input_schema: schema.to_string(),
            annotations: Annotations {
                read_only: true,
                idempotent: true,
                destructive: false,
            },
        }])
    }

    fn call_tool(name: String, input: String) -> Result<Vec<Content>, Error> {
        if name != "calculate" {
            return Err(Error::Failed(format!("there is no tool `{name}` here")));
        }
        let input: Value = serde_json::from_str(&input).map_err(|error| Error::InvalidInput(error.to_string()))?;
        let expression = input["expression"].as_str();
        let expression = expression.ok_or_else(|| Error::InvalidInput("`expression` must be a string".to_owned()))?;
        crate::calculate(expression)
            .map(|result| vec![Content::Text(result)])
            .map_err(Error::InvalidInput)
    }
}
