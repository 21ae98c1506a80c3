//! A configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::load::{LoadOptions, read};
use super::source::Source;

/// Any text is a configuration, or is told what is wrong with it.
pub fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let options = LoadOptions {
        file: None,
        env: BTreeMap::new(),
        cwd: PathBuf::from("/"),
        folders: None,
    };
    let source = Source::file(Path::new("cofferdam.toml"), text);
    match read(&source, Path::new("/"), &options) {
        Ok(config) => {
            assert_eq!(config.check(), Ok(()), "what a file may say a program may say");
            let shown = config.to_toml();
            let again: Result<toml::Table, _> = shown.parse();
            assert!(again.is_ok(), "what is shown is no TOML: {again:?}");
            assert!(config.to_json().is_object());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
