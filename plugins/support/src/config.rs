//! Values that the operator configured for this plugin, read through `wasi:config/store`.

wit_bindgen::generate!({ path: "wit", world: "wasi:config/imports" });

use self::wasi::config::store::{self, Error};

/// The value of `key`, if the operator set one. The error is the host's message.
pub fn value(key: &str) -> Result<Option<String>, String> {
    store::get(key).map_err(|error| match error {
        Error::Upstream(message) | Error::Io(message) => message,
    })
}
