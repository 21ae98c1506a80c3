//! The checks for settings from a file and from a program.

use std::time::Duration;

use super::*;
use crate::config::InheritedLimits;
use crate::sandbox::{FolderGrant, Limits};
use crate::tools::{ComponentSource, PluginSettings, ToolSettings};

/// The problems without their origins, sorted.
fn reported(error: &ConfigError) -> Vec<(&str, &str, Option<&str>)> {
    let problems = error.problems().iter();
    let mut reported: Vec<_> = problems
        .map(|problem| {
            let hint = problem.hint.as_deref();
            (problem.key.as_str(), problem.message.as_str(), hint)
        })
        .collect();
    reported.sort_unstable();
    reported
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(Config::default().check(), Ok(()));
    let without_file = Config::load_from(&nowhere(&[])).unwrap();
    assert_eq!(without_file.check(), Ok(()));
}

#[test]
fn programs_and_files_get_the_same_problems() {
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
        limits: InheritedLimits(Limits {
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

    assert_eq!(reported(&of_program), reported(&of_file));
    assert_eq!(of_program.problems().len(), 11, "{of_program}");
    let first = of_program.problems()[0].to_string();
    assert!(
        first.starts_with("in code: limits.memory: must be between 64KiB and 4GiB, found 1B"),
        "{first}"
    );
}

/// A limit's name, its setter, its minimum and its maximum.
type Limit = (&'static str, fn(&mut Limits, u64), u64, u64);
/// A duration limit. All durations share the same bounds.
type TimeLimit = (&'static str, fn(&mut Limits, Duration));

#[test]
fn each_limit_has_its_own_bounds() {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let numbers: [Limit; 15] = [
        (
            "table_elements",
            |limits, value| limits.table_elements = u32::try_from(value).unwrap(),
            1,
            10_000_000,
        ),
        (
            "core_instances",
            |limits, value| limits.core_instances = u32::try_from(value).unwrap(),
            1,
            10_000,
        ),
        (
            "handles",
            |limits, value| limits.handles = u32::try_from(value).unwrap(),
            1,
            1_000_000,
        ),
        (
            "http_requests",
            |limits, value| limits.http_requests = u32::try_from(value).unwrap(),
            1,
            1_000_000,
        ),
        (
            "concurrency",
            |limits, value| limits.concurrency = u32::try_from(value).unwrap(),
            1,
            10_000,
        ),
        ("memory", |limits, value| limits.memory = value, 64 * KIB, 4 * GIB),
        ("input_bytes", |limits, value| limits.input_bytes = value, 1, GIB),
        ("output_bytes", |limits, value| limits.output_bytes = value, 1, GIB),
        ("log_bytes", |limits, value| limits.log_bytes = value, 1, GIB),
        (
            "http_request_bytes",
            |limits, value| limits.http_request_bytes = value,
            1,
            4 * GIB,
        ),
        (
            "http_response_bytes",
            |limits, value| limits.http_response_bytes = value,
            1,
            4 * GIB,
        ),
        ("keyvalue_bytes", |limits, value| limits.keyvalue_bytes = value, 1, GIB),
        ("file_bytes", |limits, value| limits.file_bytes = value, 1, 1024 * GIB),
        (
            "component_bytes",
            |limits, value| limits.component_bytes = value,
            1,
            4 * GIB,
        ),
        (
            "compile_memory",
            |limits, value| limits.compile_memory = value,
            16 * MIB,
            1024 * GIB,
        ),
    ];
    let with = |set: &dyn Fn(&mut Limits)| {
        let mut plugin = PluginSettings::new("p", ComponentSource::Builtin("faulty".to_owned()));
        set(&mut plugin.grants.limits);
        let config = Config {
            plugins: vec![plugin],
            ..Config::default()
        };
        config.check()
    };
    for (name, set, least, most) in numbers {
        for fits in [least, most] {
            assert_eq!(with(&|limits| set(limits, fits)), Ok(()), "{name} {fits}");
        }
        for beyond in [least - 1, most + 1] {
            let error = with(&|limits| set(limits, beyond)).unwrap_err();
            let key = format!("plugins.p.limits.{name}");
            assert!(
                matches!(&reported(&error)[..], [(reported, _, _)] if *reported == key),
                "{name} {beyond}: {error}"
            );
        }
    }
    let durations: [TimeLimit; 2] = [
        ("timeout", |limits, value| limits.timeout = value),
        ("compile_timeout", |limits, value| limits.compile_timeout = value),
    ];
    // Those that no file and no program can set too high.
    let unbounded = ["fuel", "host_calls"];
    let mut names: Vec<&str> = numbers.iter().map(|(name, ..)| *name).collect();
    names.extend(durations.iter().map(|(name, _)| *name));
    names.extend(unbounded);
    names.sort_unstable();
    let mut all = Limits::NAMES.to_vec();
    all.sort_unstable();
    assert_eq!(names, all);
    for (name, set) in durations {
        for beyond in [Duration::ZERO, Duration::MAX] {
            let error = with(&|limits| set(limits, beyond)).unwrap_err();
            assert!(reported(&error)[0].0.ends_with(&format!("limits.{name}")), "{error}");
        }
    }
}
