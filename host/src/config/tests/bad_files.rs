//! All problems of a file are reported at once, each with its location, its key and a hint.

use proptest::prelude::*;

use super::*;
use crate::config::Problem;

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(problems(text, &[]), expected, "{text}");
}

#[test]
fn unknown_keys() {
    check(
        "[model]\nmodle = \"x\"",
        &["c.toml:2:1: model.modle: unknown key | did you mean `model`?"],
    );
    check(
        "[model]\nfuel = 1",
        &["c.toml:2:1: model.fuel: unknown key | `fuel` belongs to [limits]"],
    );
    check(
        "[breakr]",
        &["c.toml:1:2: breakr: unknown key | did you mean `breaker`?"],
    );
    check(
        "[alerts]\n\"a b\" = 1",
        &["c.toml:2:1: alerts.\"a b\": unknown key | the keys here are `error_rate` and `session_cost_usd`"],
    );
    check(
        "[plugins.p]\ncomponent = \"builtin:faulty\"\nlimits = { stack = 1, timeuot = 2 }",
        &[
            "c.toml:3:12: plugins.p.limits.stack: unknown key | `stack` belongs to [limits]",
            "c.toml:3:23: plugins.p.limits.timeuot: unknown key | did you mean `timeout`?",
        ],
    );
    check(
        "[plugins.p]\ncomponent = \"builtin:faulty\"\n[plugins.p.command]\ndescription = \"d\"\noutput_bytes = 1\ndash = true",
        &[
            "c.toml:5:1: plugins.p.command.output_bytes: unknown key | `output_bytes` belongs to [plugins.p.limits]",
            "c.toml:6:1: plugins.p.command.dash: unknown key | did you mean `allow_leading_dash`?",
        ],
    );
}

#[test]
fn sampling_needs_a_version_that_takes_it() {
    let refused = "[model]\ntemperature = 0.5";
    check(
        refused,
        &[
            "c.toml:2:15: model.temperature: API version 2026-10-21 refuses sampling parameters | leave the temperature out, or set `[model] api_version = \"2023-06-01\"` if the model still accepts one",
        ],
    );
    check(&format!("{refused}\napi_version = \"2023-06-01\""), &[]);
    let hot = "[model]\ntemperature = 1.5";
    check(
        &format!("{hot}\napi_version = \"2023-06-01\""),
        &["c.toml:2:15: model.temperature: must be between 0 and 1, found 1.5"],
    );
    let other = "provider = \"openai\"\nbase_url = \"http://localhost:1\"";
    check(&format!("{hot}\n{other}"), &[]);
    check(
        &format!("{}\n{other}", hot.replace("1.5", "2.5")),
        &["c.toml:2:15: model.temperature: must be at most 2.0, found the number `2.5`"],
    );
}

#[test]
fn effort_and_thinking_go_together() {
    check(
        "[model]\neffort = \"max\"\nthinking = \"between_tools\"",
        &[
            "c.toml:2:10: model.effort: `max` doesn't go with thinking = `between_tools` | lower the effort to \"high\", or set thinking = \"adaptive\"",
        ],
    );
    for effort in ["low", "medium", "high"] {
        check(&format!("[model]\neffort = \"{effort}\"\nthinking = \"off\""), &[]);
    }
    check("[model]\neffort = \"max\"\nthinking = \"adaptive\"", &[]);
    check(
        "[model]\nthinking = \"off\"\nthinking_budget = 2048",
        &["c.toml:3:19: model.thinking_budget: doesn't go with `thinking` | keep the one that the model takes"],
    );
    check(
        "[model]\nmax_tokens = 2048\nthinking_budget = 2048",
        &["c.toml:3:19: model.thinking_budget: must be less than max_tokens, which is 2048, and is 2048"],
    );
    check(
        "[model]\nthinking_budget = 1023",
        &["c.toml:2:19: model.thinking_budget: must be at least 1024, found the number `1023`"],
    );
}

#[test]
fn a_proxy_is_checked_and_never_quoted() {
    let hint = "write a URL such as \"http://proxy:3128\", or \"none\"";
    check(
        "[model]\nproxy = \"ftp://u:hunter2@proxy\"",
        &[&format!(
            "c.toml:2:9: model.proxy: isn't a usable proxy: it must start with http://, https://, socks5:// or socks5h:// (the value is not shown) | {hint}"
        )],
    );
}

#[test]
fn types() {
    check(
        "[model]\nmodel = 5\nmax_tokens = \"4096\"\nstream = \"yes\"\nidle_timeout = 2026-11-24\ntemperature = \"hot\"",
        &[
            "c.toml:2:9: model.model: expected a string, found the number `5` | put it in quotes",
            "c.toml:3:14: model.max_tokens: expected a whole number, found the string `4096` | remove the quotes",
            "c.toml:4:10: model.stream: expected true or false, found the string `yes`",
            "c.toml:5:16: model.idle_timeout: expected a duration such as \"10s\", found a date",
            "c.toml:6:15: model.temperature: expected a number, found the string `hot`",
        ],
    );
    check(
        "model = 1\nplugins = []",
        &[
            "c.toml:1:9: model: expected a table, found the number `1` | a table is written as [section] and keys below it, or as { key = value }",
            "c.toml:2:11: plugins: expected a table, found a list | a table is written as [section] and keys below it, or as { key = value }",
        ],
    );
    check(
        "[agent]\nmax_iterations = 1.5",
        &["c.toml:2:18: agent.max_iterations: expected a whole number, found the number `1.5`"],
    );
    check(
        "[retry]\nmultiplier = nan",
        &["c.toml:2:14: retry.multiplier: expected a number, found `nan`"],
    );
    check(
        "[logging]\nconsole = \"Warn\"\nfile = 3",
        &[
            "c.toml:2:11: logging.console: expected `off`, `error`, `warn`, `info`, `debug` or `trace`, found the string `Warn` | did you mean \"warn\"?",
            "c.toml:3:8: logging.file: expected `off`, `error`, `warn`, `info`, `debug` or `trace`, found the number `3`",
        ],
    );
}

#[test]
fn units() {
    check(
        "[limits]\ntimeout = 10\nqueue_timeout = \"5 sec\"\nmemory = \"128 mb\"",
        &[
            "c.toml:2:11: limits.timeout: expected a duration such as \"10s\", found the number `10` | a duration needs a unit and quotes",
            "c.toml:3:17: limits.queue_timeout: `5 sec` is not a duration: its unit is unknown | use whole numbers with the units h, m, s and ms, for example \"1h30m\", \"10s\", \"500ms\"",
            "c.toml:4:10: limits.memory: `128 mb` is not a size: its unit is unknown | use a whole number with a unit: KiB, MiB, GiB (of 1024), KB, MB, GB (of 1000), for example \"128MiB\"",
        ],
    );
}

#[test]
fn zero_and_out_of_range_values() {
    check(
        "[limits]\nfuel = 0\ntimeout = \"0s\"\nmemory = 0\nhandles = -1\nlog_bytes = \"0B\"\nstack = \"1GiB\"\nhost_concurrency = 99999999999999999999",
        &[
            "c.toml:2:8: limits.fuel: must not be zero, but at least 1",
            "c.toml:3:11: limits.timeout: must be longer than zero",
            "c.toml:4:10: limits.memory: must not be zero, but at least 1",
            "c.toml:5:11: limits.handles: must be at least 1, found the number `-1`",
            "c.toml:6:13: limits.log_bytes: must be more than zero bytes",
            "c.toml:7:9: limits.stack: must be between 64KiB and 16MiB, found 1GiB",
            "c.toml:8:20: limits.host_concurrency: must be at most 10000, found the number `99999999999999999999`",
        ],
    );
    check("[agent]\nname = \"\"", &["c.toml:2:8: agent.name: must not be empty"]);
    check(
        "[plugins.p]\ncomponent = \"builtin:faulty\"\nlimits = { memory = \"1KiB\" }\ntools.t.breaker.failure_threshold = 0",
        &[
            "c.toml:3:21: plugins.p.limits.memory: must be between 64KiB and 4GiB, found 1KiB",
            "c.toml:4:37: plugins.p.tools.t.breaker.failure_threshold: must not be zero, but at least 1",
        ],
    );
}

#[test]
fn an_inherited_value_is_reported_once() {
    let text = "[limits]\nmemory = 1\n[plugins.a]\ncomponent = \"builtin:faulty\"\n[plugins.b]\ncomponent = \"builtin:faulty\"";
    check(
        text,
        &["c.toml:2:10: limits.memory: must be between 64KiB and 4GiB, found 1B"],
    );
}

#[test]
fn contradictions() {
    check(
        "[retry]\nmax_delay = \"500ms\"",
        &[
            "c.toml:2:13: retry.max_delay: max_delay (500ms) is shorter than initial_delay (1s) | raise max_delay, or lower initial_delay",
        ],
    );
    check(
        "[retry]\ninitial_delay = \"1h\"\nmax_delay = \"soon\"",
        &[
            "c.toml:3:13: retry.max_delay: `soon` is not a duration: each unit needs a whole number before it, with no sign and no fraction | use whole numbers with the units h, m, s and ms, for example \"1h30m\", \"10s\", \"500ms\"",
        ],
    );
    check(
        "[retry]\ninitial_delay = \"1h\"",
        &[
            "c.toml:2:17: retry.initial_delay: max_delay (30s) is shorter than initial_delay (1h) | raise max_delay, or lower initial_delay",
        ],
    );
}

#[test]
fn the_simulator_must_be_on_loopback() {
    let hint = "`cofferdam simulate SCRIPT` starts a simulator and prints its address; `cofferdam demo` has its own";
    check(
        "[model]\nprovider = \"simulated\"",
        &[&format!(
            "c.toml:2:12: model.provider: \"simulated\" needs the simulator's address in base_url | {hint}"
        )],
    );
    check(
        "[model]\nbase_url = \"https://x/v1/\"\nprovider = \"simulated\"",
        &[&format!(
            "c.toml:2:12: model.base_url: `https://x/v1` is not on this machine, where the simulator listens | {hint}"
        )],
    );
    // What stands in for a URL that is no URL isn't checked.
    check(
        "[model]\nbase_url = \"ftp://x\"\nprovider = \"simulated\"",
        &[
            "c.toml:2:12: model.base_url: `ftp://x` is not a usable URL: it must start with http:// or https:// | write scheme, host and, \
           where needed, port and path, such as \"https://api.anthropic.com\"",
        ],
    );
    let here = "[model]\nprovider = \"simulated\"\nbase_url = \"http://[::1]:1\"";
    assert_eq!(problems(here, &[]), [""; 0]);
}

#[test]
fn money() {
    check(
        "[budget]\nsession_usd = 0\nhost_day_usd = -1.5\n[alerts]\nsession_cost_usd = 1e-3",
        &[
            "c.toml:2:15: budget.session_usd: a limit of zero would refuse every request | set an amount, or \"unlimited\" for no limit",
            "c.toml:3:16: budget.host_day_usd: `-1.5` is not an amount in US dollars | use a decimal such as 1.50, or \"unlimited\" for no limit",
            "c.toml:5:20: alerts.session_cost_usd: `1e-3` is not an amount in US dollars | use a decimal without sign and exponent, such as 1.50",
        ],
    );
    check(
        "[tenants.acme.budget]\nmonthly_usd = 0\nyearly_usd = 1\n[tenants.\"a b\".budget]\ndaily_usd = 1\n[agent]\ntenant = \"\"",
        &[
            "c.toml:2:15: tenants.acme.budget.monthly_usd: a limit of zero would refuse every request | set an amount, or \"unlimited\" for no limit",
            "c.toml:3:1: tenants.acme.budget.yearly_usd: unknown key | the keys here are `daily_usd` and `monthly_usd`",
            "c.toml:4:10: tenants.\"a b\": `a b` isn't a valid tenant name: use 1 to 64 of the characters a-z A-Z 0-9 _ . -",
            "c.toml:7:10: agent.tenant: `` isn't a valid tenant name: use 1 to 64 of the characters a-z A-Z 0-9 _ . -",
        ],
    );
    check(
        "[budget]\nsession_usd = 0.0000000001\nhost_day_usd = true",
        &[
            "c.toml:2:15: budget.session_usd: `0.0000000001` has more than nine decimals | use a decimal such as 1.50, or \"unlimited\" for no limit",
            "c.toml:3:16: budget.host_day_usd: expected an amount in US dollars such as 1.50, or \"unlimited\", found `true`",
        ],
    );
}

#[test]
fn missing_files_and_wrong_folders() {
    // A component is looked for when the plugin is loaded, so that it is left out like one that is no component.
    check("[plugins.p]\ncomponent = \"./plugins/x.wasm\"", &[]);
    check(
        "[budget]\nprices = \"./x.toml\"",
        &["c.toml:2:10: budget.prices: `./x.toml`: there is no such file | relative paths start at /nowhere"],
    );
    check(
        "[budget]\nprices = \"/\"",
        &["c.toml:2:10: budget.prices: `/`: is not a file | relative paths start at /nowhere"],
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    let text = format!("[storage]\npath = \"{path}\"\n[logging]\ndirectory = \"{path}\"");
    let found = problems(&text, &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].ends_with("is not a folder") && found[1].ends_with("is not a folder"),
        "{found:?}"
    );
}

#[test]
fn plugins() {
    check(
        "[plugins.p]\nrequired = true",
        &[
            "c.toml:1:10: plugins.p.component: this key is missing | The component's file, relative to the configuration file, or `builtin:NAME`",
        ],
    );
    check(
        "[plugins.\"a b\"]\ncomponent = \"builtin:wether\"\ndigest = \"sha256:12\"\nconfig = { n = 1 }",
        &[
            "c.toml:1:10: plugins.\"a b\": `a b` is not a legal name | use 1 to 64 letters, digits, `_` and `-`, without accents",
            "c.toml:2:13: plugins.\"a b\".component: there is no built-in plugin `wether` | the built-in plugins are `builtin:calculator`, `builtin:weather`, `builtin:notes`, `builtin:faulty`",
            "c.toml:3:10: plugins.\"a b\".digest: `sha256:12` is not a digest | use `sha256:` and 64 hexadecimal digits, as `cofferdam tool inspect` prints it, or leave it empty for no pin",
            "c.toml:4:16: plugins.\"a b\".config.n: expected a string, found the number `1` | put it in quotes",
        ],
    );
}

#[test]
fn grants_after_an_invalid_one_are_still_checked() {
    let text = "[plugins.p]\ncomponent = \"builtin:weather\"\nhttp = [\n\"https://x/\",\n{ url = \"ftp://x/\" },\n{ methods = [\"get\"] },\n{ url = \"https://\", methods = [] },\n]";
    let grant = "a grant is scheme://host[:port][/path-prefix]";
    check(
        text,
        &[
            "c.toml:4:1: plugins.p.http[0]: expected a table, found the string `https://x/` | a table is written as [section] and keys below it, or as { key = value }",
            &format!("c.toml:5:9: plugins.p.http[1].url: `ftp://x/` must start with http:// or https:// | {grant}"),
            "c.toml:6:1: plugins.p.http[2].url: this key is missing | `scheme://host[:port][/path-prefix]`",
            "c.toml:6:14: plugins.p.http[2].methods[0]: expected `GET`, `HEAD`, `POST`, `PUT`, `DELETE`, `PATCH` or `OPTIONS`, found the string `get` | did you mean \"GET\"?",
            &format!("c.toml:7:9: plugins.p.http[3].url: `https://` is not a URL: empty host | {grant}"),
            "c.toml:7:31: plugins.p.http[3].methods: must not be empty",
        ],
    );
}

#[test]
fn duplicate_tool_names() {
    let text = "[plugins.a]\ncomponent = \"builtin:faulty\"\ntools.x.name = \"same\"\n[plugins.b]\ncomponent = \"builtin:faulty\"\ntools.same = {}\ntools.\"b c\" = {}\ntools.\"é\".name = \"ok\"";
    check(
        text,
        &[
            "c.toml:6:7: plugins.b.tools.same: the tool name `same` is taken by plugins.a.tools.x.name | give one of the two another name with `name = \"…\"`",
            "c.toml:7:7: plugins.b.tools.\"b c\": `b c` is not a legal name | give it another with `name = \"…\"`",
        ],
    );
}

#[test]
fn tool_names_that_a_model_could_confuse() {
    let text = "[plugins.a]\ncomponent = \"builtin:faulty\"\ntools.same = {}\n[plugins.b]\ncomponent = \"builtin:faulty\"\ntools.Sa_me = {}\ntools.SA-ME.enabled = false\ntools.\"b c\".enabled = false";
    check(
        text,
        &[
            "c.toml:6:7: plugins.b.tools.Sa_me: the tool name `Sa_me` is taken by plugins.a.tools.same | give one of the two another name with `name = \"…\"`",
        ],
    );
}

#[test]
fn syntax_errors_suppress_other_checks_of_the_file() {
    let found = problems(
        "[model]\nmodel = \nmodle = 1\n[agent\nname = \"x\"\n",
        &[("COFFERDAM_X__", "1")],
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("c.toml:2:") && found[0].contains(": not valid TOML: "),
        "{found:#?}"
    );
    assert!(found[1].starts_with("c.toml:4:"), "{found:#?}");
    assert!(
        found[2].starts_with("COFFERDAM_X__: is not a configuration key"),
        "{found:#?}"
    );
}

#[test]
fn problems_are_sorted_by_their_location_in_the_file() {
    let text = "[retry]\nmax_delay = \"1ms\"\n[model]\nmodle = 1\nstream = 1\n[limits]\nfuel = 0\n[budget]\nprices = \"none\"\n";
    let found = problems(text, &[("COFFERDAM_MODEL__MAX_TOKENS", "0")]);
    let locations: Vec<_> = found
        .iter()
        .map(|problem| problem.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        locations,
        [
            "c.toml:2:13",
            "c.toml:4:1",
            "c.toml:5:10",
            "c.toml:7:8",
            "c.toml:9:10",
            "COFFERDAM_MODEL__MAX_TOKENS"
        ]
    );
    let error = load_with(text, &[]).unwrap_err().to_string();
    assert!(
        error.starts_with("the configuration has 5 problems\n  c.toml:2:13: retry.max_delay: "),
        "{error}"
    );
}

#[test]
fn messages_do_not_quote_secrets() {
    let key = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz";
    let text = format!(
        "[model]\napi_key = \"{key}\"\napi_key_env = \"{key}\"\nbase_url = \"https://user:hunter22@x/\"\nprovider = \"{key}\"\nidle_timeout = \"{key}\"\n[budget]\nprices = \"{key}\"\n[plugins.p]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"https://user:hunter22@x/\" }}]"
    );
    let found = problems(&text, &[("COFFERDAM_MODEL__TOKEN", key)]).join("\n");
    assert_eq!(found.lines().count(), 8, "{found}");
    assert!(!found.contains("abcdef") && !found.contains("hunter22"), "{found}");
    assert!(
        found.contains("model.api_key: an API key must not be in a configuration file"),
        "{found}"
    );
    assert!(found.contains("api_key_env = \"ANTHROPIC_API_KEY\""), "{found}");
}

/// A name with `token` in it may hold a key, unless it is nearly the name of a known one.
#[test]
fn a_misspelt_key_is_not_taken_for_an_api_key() {
    for key in ["max_token", "max_tokenz", "mx_tokens"] {
        let found = problems(&format!("[model]\n{key} = 5"), &[]).join("\n");
        assert!(
            found.contains("unknown key") && found.contains("did you mean `max_tokens`?"),
            "{key}: {found}"
        );
    }
    let found = problems("[model]\ntoken = 5", &[]).join("\n");
    assert!(found.contains("an API key must not be"), "{found}");
}

#[test]
fn messages_do_not_quote_values_that_may_be_secret() {
    let text = r#"
        [secrets]
        S = { file = 83749271 }
        [plugins.p]
        component = "builtin:faulty"
        env = { DB_PASSWORD = 83749272 }
        args = [83749273]
        config = { api_token = 83749274 }
        http = [{ url = "https://x/", headers = { X-Key = 83749275 } }]
    "#;
    let found = problems(text, &[]).join("\n");
    assert_eq!(found.lines().count(), 6, "{found}");
    assert!(!found.contains("8374927") && found.contains("not shown"), "{found}");
}

#[test]
fn an_excessively_deep_variable_name_is_a_problem() {
    let name = format!("COFFERDAM{}", "__A".repeat(40_000));
    let found = problems("", &[(&name, "1")]);
    assert!(
        found.len() == 1 && found[0].contains("is not a configuration key"),
        "{found:?}"
    );
}

/// Lines that resemble a configuration.
fn nearly_toml() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "model",
        "max_tokens",
        "limits",
        "fuel",
        "memory",
        "timeout",
        "plugins",
        "p",
        "component",
        "http",
        "url",
        "methods",
        "config",
        "tools",
        "breaker",
        "open_for",
        "budget",
        "session_usd",
        "host_day_usd",
        "retry",
        "\"a b\"",
        "name",
        "digest",
        "storage",
        "path",
        "logging",
        "console",
        "temperature",
        "multiplier",
        "host_concurrency",
    ]);
    let key = prop::collection::vec(name, 1..4).prop_map(|names| names.join("."));
    let value = prop_oneof![
        prop::sample::select(vec![
            "0",
            "1",
            "-1",
            "1.0",
            "5.0",
            "1e400",
            "nan",
            "-inf",
            "true",
            "2026-11-24",
            "99999999999999999999",
            "18446744073709551615",
            "0xff",
            "\"\"",
            "\"x\"",
            "\"10s\"",
            "\"1MiB\"",
            "\"builtin:faulty\"",
            "[]",
            "{}",
            "[1, \"GET\"]",
            "[{ url = \"https://x/\" }, 1]",
            "{ a = [{ b = 1 }] }",
            "\"unlimited\"",
            "\"é\\u0000\"",
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        any::<String>(),
    ];
    let line = prop_oneof![
        4 => (key.clone(), value).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => key.clone().prop_map(|key| format!("[{key}]")),
        1 => key.prop_map(|key| format!("[[{key}]]")),
        1 => any::<String>(),
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    /// A text can be refused, but only by a check of this module: every value that the schema accepts deserializes.
    #[test]
    fn arbitrary_text_loads_or_is_refused_with_a_message(text in nearly_toml(), variable in any::<String>()) {
        let variables = [("COFFERDAM_PLUGINS__P", variable.as_str()), ("COFFERDAM_MODEL__MAX_TOKENS", &variable)];
        match load_with(&text, &variables) {
            Ok(config) => {
                prop_assert_eq!(config.check(), Ok(()));
                drop(config.to_toml());
            }
            Err(error) => {
                let is_expected = |problem: &Problem| problem.message.starts_with("not valid TOML: ") || !problem.key.is_empty();
                prop_assert!(error.problems().iter().all(is_expected), "{}", error);
            }
        }
    }
}
