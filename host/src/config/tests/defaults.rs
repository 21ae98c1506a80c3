//! The documented defaults match the code.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::*;
use crate::model::{AuthHeader, ModelSettings, ProviderKind};

const EXAMPLE: &str = include_str!("../../../examples/cofferdam.toml");

/// The settings without their origins, which differ on purpose.
fn settings(config: Config) -> String {
    format!(
        "{:#?}",
        Config {
            origins: crate::config::Origins::default(),
            ..config
        }
    )
}

#[test]
fn an_empty_file_is_the_default_without_plugins() {
    assert_eq!(settings(load_text("")), settings(Config::default()));
    assert!(Config::default().plugins.is_empty());
}

#[test]
fn the_example_matches_the_built_in_configuration() {
    let without_file = Config::load_from(&nowhere(&[])).unwrap();
    assert_eq!(settings(load_text(EXAMPLE)), settings(without_file));
}

#[test]
fn the_example_has_every_key() {
    let schema = crate::config::schema();
    let mut keys = BTreeSet::new();
    collect_keys(&schema, &mut keys);
    assert!(keys.len() > 60, "{keys:?}");
    for key in keys {
        let is_set = EXAMPLE
            .lines()
            .any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
        let is_table = EXAMPLE.contains(&format!("[{key}]")) || EXAMPLE.contains(&format!(".{key}]"));
        let is_above = EXAMPLE.contains(&format!("[{key}.")) || EXAMPLE.contains(&format!(".{key}."));
        let is_inline = EXAMPLE.contains(&format!("{{ {key} = ")) || EXAMPLE.contains(&format!(", {key} = "));
        assert!(is_set || is_table || is_above || is_inline, "{key}");
    }
}

fn collect_keys(schema: &Json, keys: &mut BTreeSet<String>) {
    match schema {
        Json::Object(entries) => {
            let properties = entries.get("properties").and_then(Json::as_object);
            keys.extend(properties.into_iter().flat_map(|properties| properties.keys().cloned()));
            entries.values().for_each(|value| collect_keys(value, keys));
        }
        Json::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}

/// Sets every key to a value other than its default, so that a key that is parsed and then ignored fails the test.
#[test]
fn every_key_reaches_the_settings() {
    let text = r#"
        [model]
        provider = "simulated"
        model = "m"
        api_key_env = "KEY"
        base_url = "http://localhost:1/x"
        api_version = "2023-06-01"
        auth = "bearer"
        proxy = "none"
        max_tokens = 1
        max_tokens_field = "max_completion_tokens"
        stream = false
        follow_rate_limits = false
        prompt_cache = false
        prompt_cache_ttl = "1h"
        tool_search = "always"
        tool_changes = "never"
        connect_timeout = "1ms"
        idle_timeout = "2ms"
        attempt_timeout = "3ms"
        temperature = 0.5
        effort = "low"
        thinking = "off"
        [agent]
        name = "n"
        system = "s"
        max_iterations = 1
        max_tool_calls = 2
        parallel_tool_calls = 3
        deadline = "4ms"
        approve = "writes"
        [retry]
        max_attempts = 1
        initial_delay = "5ms"
        max_delay = "6ms"
        multiplier = 1.5
        jitter = false
        [breaker]
        mode = "window"
        failure_threshold = 1
        window = 4
        min_calls = 3
        failure_rate = 0.25
        slow_call = "9s"
        slow_rate = 0.75
        open_for = "7ms"
        success_threshold = 1
        [budget]
        session_usd = 0.123456789
        host_day_usd = "unlimited"
        [limits]
        fuel = 1
        timeout = "8ms"
        memory = "1MiB"
        table_elements = 3
        core_instances = 4
        host_calls = 5
        handles = 6
        input_bytes = 7
        output_bytes = 8
        log_bytes = 9
        http_requests = 10
        http_request_bytes = 11
        http_response_bytes = 11
        keyvalue_bytes = 16
        file_bytes = 17
        concurrency = 12
        component_bytes = 13
        compile_timeout = "9ms"
        compile_memory = "1GiB"
        stack = "1MiB"
        host_concurrency = 14
        host_memory = "15MiB"
        queue_timeout = "10ms"
        [logging]
        console = "off"
        file = "trace"
        directory = "logs"
        contents = true
        [alerts]
        error_rate = 0.5
        session_cost_usd = 2
        [storage]
        path = "data"
        durability = "process_crash"
        cache_bytes = 15
        [sessions]
        keep = false
        retention = "7d"
        max_bytes = 16
        [secrets]
        S = { env = "S3CRET" }
        [plugins.p]
        component = "builtin:faulty"
        digest = "sha256:ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
        required = true
        http = [{ url = "http://[::1]:8080/v1", methods = ["POST"], headers = { authorization = "Bearer ${secret:S}" } }]
        config = { k = "v" }
        keyvalue = true
        files = [{ folder = "/in", at = "/data", write = true }]
        env = { E = "e" }
        args = ["a", "b"]
        deterministic = true
        metering = "epoch"
        limits = { fuel = 99 }
        breaker = { failure_threshold = 8, open_for = "1s" }
        errors_count = true
        tools.t = { name = "u", description = "d", read_only = false, idempotent = true, destructive = true, fallback = "f", always_load = true, breaker = { open_for = "2s" } }
        [plugins.p.command]
        name = "c"
        description = "d"
        input_schema = '{"properties":{"a":{}}}'
        args = ["-x", ["--a", "${a}"]]
        allow_leading_dash = true
        stdin = "${a}"
        output = "json"
        exit_codes = { 1 = "ok", 2 = "invalid_input", 69 = "unavailable", 255 = "failed" }
        read_only = true
        idempotent = true
        destructive = true
    "#;
    let variables = [("KEY", " secret\n"), ("S3CRET", "long enough")];
    let config = load_with(text, &variables).unwrap();
    for limit in crate::sandbox::Limits::NAMES {
        assert!(text.contains(&format!("        {limit} = ")), "{limit}");
    }
    // All at once: the keys written back are those that were read, so none was lost on the way to the settings.
    let mut written = keys(&config);
    assert_eq!(
        (written.logging.directory.as_str(), written.storage.path.as_str()),
        ("/nowhere/logs", "/nowhere/data")
    );
    written.logging.directory = "logs".to_owned();
    written.storage.path = "data".to_owned();
    let mut read: RawConfig = toml::from_str(
        &text
            .replace("0.123456789", "\"0.123456789\"")
            .replace("usd = 2", "usd = \"2\""),
    )
    .unwrap();
    let plugin = &config.plugins[0];
    let raw = read.plugins.get_mut("p").unwrap();
    raw.digest = raw.digest.to_lowercase();
    raw.limits = written.plugins["p"].limits.clone();
    raw.breaker = written.plugins["p"].breaker.clone();
    raw.tools = written.plugins["p"].tools.clone();
    assert_eq!(written, read);
    // Values inherited by a plugin and by a tool.
    assert_eq!((plugin.grants.limits.fuel, plugin.grants.limits.handles), (99, 6));
    let breaker = |breaker: &crate::resilience::BreakerSettings| {
        (
            breaker.failure_threshold,
            breaker.success_threshold,
            breaker.open_for.as_secs(),
        )
    };
    assert_eq!(breaker(&plugin.breaker), (8, 2, 1));
    let tool = &plugin.tools["t"];
    assert_eq!(breaker(tool.breaker.as_ref().unwrap()), (8, 2, 2));
    assert_eq!((tool.name.as_deref(), tool.fallback.as_deref()), (Some("u"), Some("f")));
    assert_eq!(tool.description.as_deref(), Some("d"));
    let annotations = (tool.read_only, tool.idempotent, tool.destructive);
    assert_eq!(annotations, (Some(false), Some(true), Some(true)));
    assert!(plugin.errors_count && tool.always_load);
    // The simulator never gets the key.
    assert_eq!(config.model.api_key, None);
    let real = text.replace("\"simulated\"", "\"anthropic\"");
    let real = load_with(&real, &variables).unwrap();
    assert_eq!(real.model.api_key.as_ref().map(|key| key.expose()), Some("secret"));
}

/// The defaults are those of the Messages API, so a server of another API gets neither its key nor its address.
#[test]
fn other_servers_get_what_is_set() {
    let variables = [("ANTHROPIC_API_KEY", "anthropic's"), ("KEY", "secret")];
    let load = |more: &str| {
        let text = format!("[model]\nprovider = \"openai\"\nbase_url = \"http://localhost:1/v1\"\n{more}");
        load_with(&text, &variables).unwrap()
    };
    let key = |config: &Config| config.model.api_key.as_ref().map(|key| key.expose().to_owned());
    let plain = load("temperature = 0.5");
    assert_eq!((key(&plain), &plain.model.api_key_env), (None, &None));
    assert_eq!(plain.model.auth, AuthHeader::Bearer);
    let named = load("api_key_env = \"KEY\"\nauth = \"x-api-key\"");
    assert_eq!(key(&named).as_deref(), Some("secret"));
    assert_eq!(named.model.auth, AuthHeader::XApiKey);
    // As in a file that was written for the vendor's own API.
    let other = load("api_key_env = \"ANTHROPIC_API_KEY\"");
    assert_eq!(key(&other), None);
    let again = load_with(&plain.to_toml(), &variables).unwrap();
    assert_eq!((key(&again), again.model), (None, plain.model));
}

/// What describes a server, and its key, are no other one's.
#[test]
fn a_fallback_inherits_what_fits_its_server() {
    let variables = [("ANTHROPIC_API_KEY", "anthropic's"), ("KEY", "secret")];
    let load = |first: &str, fallback: &str| {
        let text = format!("[model]\nmax_tokens = 7\n{first}\n[[fallback_models]]\n{fallback}");
        load_with(&text, &variables).map(|config| config.fallback_models[0].clone())
    };
    let key = |settings: &ModelSettings| settings.api_key.as_ref().map(|key| key.expose().to_owned());
    // The same server.
    let gateway = "base_url = \"https://gw.example\"\napi_key_env = \"KEY\"\nauth = \"bearer\"";
    for fallback in [
        "model = \"m\"",
        "provider = \"anthropic\"\nmodel = \"m\"",
        "base_url = \"https://gw.example/\"",
    ] {
        let same = load(gateway, fallback).unwrap();
        assert_eq!(key(&same).as_deref(), Some("secret"), "{fallback}");
        assert_eq!(same.base_url.as_str(), "https://gw.example/");
        assert_eq!((same.auth, same.max_tokens), (AuthHeader::Bearer, 7));
    }
    // Another one of the same provider.
    let local = "provider = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key_env = \"KEY\"";
    let other = load(local, "base_url = \"http://10.0.0.5/v1\"").unwrap();
    assert_eq!((other.provider, key(&other)), (ProviderKind::OpenAi, None));
    // The vendor's own.
    let vendor = load(local, "provider = \"anthropic\"\nmodel = \"claude-haiku-5-5\"").unwrap();
    assert_eq!(key(&vendor).as_deref(), Some("anthropic's"));
    assert_eq!(vendor.base_url.host_str(), Some("api.anthropic.com"));
    // A gateway gets the key that is named.
    assert!(load("", "base_url = \"https://gw.example\"").is_err());
    let named = load("", "base_url = \"https://gw.example\"\napi_key_env = \"KEY\"").unwrap();
    assert_eq!(key(&named).as_deref(), Some("secret"));
    let again = load_with(
        &load_with(
            &format!("[model]\n{gateway}\n[[fallback_models]]\nmodel = \"m\""),
            &variables,
        )
        .unwrap()
        .to_toml(),
        &variables,
    );
    assert_eq!(key(&again.unwrap().fallback_models[0]).as_deref(), Some("secret"));
    let many = "[[fallback_models]]\nmodel = \"m\"\n".repeat(9);
    assert!(load_with(&many, &variables).is_err());
}

#[test]
fn builtin_plugins_in_a_file_have_no_implicit_grants() {
    let config = load_text("[plugins.weather]\ncomponent = \"builtin:weather\"");
    assert!(config.plugins[0].grants.http.is_empty() && config.plugins[0].grants.config.is_empty());
}
