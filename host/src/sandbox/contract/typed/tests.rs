//! Properties of the schema and both conversions, over types of every kind, nested.

#![allow(clippy::unwrap_used)]

use jsonschema::{Draft, Validator};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use wasmtime::component::Val;

use super::from_value;
use super::named::Named;
use super::schema;
use super::shape::{Case, Field, Integer, Shape};
use super::to_value::{self, Problem, Room};
use crate::sandbox::fairness::{GuestMemory, NoMemory};

/// Nesting of the types.
const DEPTH: u32 = 4;
const LIMIT: u64 = 1 << 24;

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Bool),
        prop::sample::select(Integer::ALL.to_vec()).prop_map(Shape::Integer),
        Just(Shape::Float32),
        Just(Shape::Float64),
        Just(Shape::Char),
        Just(Shape::Text),
        Just(Shape::Bytes),
        names().prop_map(Shape::Enum),
        names().prop_map(Shape::Flags),
    ];
    leaf.prop_recursive(DEPTH, 24, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let parts = prop::collection::vec(inner.clone(), 1..4);
        let payload = prop::option::of(inner);
        prop_oneof![
            boxed.clone().prop_filter_map("bytes", |item| match *item {
                Shape::Integer(Integer::U8) => None,
                _ => Some(Shape::List(item)),
            }),
            (boxed.clone(), 0_u32..4).prop_map(|(item, length)| Shape::FixedList(item, length)),
            (prop_oneof![Just(Box::new(Shape::Text)), boxed.clone()], boxed.clone())
                .prop_map(|(key, value)| Shape::Map(key, value)),
            parts.clone().prop_map(|parts| {
                let fields = parts.into_iter().enumerate();
                Shape::Record(
                    fields
                        .map(|(number, shape)| Field::new(&format!("field-{number}"), shape))
                        .collect(),
                )
            }),
            parts.prop_map(|parts| Shape::Tuple(parts.into())),
            boxed.clone().prop_map(Shape::Option),
            prop::collection::vec(payload, 1..4).prop_map(|cases| {
                let cases = cases.into_iter().enumerate();
                let case = |(number, payload)| Case {
                    name: format!("case-{number}").into(),
                    payload,
                };
                Shape::Variant(cases.map(case).collect())
            }),
            (prop::option::of(boxed.clone()), prop::option::of(boxed)).prop_map(|(ok, err)| Shape::Result { ok, err }),
        ]
    })
}

fn names() -> impl Strategy<Value = Named<Box<str>>> {
    (1_usize..5).prop_map(|count| (0..count).map(|number| format!("name-{number}").into()).collect())
}

/// A value of the shape, as the engine has it.
fn value(shape: &Shape) -> BoxedStrategy<Val> {
    let many = |item: &Shape| prop::collection::vec(value(item), 0..4).boxed();
    let payload = |shape: Option<&Shape>| match shape {
        None => Just(None).boxed(),
        Some(shape) => value(shape).prop_map(|value| Some(Box::new(value))).boxed(),
    };
    match shape {
        Shape::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Shape::Integer(Integer::U8) => any::<u8>().prop_map(Val::U8).boxed(),
        Shape::Integer(Integer::S8) => any::<i8>().prop_map(Val::S8).boxed(),
        Shape::Integer(Integer::U16) => any::<u16>().prop_map(Val::U16).boxed(),
        Shape::Integer(Integer::S16) => any::<i16>().prop_map(Val::S16).boxed(),
        Shape::Integer(Integer::U32) => any::<u32>().prop_map(Val::U32).boxed(),
        Shape::Integer(Integer::S32) => any::<i32>().prop_map(Val::S32).boxed(),
        Shape::Integer(Integer::U64) => prop_oneof![
            any::<u64>(),
            Just(u64::MAX),
            Just((1 << 53) - 1),
            Just(1 << 53),
            0..9_u64
        ]
        .prop_map(Val::U64)
        .boxed(),
        Shape::Integer(Integer::S64) => prop_oneof![
            any::<i64>(),
            Just(i64::MIN),
            Just(i64::MAX),
            Just(-(1 << 53)),
            -9..9_i64
        ]
        .prop_map(Val::S64)
        .boxed(),
        Shape::Float32 => prop_oneof![
            prop::num::f32::ANY,
            Just(f32::MAX),
            Just(f32::MIN),
            Just(f32::INFINITY),
            Just(-0.0)
        ]
        .prop_map(Val::Float32)
        .boxed(),
        Shape::Float64 => prop_oneof![
            prop::num::f64::ANY,
            Just(f64::MAX),
            Just(f64::NEG_INFINITY),
            Just(-0.0),
            Just(5.0)
        ]
        .prop_map(Val::Float64)
        .boxed(),
        Shape::Char => any::<char>().prop_map(Val::Char).boxed(),
        Shape::Text => any::<String>().prop_map(Val::String).boxed(),
        Shape::Bytes => prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|bytes| Val::List(bytes.into_iter().map(Val::U8).collect()))
            .boxed(),
        Shape::List(item) => many(item).prop_map(Val::List).boxed(),
        Shape::FixedList(item, length) => prop::collection::vec(value(item), *length as usize)
            .prop_map(Val::FixedLengthList)
            .boxed(),
        Shape::Map(key, item) => {
            let pairs = prop::collection::vec((value(key), value(item)), 0..4);
            let is_text = **key == Shape::Text;
            let unique = move |pairs: Vec<(Val, Val)>| {
                let mut kept: Vec<(Val, Val)> = Vec::new();
                for (key, value) in pairs {
                    if !is_text || kept.iter().all(|(known, _)| *known != key) {
                        kept.push((key, value));
                    }
                }
                Val::Map(kept)
            };
            pairs.prop_map(unique).boxed()
        }
        Shape::Record(fields) => {
            let names: Vec<String> = fields.iter().map(|field| field.name.to_string()).collect();
            let values: Vec<_> = fields.iter().map(|field| value(&field.shape)).collect();
            values
                .prop_map(move |values| Val::Record(names.iter().cloned().zip(values).collect()))
                .boxed()
        }
        Shape::Tuple(parts) => parts.iter().map(value).collect::<Vec<_>>().prop_map(Val::Tuple).boxed(),
        Shape::Option(inner) => prop::option::of(value(inner))
            .prop_map(|value| Val::Option(value.map(Box::new)))
            .boxed(),
        Shape::Enum(names) => prop::sample::select(names.to_vec())
            .prop_map(|name| Val::Enum(name.into()))
            .boxed(),
        Shape::Flags(names) => prop::sample::subsequence(names.to_vec(), 0..=names.len())
            .prop_map(|names| Val::Flags(names.into_iter().map(String::from).collect()))
            .boxed(),
        Shape::Variant(cases) => {
            let cases = cases.iter().map(|case| {
                let name = case.name.to_string();
                payload(case.payload.as_ref())
                    .prop_map(move |payload| Val::Variant(name.clone(), payload))
                    .boxed()
            });
            proptest::strategy::Union::new(cases.collect::<Vec<_>>()).boxed()
        }
        Shape::Result { ok, err } => prop_oneof![
            payload(ok.as_deref()).prop_map(|value| Val::Result(Ok(value))),
            payload(err.as_deref()).prop_map(|value| Val::Result(Err(value))),
        ]
        .boxed(),
    }
}

/// JSON that resembles what the schema asks for, and may match it.
fn document(shape: &Shape) -> BoxedStrategy<Value> {
    let anything = prop_oneof![
        Just(json!(null)),
        Just(json!(1)),
        Just(json!(-1)),
        Just(json!(1.0)),
        Just(json!(0.5)),
        Just(json!(1e300)),
        Just(json!(u64::MAX)),
        Just(json!("18446744073709551615")),
        Just(json!("18446744073709551616")),
        Just(json!("007")),
        Just(json!("-0")),
        Just(json!("-9223372036854775808")),
        Just(json!("é")),
        Just(json!("")),
        Just(json!("QUI=")),
        Just(json!("name-0")),
        Just(json!("NaN")),
        Just(json!([])),
        Just(json!(["name-0", "name-0"])),
        Just(json!({})),
        Just(json!({ "some": null })),
        Just(json!({ "ok": null })),
        Just(json!({ "tag": "case-0" })),
        Just(json!({ "tag": "case-0", "value": null })),
    ];
    let real = value(shape);
    let shape = shape.clone();
    let real =
        real.prop_map(move |value| serde_json::from_str(&from_value::json(&value, &shape, LIMIT).unwrap()).unwrap());
    // A part of a real value replaced, or left out.
    (real, anything, 0_usize..8, any::<bool>())
        .prop_map(|(mut document, other, position, removes)| {
            let mut left = position;
            mutate(&mut document, &other, &mut left, removes);
            document
        })
        .boxed()
}

fn mutate(document: &mut Value, other: &Value, left: &mut usize, removes: bool) {
    if *left == 0 {
        *document = other.clone();
        *left = usize::MAX;
        return;
    }
    *left -= 1;
    match document {
        Value::Array(items) => items.iter_mut().for_each(|item| mutate(item, other, left, removes)),
        Value::Object(fields) => {
            if removes && *left == 0 {
                let first = fields.keys().next().cloned();
                first.map(|key| fields.remove(&key));
            }
            fields.values_mut().for_each(|item| mutate(item, other, left, removes));
        }
        _ => {}
    }
}

fn validator(shape: &Shape) -> Validator {
    let schema: Value = serde_json::from_str(&schema::of(shape).unwrap()).unwrap();
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(&schema)
        .unwrap()
}

fn room_of(limit: u64) -> Room {
    Room::new(limit, GuestMemory::new(Some(1 << 40)).share("tenant".into()))
}

fn read(text: &str, shape: &Shape) -> Result<Val, String> {
    to_value::value(text, shape, &mut room_of(LIMIT)).map_err(|problem| problem.to_string())
}

/// Whether the type has bytes, whose base64 a schema can't check.
fn has_bytes(shape: &Shape) -> bool {
    format!("{shape:?}").contains("Bytes")
}

#[test]
fn every_value_goes_to_json_and_back_and_its_json_is_accepted() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(96));
    let all = shape();
    runner
        .run(&all, |shape| {
            let validator = validator(&shape);
            let mut runner = TestRunner::new(ProptestConfig::with_cases(12));
            let checked = runner.run(&value(&shape), |value| {
                let text = from_value::json(&value, &shape, LIMIT).unwrap();
                prop_assert_eq!(read(&text, &shape), Ok(value), "{}", text);
                let document = serde_json::from_str(&text).unwrap();
                prop_assert!(validator.is_valid(&document), "{}", document);
                Ok(())
            });
            checked.map_err(|error| TestCaseError::fail(error.to_string()))
        })
        .unwrap();
}

#[test]
fn what_the_schema_accepts_converts_and_nothing_else() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(96));
    let all = shape();
    runner
        .run(&all, |shape| {
            let (validator, has_bytes) = (validator(&shape), has_bytes(&shape));
            let mut runner = TestRunner::new(ProptestConfig::with_cases(24));
            let checked = runner.run(&document(&shape), |document| {
                let converted = read(&document.to_string(), &shape);
                match validator.is_valid(&document) {
                    true => prop_assert!(converted.is_ok() || has_bytes, "{} {:?}", document, converted),
                    false => prop_assert!(converted.is_err(), "{} {:?}", document, converted),
                }
                Ok(())
            });
            checked.map_err(|error| TestCaseError::fail(error.to_string()))
        })
        .unwrap();
}

proptest! {
    /// The engine hands over only text that it accepted as JSON, but any text must end in a value or a problem.
    #[test]
    fn any_text_ends_in_a_value_or_a_problem(shape in shape(), text in any::<String>()) {
        let _ = read(&text, &shape);
    }

    #[test]
    fn decimal_strings_are_those_of_the_type(number in any::<i128>(), digits in "-?[0-9]{1,21}") {
        for integer in [Integer::U64, Integer::S64] {
            let validator = validator(&Shape::Integer(integer));
            for text in [number.to_string(), (number >> 64).to_string(), digits.clone()] {
                let is_canonical = text.parse::<i128>().is_ok_and(|number| number.to_string() == text);
                let in_range = text.parse::<i128>().is_ok_and(|number| (integer.min()..=integer.max()).contains(&number));
                prop_assert_eq!(validator.is_valid(&json!(text)), is_canonical && in_range, "{}", text);
            }
        }
    }
}

#[test]
fn the_ends_of_64_bits_are_exact() {
    for (integer, number, is_in_range) in [
        (Integer::U64, "18446744073709551615", true),
        (Integer::U64, "18446744073709551616", false),
        (Integer::U64, "-1", false),
        (Integer::S64, "9223372036854775807", true),
        (Integer::S64, "9223372036854775808", false),
        (Integer::S64, "-9223372036854775808", true),
        (Integer::S64, "-9223372036854775809", false),
    ] {
        let shape = Shape::Integer(integer);
        let quoted = format!("\"{number}\"");
        assert_eq!(read(number, &shape).is_ok(), is_in_range, "{number}");
        assert_eq!(read(&quoted, &shape).is_ok(), is_in_range, "{quoted}");
        assert_eq!(validator(&shape).is_valid(&json!(number)), is_in_range, "{number}");
    }
    let exact = read("9007199254740993", &Shape::Integer(Integer::U64)).unwrap();
    assert_eq!(exact, Val::U64(9_007_199_254_740_993), "an f64 would round it");
    let text = from_value::json(&exact, &Shape::Integer(Integer::U64), LIMIT).unwrap();
    assert_eq!(text, "\"9007199254740993\"");
    assert_eq!(
        read("1.8e19", &Shape::Integer(Integer::U64)).unwrap(),
        Val::U64(18_000_000_000_000_000_000)
    );
}

#[test]
fn a_problem_has_a_pointer() {
    let point = Shape::Record(Named::from_iter([
        Field::new("x-y", Shape::Integer(Integer::U8)),
        Field::new("b", Shape::Bytes),
    ]));
    let list = Shape::List(Box::new(point));
    for (text, expected) in [
        (
            r#"[{"x_y":1,"b":""},{"x_y":256,"b":""}]"#,
            "/1/x_y: 256 isn't an integer from 0 to 255",
        ),
        (r#"[{"b":""}]"#, "/0: lacks the field `x_y`"),
        (r#"[{"x-y":1,"b":""}]"#, "/0: has the unknown field x-y"),
        (r#"[{"x_y":1,"x_y":1,"b":""}]"#, "/0/x_y: stands there twice"),
        ("{}", "must be an array"),
    ] {
        assert_eq!(read(text, &list), Err(expected.to_owned()));
    }
    for base64 in ["QQ", "QQ=", "QR==", "Q-==", " QQ==", "QQ==\n"] {
        let problem = read(&format!(r#"[{{"x_y":1,"b":{}}}]"#, json!(base64)), &list).unwrap_err();
        assert!(problem.starts_with("/0/b: isn't base64"), "{base64}: {problem}");
    }
}

#[test]
fn memory_and_output_are_bounded() {
    let bytes = format!("\"{}\"", "QUFB".repeat(1_000));
    let room = |limit| to_value::value(&bytes, &Shape::Bytes, &mut room_of(limit));
    assert!(room(3_000 * 40).is_ok());
    assert!(room(3_000 * 40 - 1).unwrap_err().to_string().contains("limits.memory"));
    let list = Shape::List(Box::new(Shape::Text));
    let value = read(r#"["abc","def"]"#, &list).unwrap();
    assert!(from_value::json(&value, &list, 13).is_ok());
    let refused = from_value::json(&value, &list, 12).unwrap_err();
    assert!(refused.to_string().contains("output_bytes"), "{refused}");
    assert!(from_value::base64(b"abc", 4).is_ok() && from_value::base64(b"abcd", 4).is_err());
}

#[test]
fn values_are_charged_to_all_guests_memory_before_they_are_made() {
    let memory = GuestMemory::new(Some(4 << 20));
    let list = Shape::List(Box::new(Shape::Tuple(Box::new([Shape::Bool]))));
    let text = format!("[{}[true]]", "[true],".repeat(9_999));
    let convert = |text: &str| {
        let mut room = Room::new(LIMIT, memory.share("tenant".into()));
        to_value::value(text, &list, &mut room).map(|_| room.into_share())
    };
    let held = convert(&text).unwrap();
    assert_eq!(convert(&text).unwrap_err(), Problem::NoMemory(NoMemory::TakenByOthers));
    drop(held);
    assert!(convert(&text).is_ok());
    // It stops at the limit, long before the end of the input.
    let endless = format!("[{}", "[true],".repeat(1 << 20));
    assert!(matches!(
        convert(&endless).unwrap_err(),
        Problem::NoMemory(NoMemory::TooMuch { .. })
    ));
}

#[test]
fn of_equal_keys_of_a_map_the_last_one_counts() {
    let shape = Shape::Map(Box::new(Shape::Text), Box::new(Shape::Bool));
    let pair = |value| (Val::String("a".to_owned()), Val::Bool(value));
    let text = from_value::json(&Val::Map(vec![pair(true), pair(false)]), &shape, LIMIT).unwrap();
    assert_eq!(text, r#"{"a":false}"#);
}
