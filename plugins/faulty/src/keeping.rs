//! `wasi:keyvalue`, as any plugin can use it.

wit_bindgen::generate!({ path: "../../wit/wasi-keyvalue", world: "imports" });

use serde_json::{Value, json};
use wasi::keyvalue::store::{Bucket, Error, open};

use crate::{Outcome, number, size, string};

pub fn keep(input: &Value) -> Outcome {
    crate::json(&match done(input) {
        Ok(value) => value,
        Err(Error::NoSuchStore) => json!({ "error": "no such store" }),
        Err(Error::AccessDenied) => json!({ "error": "access denied" }),
        Err(Error::Other(message)) => json!({ "error": message }),
    })
}

fn done(input: &Value) -> Result<Value, Error> {
    let bucket = open(string(input, "store", ""))?;
    let key = string(input, "key", "key");
    match string(input, "do", "get") {
        "set" => bucket.set(key, &vec![b'v'; size(input, "bytes", 1)])?,
        "delete" => bucket.delete(key)?,
        "exists" => return Ok(json!(bucket.exists(key)?)),
        "keys" => return keys(&bucket),
        // Writes the same entry `count` times.
        "again" => {
            let value = vec![b'v'; size(input, "bytes", 1)];
            (0..number(input, "count", 0)).try_for_each(|_| bucket.set(key, &value))?;
        }
        // `count` entries without values.
        "fill" => (0..number(input, "count", 0)).try_for_each(|number| bucket.set(&format!("{key}{number}"), b""))?,
        _ => return Ok(json!(bucket.get(key)?.map(|value| value.len()))),
    }
    Ok(json!("done"))
}

fn keys(bucket: &Bucket) -> Result<Value, Error> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = bucket.list_keys(cursor)?;
        all.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(json!(all));
        }
    }
}
