//! The example plugins embedded in the binary, `builtin:NAME` in a configuration. `build.rs` compiles them from `plugins/`.

use super::settings::{ComponentSource, PluginSettings};

/// The names that [`builtin`] knows.
pub const BUILTIN_NAMES: [&str; 4] = ["calculator", "weather", "notes", "faulty"];

/// The bytes of the embedded component `name`, or `None` if the name is unknown.
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    match name {
        "calculator" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/calculator.wasm"))),
        "weather" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/weather.wasm"))),
        "notes" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/notes.wasm"))),
        "faulty" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/faulty.wasm"))),
        _ => None,
    }
}

/// The settings that an embedded component can't work without. Each is the address of a server that it sends GET requests to.
const fn needed_addresses(name: &str) -> &'static [&'static str] {
    match name.as_bytes() {
        b"weather" => &["geocoding_url", "forecast_url"],
        _ => &[],
    }
}

impl PluginSettings {
    /// What the plugin lacks, so that its calls fail, a sentence each. Known of embedded components only.
    pub fn unmet_needs(&self) -> Vec<String> {
        let ComponentSource::Builtin(name) = &self.source else {
            return Vec::new();
        };
        let needs = needed_addresses(name).iter();
        let unmet = needs.filter_map(|key| match self.grants.config.get(*key) {
            None => Some(format!(
                "`config` has no `{key}`, which {} needs, so its calls fail",
                self.source
            )),
            Some(url) if !self.grants.http.iter().any(|grant| grant.reaches("GET", url)) => Some(format!(
                "`http` doesn't grant GET to `{key}`, which {} asks, so its calls fail",
                self.source
            )),
            Some(_) => None,
        });
        unmet.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_name_is_a_component() {
        for name in BUILTIN_NAMES {
            let bytes = builtin(name).unwrap_or_default();
            // The magic number and the component layer's version, which differs from a core module's.
            assert!(bytes.starts_with(b"\0asm\x0d\x00\x01\x00"), "{name}");
        }
        assert!(builtin("nonesuch").is_none());
    }
}
