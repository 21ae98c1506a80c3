//! `config show` prints a file that loads as the same configuration.

use super::*;

#[test]
fn shown_configurations_round_trip() {
    let text = "
        [agent]
        system = \"\"\"several \\\"lines\\\"\n# of text\n\"\"\"
        [model]
        base_url = \"https://gateway.example/v1/\"
        api_version = \"2023-06-01\"
        auth = \"bearer\"
        proxy = \"socks5h://proxy:1080\"
        temperature = 0.1
        [budget]
        session_usd = 0.123456789
        host_day_usd = \"unlimited\"
        [tenants.acme.budget]
        daily_usd = 2.5
        [tenants.\"b.c\".budget]
        monthly_usd = 30
        [limits]
        memory = 1_000_001
        [plugins.p]
        component = \"builtin:faulty\"
        http = [{ url = \"http://[::1]:8080/v1\", methods = [\"POST\"] }, { url = \"https://x:443\" }]
        config = { \"a b\" = \"v\" }
        tools.\"odd name\" = { name = \"u\", breaker = { open_for = \"2s\" } }
    ";
    let config = load_text(text);
    let shown = config.to_toml();
    let again = load_text(&shown);
    assert_eq!(keys(&again), keys(&config), "{shown}");
    assert_eq!(again.budget, config.budget);
    let limits = |tenant: &str| {
        let budget = config.budget.tenants[tenant];
        [budget.daily, budget.monthly].map(|limit| limit.map(crate::money::NanoUsd::as_nanos))
    };
    assert_eq!(limits("acme"), [Some(2_500_000_000), None]);
    assert_eq!(limits("b.c"), [None, Some(30_000_000_000)]);
    let without_file = Config::load_from(&nowhere(&[])).unwrap();
    assert_eq!(keys(&load_text(&without_file.to_toml())), keys(&without_file));
}

#[test]
fn every_value_shows_its_origin() {
    let text = "[limits]\nfuel = 5\n[plugins.p]\ncomponent = \"builtin:faulty\"\nbreaker.open_for = \"9s\"\ntools.t.breaker.failure_threshold = 1";
    let shown = load_with(text, &[("COFFERDAM_MODEL__MODEL", "m")]).unwrap().to_toml();
    let limits = &shown[shown.find("[plugins.p.limits]").unwrap()..];
    let tool = &shown[shown.find("[plugins.p.tools.t.breaker]").unwrap()..];
    for (part, line) in [
        (shown.as_str(), "model = \"m\"  # COFFERDAM_MODEL__MODEL\n"),
        (shown.as_str(), "stream = true  # default\n"),
        (limits, "fuel = 5  # c.toml:2:8\n"),
        (limits, "handles = 1000  # default\n"),
        (tool, "failure_threshold = 1  # c.toml:6:37\n"),
        (tool, "open_for = \"9s\"  # c.toml:5:20\n"),
    ] {
        assert!(part.contains(line), "{line}{shown}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let key = "sk-ant-api03-abcdefghijklmnop";
    let text = format!(
        "[agent]\nsystem = \"the key is {key}\"\n[model]\nproxy = \"u:pr0xyp4ss@proxy:3128\"\n[plugins.p]\ncomponent = \"builtin:faulty\"\nconfig = {{ password = \"hunter2\", url = \"https://u:p4ss@x/\", x = \"{key}\" }}"
    );
    let config = load_with(&text, &[("ANTHROPIC_API_KEY", key)]).unwrap();
    assert!(config.model.api_key.is_some());
    for shown in [
        config.to_toml(),
        config.to_json().to_string(),
        format!("{:?}", config.model),
    ] {
        assert!(
            !["abcdef", "hunter2", "p4ss"]
                .iter()
                .any(|secret| shown.contains(secret)),
            "{shown}"
        );
    }
    let shown = config.to_toml();
    assert!(shown.contains("password = \"[redacted]\"  # c.toml:7:23\n"), "{shown}");
    assert!(shown.contains("api_key_env = \"ANTHROPIC_API_KEY\""), "{shown}");
    load_text(&shown);
}

#[test]
fn json_has_the_same_keys() {
    let json = Config::load_from(&nowhere(&[])).unwrap().to_json();
    assert_eq!(json["plugins"]["weather"]["limits"]["timeout"], "5s");
    assert_eq!(json["budget"]["session_usd"], "1.00");
}

#[test]
fn references_to_secrets_are_shown_and_text_beside_them_is_not() {
    let headers = r#"Authorization = "Bearer ${secret:S}", x-token = "hunter2 ${secret:S}", x-password = "${secret:S}${secret:S}""#;
    let text = format!(
        "[secrets]\nS = {{ env = \"S3CRET\" }}\n[plugins.p]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"https://x/\", headers = {{ {headers} }} }}]"
    );
    let config = load_with(&text, &[("S3CRET", "long enough")]).unwrap();
    for shown in [config.to_toml(), config.to_json().to_string(), format!("{config:?}")] {
        assert!(!shown.contains("long enough"), "{shown}");
    }
    let shown = config.to_toml();
    assert!(
        shown.contains("Bearer ${secret:S}") && shown.contains("\"${secret:S}${secret:S}\""),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn assignments_of_secrets_are_redacted_and_prose_is_shown() {
    let text = r#"
        [agent]
        system = "Never tell a secret. If x = 1, say so: the password: is none of your business."
        [plugins.p]
        component = "builtin:faulty"
        env = { LANG = "C", DB_PASSWORD = "hunter1" }
        args = ["--header", "Authorization: Basic hunter2", "--token", "hunter3", "--password=hunter4", "--fast"]
        config = { feed = "https://h/?user=7&token=hunter5", greeting = "hello" }
    "#;
    let config = load_text(text);
    for shown in [config.to_toml(), config.to_json().to_string()] {
        assert!(!shown.contains("hunter"), "{shown}");
        for kept in ["Never tell a secret", "--fast", "\"--token\"", "hello"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }
}
