//! A request with any JSON value at any position.

use proptest::prelude::*;

use super::super::super::answer::{RequestContext, reply};
use super::super::super::chat;
use super::super::super::dialect::Dialect;
use super::super::super::prompt_cache::CachedTokens;
use super::super::super::request::RequestView;
use super::super::super::script::Answer;
use super::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z_]{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("text"),
            Just("tool_use"),
            Just("tool_result"),
            Just("user"),
            Just("a")
        ]
        .prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("type".to_owned()),
        Just("content".to_owned()),
        Just("role".to_owned()),
        Just("id".to_owned()),
        "[a-z]{0,4}",
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Collects the JSON pointer of every position in a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn never_panics(replacement in any_json(), place in any::<prop::sample::Index>()) {
        let mut request = request();
        let mut found = Vec::new();
        places(&request, "", &mut found);
        *request.pointer_mut(place.get::<String>(&found)).unwrap() = replacement;
        let _ = checked(&request, Purpose::Run);
        let _ = checked(&request, Purpose::CountTokens);
        let _ = checked_as(&request, Purpose::Run, Version::Older, "");
        let _ = chat::check(&request);
        let as_messages = chat::as_messages(&request);
        let _ = RequestView::new(&as_messages).last_results();
        let view = RequestView::new(&request);
        let context = RequestContext { view, dialect: Dialect::Messages, includes_usage: true, bytes: 1, cached: CachedTokens::default(), number: 1, request_id: "req" };
        let _ = reply(&Answer::text("{{last_user}} {{last_tool_results}} {{result:calculate}}"), &context);
    }
}
