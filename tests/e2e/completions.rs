//! What a shell reads that asks for completions, as the script for fish does.

use std::path::Path;

use cofferdam::simulator::Answer;
use cofferdam_tests::{Lab, WatGuest, finish};

use crate::lab;

/// What can follow these words, with this folder of compiled components.
async fn complete_with(lab: &Lab, cache: Option<&Path>, words: &[&str]) -> Vec<String> {
    let mut command = lab.command([&["--", "cofferdam"], words].concat());
    command.env("COFFERDAM_COMPLETE", "fish");
    if let Some(cache) = cache {
        command.env("XDG_CACHE_HOME", cache);
    }
    let ran = finish(command.spawn().unwrap()).await.expect_code(0);
    assert_eq!(ran.stderr, "", "{ran}");
    let names = ran.stdout.lines().filter_map(|line| line.split('\t').next());
    names.map(str::to_owned).collect()
}

async fn complete(lab: &Lab, words: &[&str]) -> Vec<String> {
    complete_with(lab, None, words).await
}

#[tokio::test]
async fn commands_tools_and_plugins_are_completed() {
    let lab = lab([]);
    lab.write("guest.wasm", WatGuest::named("count_letters").build());
    lab.configure("[plugins.mine]\ncomponent = \"guest.wasm\"\n");
    assert_eq!(complete(&lab, &["ru"]).await, ["run"]);
    assert_eq!(complete(&lab, &["run", "--summ"]).await, ["--summary"]);
    // Before it was ever loaded, nobody knows its tools. The cache of all tests has it from an earlier run.
    let cache = lab.path("own-cache");
    let count = ["tool", "call", "count"];
    assert_eq!(complete_with(&lab, Some(&cache), &count).await, Vec::<String>::new());
    let mut list = lab.command(["tool", "list"]);
    list.env("XDG_CACHE_HOME", &cache);
    finish(list.spawn().unwrap()).await.expect_code(0);
    assert_eq!(complete_with(&lab, Some(&cache), &count).await, ["count_letters"]);
    for (typed, name) in [
        ("mi", "mine"),
        ("guest", "guest.wasm"),
        ("builtin:c", "builtin:calculator"),
    ] {
        assert_eq!(complete(&lab, &["tool", "inspect", typed]).await, [name]);
        assert_eq!(complete(&lab, &["tool", "check", typed]).await, [name]);
    }
    // A configuration that is named on the line, and one that is wrong.
    lab.write("other.toml", "[plugins.yours]\ncomponent = \"guest.wasm\"\n");
    assert_eq!(
        complete(&lab, &["--config", "other.toml", "tool", "inspect", "your"]).await,
        ["yours"]
    );
    lab.write("cofferdam.toml", "nonsense");
    assert_eq!(complete(&lab, &["tool", "call", "count"]).await, Vec::<String>::new());
}

/// The list of these in the program is right, and nothing is compiled to find it out.
#[tokio::test]
async fn built_in_tools_are_known_before_they_are_compiled() {
    let lab = lab([]);
    for builtin in ["calculator", "weather", "notes"] {
        let component = format!("builtin:{builtin}");
        lab.configure(&format!("[plugins.p]\ncomponent = \"{component}\"\n"));
        let listed = lab
            .call(["tool", "list", &component, "--output", "json"])
            .await
            .expect_code(0)
            .json();
        let mut listed: Vec<String> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect();
        listed.sort();
        let cache = lab.path("empty-cache");
        let known = complete_with(&lab, Some(&cache), &["tool", "call", ""]).await;
        let known: Vec<&String> = known.iter().filter(|name| listed.contains(name)).collect();
        assert_eq!(known, listed.iter().collect::<Vec<_>>());
        let compiled = cache.join("cofferdam");
        let entries = std::fs::read_dir(compiled).into_iter().flatten().flatten();
        let sizes: Vec<u64> = entries.map(|entry| entry.metadata().unwrap().len()).collect();
        assert!(sizes.iter().all(|size| *size < 1024), "{sizes:?}");
    }
}

/// A shell waits for a second, not for as long as a plugin may take.
#[tokio::test]
async fn a_plugin_that_takes_long_keeps_no_shell_waiting() {
    let lab = lab([]);
    let mut guest = WatGuest::named("never_listed");
    guest.list = "(loop $again (br $again))".to_owned();
    lab.write("guest.wasm", guest.build());
    let configure = |timeout: &str| {
        lab.configure(&format!(
            "[plugins.slow]\ncomponent = \"guest.wasm\"\nlimits = {{ timeout = \"{timeout}\", fuel = 9_000_000_000_000_000_000 }}\n\
             [plugins.calculator]\ncomponent = \"builtin:calculator\"\n"
        ));
    };
    // Compiles it.
    configure("10ms");
    let ran = lab.call(["tool", "list"]).await.expect_code(0);
    assert!(ran.stderr.contains("timeout = 10ms"), "{ran}");
    configure("1h");
    assert_eq!(complete(&lab, &["tool", "call", "calc"]).await, ["calculate"]);
}

#[tokio::test]
async fn an_unknown_shell_is_refused() {
    let lab = lab([]);
    let mut command = lab.command(["run", "Go."]);
    command.env("COFFERDAM_COMPLETE", "nushell");
    let ran = finish(command.spawn().unwrap()).await.expect_code(2);
    assert!(ran.stderr.contains("nushell"), "{ran}");
}

#[tokio::test]
async fn what_a_limit_can_be_is_completed() {
    let lab = lab([]);
    let scopes = ["session", "tenant_day", "tenant_month", "host_day"];
    assert_eq!(complete(&lab, &["budget", "set", ""]).await[..4], scopes);
    let limits = complete(&lab, &["budget", "set", "session", ""]).await;
    assert_eq!(limits[..2], ["default", "unlimited"]);
}

#[tokio::test]
async fn sessions_are_completed() {
    let lab = lab([Answer::text("Hello.").forever()]);
    let show = ["session", "show", "ni"];
    assert_eq!(complete(&lab, &show).await, Vec::<String>::new(), "there are none");
    for name in ["nightly", "weekly"] {
        lab.call(["run", "--session", name, "Go."]).await.expect_code(0);
    }
    for words in [
        &["session", "show", "ni"][..],
        &["session", "resume", "ni"],
        &["session", "export", "ni"],
        &["session", "delete", "weekly", "ni"],
        &["run", "--session", "ni"],
        &["chat", "--session", "ni"],
    ] {
        assert_eq!(complete(&lab, words).await, ["nightly"], "{words:?}");
    }
}

#[tokio::test]
async fn breakers_are_completed() {
    let lab = lab([]);
    assert_eq!(complete(&lab, &["breakers", "open", "mo"]).await, Vec::<String>::new());
    for name in ["model:mine", "tool:echo"] {
        lab.call(["breakers", "open", name]).await.expect_code(0);
    }
    for action in ["open", "close", "reset"] {
        assert_eq!(
            complete(&lab, &["breakers", action, "mo"]).await,
            ["model:mine"],
            "{action}"
        );
    }
}
