//! A configuration built in code: invalid values are refused as in a file, by every function that takes one.

use std::path::PathBuf;
use std::time::Duration;

use cofferdam::assembly::{HostError, load_tools, open_sandbox};
use cofferdam::config::{Config, Origin};
use cofferdam::model::{ApiVersion, ProviderKind};
use cofferdam::money::NanoUsd;
use cofferdam::resilience::BreakerSettings;
use cofferdam::sandbox::FolderGrant;
use cofferdam::simulator::Answer;
use cofferdam::tools::{ToolSet, ToolSettings};

use super::{builder_with, compile_place, config_with, faulty, model};

/// A change of the configuration, the key it has in a file, and the expected message.
type InvalidSetting = (fn(&mut Config), &'static str, &'static str);

/// Some invalid values for every section. The unit tests of the bounds cover each limit of a call.
const INVALID_SETTINGS: &[InvalidSetting] = &[
    (|config| config.model.model.clear(), "model.model", "must not be empty"),
    (
        |config| config.model.base_url = "ftp://x/".parse().unwrap(),
        "model.base_url",
        "`ftp://x/` is not a usable URL: it must start with http:// or https://",
    ),
    (
        |config| config.model.base_url = "https://u:hunter2@x/".parse().unwrap(),
        "model.base_url",
        "a URL must not contain a user name or a password",
    ),
    (
        |config| {
            config.model.provider = ProviderKind::Simulated;
            config.model.base_url = "https://x/".parse().unwrap();
        },
        "model.base_url",
        "`https://x` is not on this machine",
    ),
    (
        |config| config.model.max_tokens = 0,
        "model.max_tokens",
        "must be between 1 and 10000000, found 0",
    ),
    (
        |config| config.sessions.max_bytes = 0,
        "sessions.max_bytes",
        "must be between 1B and",
    ),
    (
        |config| config.sessions.retention_days = 0,
        "sessions.retention",
        "must be between 1 and 36500, found 0",
    ),
    (
        |config| config.storage.path = Some(PathBuf::new()),
        "storage.path",
        "must not be empty",
    ),
    (
        |config| config.engine.host_memory = Some(1),
        "limits.host_memory",
        "must be between 1MiB and",
    ),
    (
        |config| config.model.connect_timeout = Duration::ZERO,
        "model.connect_timeout",
        LONGER_THAN_ZERO,
    ),
    (
        |config| config.model.idle_timeout = Duration::ZERO,
        "model.idle_timeout",
        LONGER_THAN_ZERO,
    ),
    (
        |config| config.model.attempt_timeout = Duration::ZERO,
        "model.attempt_timeout",
        LONGER_THAN_ZERO,
    ),
    (
        |config| config.model.temperature = Some(f64::NAN),
        "model.temperature",
        "must be between 0 and 1, found NaN",
    ),
    (
        |config| config.model.temperature = Some(-0.5),
        "model.temperature",
        "must be between 0 and 1, found -0.5",
    ),
    (
        |config| config.model.temperature = Some(0.5),
        "model.temperature",
        "API version 2026-10-21 refuses sampling parameters",
    ),
    (|config| config.agent.name.clear(), "agent.name", "must not be empty"),
    (
        |config| config.agent.name = "x".repeat(65),
        "agent.name",
        "must not be longer than 64 characters",
    ),
    (
        |config| config.agent.max_iterations = 0,
        "agent.max_iterations",
        "must be between 1 and 10000, found 0",
    ),
    (
        |config| config.agent.max_tool_calls = u32::MAX,
        "agent.max_tool_calls",
        "must be between 1 and 100000, found 4294967295",
    ),
    (
        |config| config.agent.parallel_tool_calls = 0,
        "agent.parallel_tool_calls",
        "must be between 1 and 10000, found 0",
    ),
    (
        |config| config.agent.max_result_bytes = 0,
        "agent.max_result_bytes",
        "must be between 1B and 1GiB, found 0B",
    ),
    (
        |config| config.agent.deadline = Duration::ZERO,
        "agent.deadline",
        LONGER_THAN_ZERO,
    ),
    (
        |config| config.retry.max_attempts = 0,
        "retry.max_attempts",
        "must be between 1 and 100, found 0",
    ),
    (
        |config| config.retry.initial_delay = Duration::ZERO,
        "retry.initial_delay",
        LONGER_THAN_ZERO,
    ),
    (
        |config| config.retry.max_delay = Duration::MAX,
        "retry.max_delay",
        "must be longer than zero and at most 30 days, found 18446744073709551615",
    ),
    (
        |config| config.retry.max_delay = Duration::from_millis(500),
        "retry.max_delay",
        "max_delay (500ms) is shorter than initial_delay (1s)",
    ),
    (
        |config| config.retry.multiplier = f64::INFINITY,
        "retry.multiplier",
        "must be between 1 and 100, found inf",
    ),
    (
        |config| config.retry.multiplier = f64::NAN,
        "retry.multiplier",
        "must be between 1 and 100, found NaN",
    ),
    (
        |config| config.breaker.failure_threshold = 0,
        "breaker.failure_threshold",
        "must be between 1 and 1000000, found 0",
    ),
    (
        |config| config.breaker.open_for = Duration::MAX,
        "breaker.open_for",
        LONGER_THAN_ZERO,
    ),
    (
        |config| config.budget.daily = Some(NanoUsd::ZERO),
        "budget.host_day_usd",
        "a limit of zero would refuse every request",
    ),
    (
        |config| config.engine.stack = 0,
        "limits.stack",
        "must be between 64KiB and 16MiB, found 0B",
    ),
    (
        |config| config.engine.host_concurrency = 0,
        "limits.host_concurrency",
        "must be between 1 and 10000, found 0",
    ),
    (
        |config| config.queue_timeout = Duration::ZERO,
        "limits.queue_timeout",
        LONGER_THAN_ZERO,
    ),
    (
        |config| config.alerts.error_rate = f64::NAN,
        "alerts.error_rate",
        "must be between 0 and 1, found NaN",
    ),
    (
        |config| config.alerts.error_rate = -0.1,
        "alerts.error_rate",
        "must be between 0 and 1, found -0.1",
    ),
    (
        |config| config.engine.cache_bytes = 0,
        "storage.cache_bytes",
        "must be between 1B and",
    ),
    (
        |config| config.plugins[0].name = "a b".to_owned(),
        "plugins.\"a b\"",
        "`a b` is not a legal name",
    ),
    (
        |config| config.plugins.push(faulty()),
        "plugins.faulty",
        "two plugins have this name",
    ),
    (
        |config| config.plugins[0].grants.limits.fuel = 0,
        "plugins.faulty.limits.fuel",
        "must be between 1 and 18446744073709551615, found 0",
    ),
    (
        |config| config.plugins[0].grants.limits.timeout = Duration::MAX,
        "plugins.faulty.limits.timeout",
        "must be longer than zero and at most 30 days, found 18446744073709551615",
    ),
    (
        |config| config.plugins[0].grants.limits.memory = 1024,
        "plugins.faulty.limits.memory",
        "must be between 64KiB and 4GiB, found 1KiB",
    ),
    (
        |config| config.plugins[0].grants.limits.output_bytes = u64::MAX,
        "plugins.faulty.limits.output_bytes",
        "must be between 1B and 1GiB, found 18446744073709551615B",
    ),
    (
        |config| config.plugins[0].breaker.success_threshold = 0,
        "plugins.faulty.breaker.success_threshold",
        "must be between 1 and 1000000, found 0",
    ),
    (
        |config| config.plugins[0].grants.files = vec![folder("data")],
        "plugins.faulty.files[0].at",
        "`data` must begin with `/`",
    ),
    (
        |config| config.plugins[0].grants.files = vec![folder("/data"), folder("/data")],
        "plugins.faulty.files[1].at",
        "`/data` is already taken by another folder",
    ),
    (
        |config| set_variable(config, "A=B", "c"),
        "plugins.faulty.env.\"A=B\"",
        "isn't a valid variable name: it is empty or contains `=` or NUL",
    ),
    (
        |config| set_variable(config, "A", "b\0c"),
        "plugins.faulty.env.A",
        "contains a NUL, which would end the variable",
    ),
    (
        |config| config.plugins[0].grants.arguments = vec!["a".to_owned(), "b\0".to_owned()],
        "plugins.faulty.args[1]",
        "contains a NUL, which would end the argument",
    ),
    (
        |config| set_tool(config, "not one", ToolSettings::default()),
        "plugins.faulty.tools.\"not one\"",
        "`not one` is not a legal name",
    ),
    (
        |config| {
            let tool = ToolSettings {
                name: Some("é".to_owned()),
                ..ToolSettings::default()
            };
            set_tool(config, "echo", tool);
        },
        "plugins.faulty.tools.echo.name",
        "`é` is not a legal name",
    ),
    (
        |config| {
            let tool = ToolSettings {
                name: Some("panic".to_owned()),
                ..ToolSettings::default()
            };
            set_tool(config, "echo", tool);
            set_tool(config, "panic", ToolSettings::default());
        },
        "plugins.faulty.tools.panic",
        "the tool name `panic` is taken by plugins.faulty.tools.echo.name",
    ),
    (
        |config| {
            let breaker = BreakerSettings {
                open_for: Duration::ZERO,
                ..BreakerSettings::default()
            };
            let tool = ToolSettings {
                breaker: Some(breaker),
                ..ToolSettings::default()
            };
            set_tool(config, "echo", tool);
        },
        "plugins.faulty.tools.echo.breaker.open_for",
        LONGER_THAN_ZERO,
    ),
];

const LONGER_THAN_ZERO: &str = "must be longer than zero and at most 30 days, found ";

fn folder(at: &str) -> FolderGrant {
    FolderGrant {
        folder: "/".into(),
        at: at.to_owned(),
        write: false,
    }
}

fn set_variable(config: &mut Config, name: &str, value: &str) {
    let environment = &mut config.plugins[0].grants.environment;
    environment.insert(name.to_owned(), value.to_owned());
}

fn set_tool(config: &mut Config, name: &str, tool: ToolSettings) {
    config.plugins[0].tools.insert(name.to_owned(), tool);
}

/// The keys that an error names, each with its message.
fn problem_keys(error: &HostError) -> Vec<(&str, &str)> {
    let HostError::Config(error) = error else {
        panic!("another error: {error}")
    };
    let problems = error.problems().iter();
    problems
        .inspect(|problem| assert_eq!(problem.origin, Origin::Code))
        .map(|problem| (problem.key.as_str(), problem.message.as_str()))
        .collect()
}

#[tokio::test]
async fn a_builder_refuses_invalid_values() {
    let model = model([Answer::text("unused")]);
    for &(change, key, says) in INVALID_SETTINGS {
        let error = builder_with(&model, change).build().await.unwrap_err();
        let [(problem_key, message)] = problem_keys(&error)[..] else {
            panic!("{key}: {error}")
        };
        assert_eq!(problem_key, key, "{error}");
        assert!(message.starts_with(says), "{key}: {message}");
        // Its printed form contains the same.
        let text = error.to_string();
        assert!(text.contains(&format!("{key}: {says}")), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn values_at_the_bounds_are_valid() {
    let model = model([Answer::text("unused")]);
    assert_eq!(Config::default().check(), Ok(()));
    let edge = |config: &mut Config| {
        config.model.api_version = ApiVersion::V2023_06_01;
        config.model.temperature = Some(0.0);
        config.agent.max_iterations = 1;
        config.agent.deadline = Duration::from_secs(30 * 24 * 3600);
        config.retry.multiplier = 1.0;
        config.alerts.error_rate = 1.0;
        let limits = &mut config.plugins[0].grants.limits;
        (limits.fuel, limits.host_calls) = (u64::MAX, u64::MAX);
        limits.memory = 64 * 1024;
        limits.timeout = Duration::from_nanos(1);
    };
    assert_eq!(config_with(&model, edge).check(), Ok(()));
}

#[tokio::test]
async fn every_entry_point_reports_all_problems_at_once() {
    let model = model([Answer::text("unused")]);
    let change = |config: &mut Config| {
        config.plugins[0].grants.limits.timeout = Duration::MAX;
        config.agent.max_iterations = 0;
    };
    let config = config_with(&model, change);
    let tls = cofferdam::tls::client_config().unwrap();
    for error in [
        builder_with(&model, change).build().await.unwrap_err(),
        load_tools(&config, Some(compile_place()), tls.clone())
            .await
            .unwrap_err(),
        open_sandbox(&config, Some(compile_place()), tls).unwrap_err(),
    ] {
        let keys: Vec<&str> = problem_keys(&error).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["agent.max_iterations", "plugins.faulty.limits.timeout"]);
        let text = error.to_string();
        assert!(text.starts_with("the configuration has 2 problems\n"), "{text}");
        assert!(error.hint().is_some());
    }
}

/// A configuration can't contain two plugins of one name. Loaded without a configuration, the first keeps the names.
#[tokio::test]
async fn of_plugins_with_the_same_name_the_first_keeps_its_tools() {
    let model = model([Answer::text("unused")]);
    let config = config_with(&model, |_| ());
    let tls = cofferdam::tls::client_config().unwrap();
    let sandbox = open_sandbox(&config, Some(compile_place()), tls).unwrap();
    let duplicates = [faulty(), faulty()];
    let tools = ToolSet::load(&sandbox, &duplicates, 2, config.queue_timeout)
        .await
        .unwrap();
    let count = tools.tools().count();
    assert!(tools.tools().any(|tool| tool.name == "echo"));
    let problems: Vec<String> = tools.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), count, "{problems:?}");
    for problem in problems {
        assert!(problem.contains("lost to the tool `"), "{problem}");
    }
}
