//! The section `[plugins.NAME.command]`.

use super::*;
use crate::config::check;
use crate::sandbox::{Argument, Command, CommandInput};
use crate::tools::{ComponentSource, PluginSettings};

const PLUGIN: &str = "[plugins.p]\ncomponent = \"p.wasm\"\n[plugins.p.command]\n";

#[track_caller]
fn check_section(section: &str, expected: &[&str]) {
    assert_eq!(problems(&format!("{PLUGIN}{section}"), &[]), expected, "{section}");
}

#[test]
fn a_command_needs_a_description_and_has_the_plugins_name() {
    check_section(
        "",
        &[
            "c.toml:3:12: plugins.p.command.description: this key is missing | What the program does and what it prints, for the model",
        ],
    );
    check_section(
        "description = \"\"",
        &["c.toml:4:15: plugins.p.command.description: must not be empty"],
    );
    let config = load_text(&format!("{PLUGIN}description = \"d\""));
    assert_eq!(config.plugins[0].command, Some(Command::new("p", "d")));
}

#[test]
fn arguments_are_texts_or_groups_of_them() {
    let args = |value: &str| format!("description = \"d\"\nargs = {value}");
    let hint = "a placeholder is `${property}`; write `$${` for a literal `${`";
    check_section(&args(r#"["a", ["--b", "${b}"], "$${"]"#), &[]);
    check_section(
        &args(r#"["a", "${b"]"#),
        &[&format!(
            "c.toml:5:14: plugins.p.command.args[1]: has a `${{` without a `}}` | {hint}"
        )],
    );
    check_section(
        &args(r#"["a", ["b", "${}"]]"#),
        &[&format!(
            "c.toml:5:20: plugins.p.command.args[1][1]: has a placeholder without a name | {hint}"
        )],
    );
    check_section(
        &args("[[]]"),
        &["c.toml:5:9: plugins.p.command.args[0]: must not be empty"],
    );
    check_section(
        &args("[5]"),
        &[
            "c.toml:5:9: plugins.p.command.args[0]: expected an argument (a string), or a list of arguments that belong together, found the number (not shown)",
        ],
    );
}

#[test]
fn placeholders_are_properties_of_the_schema() {
    let schema = r#"{"properties":{"a":{},"b":{}}}"#;
    let section = |args: &str| format!("description = \"d\"\ninput_schema = '{schema}'\nargs = {args}");
    check_section(&section(r#"["${a}", "--b=${b}"]"#), &[]);
    check_section(
        &section(r#"["${a}", ["-c", "${c}"]]"#),
        &[
            "c.toml:6:17: plugins.p.command.args[1]: `${c}` is no property of input_schema | its properties are `a`, `b`",
        ],
    );
    check_section(
        &format!("{}\nstdin = \"${{d}}\"", section("[]")),
        &["c.toml:7:9: plugins.p.command.stdin: `${d}` is no property of input_schema | its properties are `a`, `b`"],
    );
    check_section(
        "description = \"d\"\ninput_schema = '{}'\nargs = [\"${a}\"]",
        &[
            "c.toml:6:9: plugins.p.command.args[0]: `${a}` is no property of input_schema | give input_schema `properties` with that name",
        ],
    );
}

#[test]
fn values_that_are_none_are_refused() {
    let section = |line: &str| format!("description = \"d\"\n{line}");
    check_section(
        &section("stdin = \"yes\""),
        &[
            "c.toml:5:9: plugins.p.command.stdin: `yes` is no standard input | write \"json\", \"none\" or \"${property}\"",
        ],
    );
    check_section(
        &section("output = \"xml\""),
        &["c.toml:5:10: plugins.p.command.output: expected `text` or `json`, found the string `xml`"],
    );
    check_section(
        &section("exit_codes = { 2 = \"invalid\" }"),
        &[
            "c.toml:5:20: plugins.p.command.exit_codes.2: expected `ok`, `invalid_input`, `unavailable` or `failed`, found the string `invalid`",
        ],
    );
    for status in ["0", "256", "-1", "02", "x"] {
        let found = problems(
            &format!("{PLUGIN}{}", section(&format!("exit_codes = {{ {status} = \"ok\" }}"))),
            &[],
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].ends_with(&format!(
                "`{status}` is no exit status that can be mapped | write a number from 1 to 255; the status 0 is always `ok`"
            )),
            "{found:?}"
        );
    }
    for (schema, says) in [("[1]", "is JSON, but not an object"), ("{", "isn't JSON: ")] {
        let found = problems(
            &format!("{PLUGIN}{}", section(&format!("input_schema = '{schema}'"))),
            &[],
        );
        assert!(found.len() == 1 && found[0].contains(says), "{found:?}");
    }
}

#[test]
fn a_command_takes_a_name_like_any_tool() {
    let other = |name: &str| {
        format!(
            "{PLUGIN}description = \"d\"\n[plugins.q]\ncomponent = \"q.wasm\"\ncommand = {{ description = \"d\", name = \"{name}\" }}"
        )
    };
    assert_eq!(problems(&other("q"), &[]), [""; 0]);
    let hint = "give one of the two another name with `name = \"…\"`";
    assert_eq!(
        problems(&other("P"), &[]),
        [format!(
            "c.toml:7:39: plugins.q.command.name: the tool name `P` is taken by plugins.p.command | {hint}"
        )]
    );
    let renamed = format!("{}\ntools.P.name = \"r\"", other("P"));
    assert_eq!(problems(&renamed, &[]), [""; 0]);
}

#[test]
fn a_shown_command_is_the_same_command() {
    let text = format!(
        "{PLUGIN}description = \"the password: none\"\ninput_schema = '{{\"properties\":{{\"b\":{{}}}}}}'\nargs = [\"a\", [\"--b\", \"${{b}}\"]]\nexit_codes = {{ 1 = \"ok\" }}"
    );
    let config = load_text(&text);
    let shown = config.to_toml();
    assert_eq!(load_text(&shown).plugins, config.plugins, "{shown}");
    let secret = load_text(&format!(
        "{PLUGIN}description = \"d\"\nargs = [[\"--token\", \"hunter2\"]]"
    ));
    for shown in [secret.to_toml(), secret.to_json().to_string()] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

/// A program can build what no file can have.
#[test]
fn settings_made_in_code_are_checked() {
    let mut command = Command {
        args: vec![Argument::parse(&["${b}"]).unwrap()],
        input_schema: Some("{}".to_owned()),
        stdin: CommandInput::Property("c".to_owned()),
        ..Command::new("a b", "")
    };
    command.exit_codes.insert(0, crate::sandbox::ExitMeaning::Failed);
    let config = Config {
        plugins: vec![PluginSettings {
            command: Some(command),
            ..PluginSettings::new("p", ComponentSource::Path("p.wasm".into()))
        }],
        ..Config::default()
    };
    let error = check::check(&config).unwrap_err();
    let keys: Vec<&str> = error.problems().iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "plugins.p.command.args[0]",
            "plugins.p.command.description",
            "plugins.p.command.exit_codes.0",
            "plugins.p.command.name",
            "plugins.p.command.stdin",
        ]
    );
}
