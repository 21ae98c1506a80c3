//! The same tools twice: as functions with types, and as tools that the component lists itself. What differs between the two is
//! only the way in and out.

#![cfg(target_family = "wasm")]

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

wit_bindgen::generate!({
    path: ["../../../wit/0.1.0", "wit"],
    world: "test:pair/pair",
    additional_derives: [serde::Serialize, serde::Deserialize],
    generate_all,
});

use exports::cofferdam::tool::tools::{Annotations, Content, Error, Guest as Dynamic, Tool};
use exports::test::pair::typed::{Guest as Typed, Order};

struct Pair;

export!(Pair);

fn sum(mut order: Order) -> Order {
    let prices = order
        .positions
        .iter()
        .map(|position| f64::from(position.count) * position.price);
    order.total = prices.sum::<f64>() + order.shipping;
    order
}

impl Typed for Pair {
    fn add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }

    fn sum(order: Order) -> Order {
        sum(order)
    }

    fn echo_bytes(data: Vec<u8>) -> Vec<u8> {
        data
    }

    fn echo_text(data: String) -> String {
        data
    }
}

#[derive(Deserialize)]
struct Addends {
    a: i32,
    b: i32,
}

#[derive(Deserialize, Serialize)]
struct WithOrder {
    order: Order,
}

impl Dynamic for Pair {
    fn list_tools() -> Result<Vec<Tool>, String> {
        let tool = |name: &str, schema: Value| Tool {
            name: name.to_owned(),
            description: "The same as the function of this name.".to_owned(),
            input_schema: schema.to_string(),
            annotations: Annotations {
                read_only: true,
                idempotent: true,
                destructive: false,
            },
        };
        let integer = || json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX });
        Ok(vec![
            tool(
                "add",
                json!({ "type": "object", "properties": { "a": integer(), "b": integer() }, "required": ["a", "b"],
                    "additionalProperties": false }),
            ),
            tool("sum", order_schema()),
        ])
    }

    fn call_tool(name: String, input: String) -> Result<Vec<Content>, Error> {
        match name.as_str() {
            "add" => {
                let Addends { a, b } = parsed(&input)?;
                Ok(vec![Content::Json(a.wrapping_add(b).to_string())])
            }
            "sum" => {
                let WithOrder { order } = parsed(&input)?;
                let text = serde_json::to_string(&sum(order)).map_err(|error| Error::Failed(error.to_string()))?;
                Ok(vec![Content::Json(text)])
            }
            _ => Err(Error::Failed(format!("there is no tool `{name}` here"))),
        }
    }
}

fn parsed<'a, T: Deserialize<'a>>(input: &'a str) -> Result<T, Error> {
    serde_json::from_str(input).map_err(|error| Error::InvalidInput(error.to_string()))
}

/// What the host derives from the types of the function, so that both check the same.
fn order_schema() -> Value {
    let text = || json!({ "type": "string" });
    let real = || json!({ "type": "number" });
    let integer = |most: u64| json!({ "type": "integer", "minimum": 0, "maximum": most });
    let optional = || json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] });
    let position = json!({
        "type": "object",
        "properties": { "article": integer(u32::MAX.into()), "name": text(), "count": integer(u32::MAX.into()), "price": real() },
        "required": ["article", "name", "count", "price"],
        "additionalProperties": false,
    });
    let order = json!({
        "type": "object",
        "properties": {
            "id": integer(u64::MAX), "customer": text(), "street": text(), "city": text(), "country": text(),
            "phone": optional(), "email": text(), "year": integer(u16::MAX.into()), "month": integer(u8::MAX.into()),
            "day": integer(u8::MAX.into()), "express": { "type": "boolean" }, "gift": { "type": "boolean" },
            "discount": real(), "shipping": real(), "tax": real(), "total": real(), "weight": real(), "note": optional(),
            "status": text(), "positions": { "type": "array", "items": position },
        },
        "required": ["id", "customer", "street", "city", "country", "email", "year", "month", "day", "express", "gift",
            "discount", "shipping", "tax", "total", "weight", "status", "positions"],
        "additionalProperties": false,
    });
    json!({ "type": "object", "properties": { "order": order }, "required": ["order"], "additionalProperties": false })
}
