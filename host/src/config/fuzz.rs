//! Fuzzes the parsing of a configuration file.

use std::path::{Path, PathBuf};

use super::load::{LoadOptions, read};
use super::source::Source;

/// Any text either loads as a configuration or is rejected with a message.
pub fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let options = LoadOptions {
        cwd: PathBuf::from("/"),
        ..LoadOptions::default()
    };
    let source = Source::file(Path::new("cofferdam.toml"), text);
    match read(&source, Path::new("/"), &options) {
        Ok(config) => {
            assert_eq!(config.check(), Ok(()), "a valid file makes valid settings");
            let shown = config.to_toml();
            let again: Result<toml::Table, _> = shown.parse();
            assert!(again.is_ok(), "`to_toml` printed invalid TOML: {again:?}");
            assert!(config.to_json().is_object());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
