//! The error of a `result` as an error of the contract.

use std::time::Duration;

use wasmtime::component::Val;

use super::from_value::{self, InvalidResult};
use super::shape::{Field, Shape};
use crate::sandbox::contract::ToolError;

/// A meaning that the contract gives to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    InvalidInput,
    Unavailable,
    Failed,
}

impl Meaning {
    /// What a case of this name means.
    fn of(name: &str) -> Option<Self> {
        match name {
            "invalid-input" => Some(Self::InvalidInput),
            "unavailable" => Some(Self::Unavailable),
            "failed" => Some(Self::Failed),
            _ => None,
        }
    }
}

/// The error that the model reads: a text as it is, anything else as JSON.
///
/// An error that has a case `invalid-input`, `unavailable` or `failed` means what the contract means by that name. Any other
/// error is an answer like "not found", and says nothing about the tool's health.
pub(super) fn tool_error(value: Option<&Val>, shape: Option<&Shape>, limit: u64) -> Result<ToolError, InvalidResult> {
    let (Some(value), Some(shape)) = (value, shape) else {
        return Ok(ToolError::Rejected(String::new()));
    };
    let meaning = match value {
        Val::Enum(name) | Val::Variant(name, _) => Meaning::of(name),
        _ => None,
    };
    let Some(meaning) = meaning else {
        return text(value, shape, limit).map(ToolError::Rejected);
    };
    let (message, retry_after) = match (value, shape) {
        (Val::Variant(name, Some(payload)), Shape::Variant(cases)) => {
            let payload_shape = cases
                .get_named(name)
                .and_then(|case| case.payload.as_ref())
                .ok_or(InvalidResult::WrongType)?;
            describe(payload, payload_shape, limit)?
        }
        // The name says it all, and the contract has a sentence for it.
        _ => (String::new(), None),
    };
    Ok(match meaning {
        Meaning::InvalidInput => ToolError::InvalidInput(message),
        Meaning::Unavailable => ToolError::Unavailable { message, retry_after },
        Meaning::Failed => ToolError::Failed(message),
    })
}

/// A text as it is, anything else as JSON.
fn text(value: &Val, shape: &Shape, limit: u64) -> Result<String, InvalidResult> {
    match value {
        Val::String(text) if text.len() as u64 <= limit => Ok(text.clone()),
        value => from_value::json(value, shape, limit),
    }
}

/// The message of a payload, and when to try again. A record like the contract's `unavailable` has both: `message`, and
/// `retry-after-ms`.
fn describe(payload: &Val, shape: &Shape, limit: u64) -> Result<(String, Option<Duration>), InvalidResult> {
    let (Val::Record(values), Shape::Record(fields)) = (payload, shape) else {
        return Ok((text(payload, shape, limit)?, None));
    };
    let field = |name: &str| -> Option<(&Field, &Val)> {
        let position = fields.iter().position(|field| *field.name == *name)?;
        Some((&fields[position], &values.get(position)?.1))
    };
    let retry_after = field("retry-after-ms").and_then(|(_, value)| milliseconds(value));
    let message = match field("message") {
        Some((field, value @ Val::String(_))) if fields.len() <= 2 => text(value, &field.shape, limit)?,
        _ => text(payload, shape, limit)?,
    };
    Ok((message, retry_after))
}

fn milliseconds(value: &Val) -> Option<Duration> {
    match value {
        Val::Option(value) => milliseconds(value.as_deref()?),
        Val::U64(number) => Some(Duration::from_millis(*number)),
        Val::U32(number) => Some(Duration::from_millis((*number).into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::named::Named;
    use super::super::shape::{Case, Integer};
    use super::*;

    const LIMIT: u64 = 1_000;

    fn error(value: &Val, shape: &Shape) -> Option<ToolError> {
        tool_error(Some(value), Some(shape), LIMIT).ok()
    }

    #[test]
    fn an_error_is_an_answer_unless_its_case_has_a_meaning() {
        let text = |text: &str| Val::String(text.to_owned());
        assert_eq!(
            error(&text("gone"), &Shape::Text),
            Some(ToolError::Rejected("gone".to_owned()))
        );
        let number = Shape::Integer(Integer::U32);
        assert_eq!(
            error(&Val::U32(404), &number),
            Some(ToolError::Rejected("404".to_owned()))
        );
        let names = Shape::Enum(["not-found", "unavailable"].map(Box::from).into_iter().collect());
        for (name, expected) in [
            ("not-found", ToolError::Rejected("\"not-found\"".to_owned())),
            (
                "unavailable",
                ToolError::Unavailable {
                    message: String::new(),
                    retry_after: None,
                },
            ),
        ] {
            assert_eq!(error(&Val::Enum(name.to_owned()), &names), Some(expected), "{name}");
        }
        let cases = Shape::Variant(Named::from_iter([
            Case {
                name: "not-found".into(),
                payload: Some(number),
            },
            Case {
                name: "invalid-input".into(),
                payload: Some(Shape::Text),
            },
            Case {
                name: "failed".into(),
                payload: Some(Shape::Bool),
            },
        ]));
        for (name, payload, expected) in [
            (
                "not-found",
                Val::U32(7),
                ToolError::Rejected(r#"{"tag":"not-found","value":7}"#.to_owned()),
            ),
            (
                "invalid-input",
                text("no such city"),
                ToolError::InvalidInput("no such city".to_owned()),
            ),
            ("failed", Val::Bool(true), ToolError::Failed("true".to_owned())),
        ] {
            let value = Val::Variant(name.to_owned(), Some(Box::new(payload)));
            assert_eq!(error(&value, &cases), Some(expected), "{name}");
        }
        assert_eq!(tool_error(None, None, LIMIT), Ok(ToolError::Rejected(String::new())));
    }

    #[test]
    fn a_record_can_say_when_to_try_again() {
        let record = Shape::Record(Named::from_iter([
            Field::new("message", Shape::Text),
            Field::new("retry-after-ms", Shape::Option(Box::new(Shape::Integer(Integer::U64)))),
        ]));
        let cases = Shape::Variant(Named::from_iter([Case {
            name: "unavailable".into(),
            payload: Some(record),
        }]));
        let payload = Val::Record(vec![
            ("message".to_owned(), Val::String("later".to_owned())),
            (
                "retry-after-ms".to_owned(),
                Val::Option(Some(Box::new(Val::U64(1_500)))),
            ),
        ]);
        let value = Val::Variant("unavailable".to_owned(), Some(Box::new(payload)));
        let expected = ToolError::Unavailable {
            message: "later".to_owned(),
            retry_after: Some(Duration::from_millis(1_500)),
        };
        assert_eq!(error(&value, &cases), Some(expected));
    }
}
