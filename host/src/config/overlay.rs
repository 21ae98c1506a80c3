//! A table that overrides some keys of another one and inherits the rest.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Some keys of `T`. It reuses the keys and the schema of `T`, so no key has to be declared twice.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Overlay<T> {
    keys: Map<String, Value>,
    over: PhantomData<T>,
}

impl<T> Overlay<T> {
    fn new(keys: Map<String, Value>) -> Self {
        Self {
            keys,
            over: PhantomData,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl<T: Serialize + DeserializeOwned> Overlay<T> {
    /// All keys of `value`.
    pub(super) fn of(value: &T) -> Self {
        match serde_json::to_value(value) {
            Ok(Value::Object(keys)) => Self::new(keys),
            _ => Self::default(),
        }
    }

    /// `base` with these keys replaced.
    pub(super) fn over(&self, base: &T) -> serde_json::Result<T> {
        let mut keys = Self::of(base).keys;
        keys.extend(self.keys.clone());
        serde_json::from_value(Value::Object(keys))
    }
}

impl<T> Default for Overlay<T> {
    fn default() -> Self {
        Self::new(Map::new())
    }
}

impl<T> Serialize for Overlay<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.keys.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Overlay<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::new)
    }
}

/// The schema of `T` without its defaults, because a missing key is inherited.
impl<T: JsonSchema> JsonSchema for Overlay<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}Override", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            for property in properties.values_mut().filter_map(Value::as_object_mut) {
                property.remove("default");
            }
        }
        schema
    }
}
