//! Environment variables override the file.

use std::time::Duration;

use super::*;
use crate::money::NanoUsd;

#[test]
fn every_kind_of_value_can_be_overridden() {
    let config = load_with(
        "[model]\nmodel = \"from the file\"\nmax_tokens = 1",
        &[
            ("COFFERDAM_MODEL__MODEL", "claude-opus-5-5"),
            ("COFFERDAM_MODEL__STREAM", "false"),
            ("COFFERDAM_BUDGET__SESSION_USD", "0.5"),
            ("COFFERDAM_BUDGET__DAILY_USD", "unlimited"),
            ("COFFERDAM_LIMITS__TIMEOUT", "3s"),
            ("COFFERDAM_LIMITS__MEMORY", "1 MiB"),
            ("COFFERDAM_PLUGINS__W__COMPONENT", "builtin:weather"),
            ("COFFERDAM_PLUGINS__W__HTTP", "[{ url = \"https://x/\" }]"),
            ("COFFERDAM_PLUGINS__W__LIMITS__TIMEOUT", "\"2s\""),
        ],
    )
    .unwrap();
    assert_eq!(
        (
            config.model.model.as_str(),
            config.model.max_tokens,
            config.model.stream
        ),
        ("claude-opus-5-5", 1, false)
    );
    assert_eq!(config.budget.session, Some(NanoUsd::from_nanos(500_000_000)));
    assert_eq!(config.budget.daily, None);
    assert_eq!(
        (config.limits.timeout, config.limits.memory),
        (Duration::from_secs(3), 1 << 20)
    );
    assert_eq!(config.plugins[0].grants.limits.timeout, Duration::from_secs(2));
    assert_eq!(config.plugins[0].grants.http.len(), 1);
}

#[test]
fn the_built_in_configuration_can_be_overridden() {
    let config = Config::load_from(&nowhere(&[("COFFERDAM_PLUGINS__WEATHER__LIMITS__TIMEOUT", "1s")])).unwrap();
    let timeouts: Vec<_> = config
        .plugins
        .iter()
        .map(|plugin| (plugin.name.as_str(), plugin.grants.limits.timeout.as_secs()))
        .collect();
    assert_eq!(timeouts, [("calculator", 10), ("weather", 1)]);
}

#[test]
fn a_string_may_look_like_another_type() {
    let config = load_with(
        "[plugins.p]\ncomponent = \"builtin:faulty\"",
        &[
            ("COFFERDAM_AGENT__SYSTEM", "true"),
            ("COFFERDAM_MODEL__MODEL", "1.50"),
            ("COFFERDAM_PLUGINS__P__CONFIG__PORT", "8080"),
            ("COFFERDAM_AGENT__NAME", "2026-11-24"),
        ],
    )
    .unwrap();
    assert_eq!(
        (config.agent.system.as_str(), config.model.model.as_str()),
        ("true", "1.50")
    );
    assert_eq!(
        (
            config.plugins[0].grants.config["port"].as_str(),
            config.agent.name.as_str()
        ),
        ("8080", "2026-11-24")
    );
}

#[test]
fn problems_name_the_variable() {
    let found = problems(
        "",
        &[
            ("COFFERDAM_MODEL__MAX_TOKENS", "many"),
            ("COFFERDAM_MODEL__MODLE", "x"),
            ("COFFERDAM_NOTHING__AT_ALL", "x"),
            ("COFFERDAM_MODEL__API_KEY", "sk-ant-api03-abcdefghijklmnop"),
            ("COFFERDAM___X", "1"),
        ],
    );
    let starts = [
        "COFFERDAM_MODEL__API_KEY: model.api_key: an API key must not be in",
        "COFFERDAM_MODEL__MAX_TOKENS: model.max_tokens: expected a whole number, found the string `many`",
        "COFFERDAM_MODEL__MODLE: model.modle: unknown key | did you mean `model`?",
        "COFFERDAM_NOTHING__AT_ALL: nothing: unknown key",
        "COFFERDAM___X: is not a configuration key",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}");
    }
}

#[test]
fn paths_in_variables_are_relative_to_the_current_folder() {
    let source = Source::file(Path::new("c.toml"), "storage.path = \"a\"".to_owned());
    let options = nowhere(&[("COFFERDAM_LOGGING__DIRECTORY", "b")]);
    let config = load::read(&source, Path::new("/elsewhere"), &options).unwrap();
    assert_eq!(config.storage.path.as_deref(), Some(Path::new("/elsewhere/a")));
    assert_eq!(config.logging.directory.as_deref(), Some(Path::new("/nowhere/b")));
}

#[test]
fn money_is_exact() {
    for (written, nanos) in [
        ("0.1", 100_000_000),
        ("0.123456789", 123_456_789),
        ("9007199.254740993", 9_007_199_254_740_993),
    ] {
        let expected = Some(NanoUsd::from_nanos(nanos));
        assert_eq!(
            load_text(&format!("[budget]\nsession_usd = {written}")).budget.session,
            expected
        );
        assert_eq!(
            load_text(&format!("[budget]\nsession_usd = \"{written}\""))
                .budget
                .session,
            expected
        );
        let from_variable = load_with("", &[("COFFERDAM_BUDGET__SESSION_USD", written)]).unwrap();
        assert_eq!(from_variable.budget.session, expected);
    }
    // A float would silently round this to 0.1.
    let found = problems("[budget]\nsession_usd = 0.1000000000000000000001", &[]);
    assert!(found[0].contains("more than nine decimals"), "{found:?}");
}

#[test]
fn former_names_of_keys_stay_valid() {
    let daily = |text: &str, env: &[(&str, &str)]| load_with(text, env).unwrap().budget.daily;
    let dollars = |dollars: u64| Some(NanoUsd::from_nanos(dollars * 1_000_000_000));
    assert_eq!(daily("[budget]\ndaily_usd = 3", &[]), dollars(3));
    assert_eq!(daily("[budget]\nhost_day_usd = 3", &[]), dollars(3));
    // A variable overrides the file, whatever name either uses.
    let old = [("COFFERDAM_BUDGET__DAILY_USD", "4")];
    assert_eq!(daily("", &old), dollars(4));
    assert_eq!(daily("[budget]\nhost_day_usd = 3", &old), dollars(4));
    assert_eq!(
        daily("[budget]\ndaily_usd = 3", &[("COFFERDAM_BUDGET__HOST_DAY_USD", "4")]),
        dollars(4)
    );
    let both = problems("[budget]\nhost_day_usd = 1\ndaily_usd = 2", &[]);
    assert!(both[0].contains("former name of `host_day_usd`"), "{both:?}");
}
