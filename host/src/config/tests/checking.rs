//! What settings must be, whether a file says them or a program.

use std::time::Duration;

use super::*;
use crate::config::FileLimits;
use crate::sandbox::{FolderGrant, Limits};
use crate::tools::{ComponentSource, PluginSettings, ToolSettings};

/// What is wrong, whoever is to blame.
fn told(error: &ConfigError) -> Vec<(&str, &str, Option<&str>)> {
    let problems = error.problems().iter();
    let mut told: Vec<_> = problems
        .map(|problem| {
            let hint = problem.hint.as_deref();
            (problem.key.as_str(), problem.message.as_str(), hint)
        })
        .collect();
    told.sort_unstable();
    told
}

#[test]
fn what_holds_without_a_file_makes_sense() {
    assert_eq!(Config::default().check(), Ok(()));
    let without_file = Config::load_from(&nowhere(&[])).unwrap();
    assert_eq!(without_file.check(), Ok(()));
}

#[test]
fn a_program_is_told_what_a_file_is_told() {
    let text = r#"
        [model]
        provider = "simulated"
        base_url = "https://x"
        [retry]
        max_delay = "500ms"
        [limits]
        memory = 1
        stack = "1GiB"
        [plugins.p]
        component = "builtin:faulty"
        files = [{ folder = "/", at = "/data" }, { folder = "/", at = "/data" }]
        env = { "A=B" = "c", D = "\u0000" }
        args = ["a", "\u0000"]
        limits = { output_bytes = "2GiB" }
        [plugins.p.tools.t]
        name = "same"
        [plugins."q r"]
        component = "builtin:faulty"
        tools.same = {}
    "#;
    let of_file = load_with(text, &[]).unwrap_err();

    let mut config = Config {
        limits: FileLimits(Limits {
            memory: 1,
            ..Limits::default()
        }),
        ..Config::default()
    };
    config.model.provider = crate::model::ProviderKind::Simulated;
    config.model.base_url = "https://x".parse().unwrap();
    config.retry.max_delay = Duration::from_millis(500);
    config.engine.stack = 1 << 30;
    let mut plugin = PluginSettings::new("p", ComponentSource::Builtin("faulty".to_owned()));
    let folder = FolderGrant {
        folder: "/".into(),
        at: "/data".to_owned(),
        write: false,
    };
    plugin.grants.files = vec![folder.clone(), folder];
    plugin.grants.environment = [("A=B", "c"), ("D", "\0")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    plugin.grants.arguments = vec!["a".to_owned(), "\0".to_owned()];
    plugin.grants.limits.output_bytes = 2 << 30;
    let renamed = ToolSettings {
        name: Some("same".to_owned()),
        ..ToolSettings::default()
    };
    plugin.tools.insert("t".to_owned(), renamed);
    let mut other = PluginSettings::new("q r", ComponentSource::Builtin("faulty".to_owned()));
    other.tools.insert("same".to_owned(), ToolSettings::default());
    config.plugins = vec![plugin, other];
    let of_program = config.check().unwrap_err();

    assert_eq!(told(&of_program), told(&of_file));
    assert_eq!(of_program.problems().len(), 11, "{of_program}");
    let first = of_program.problems()[0].to_string();
    assert!(
        first.starts_with("in code: limits.memory: must be between 64KiB and 4GiB, found 1B"),
        "{first}"
    );
}
