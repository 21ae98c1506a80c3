//! Bad input: every case ends in a clear error with a hint and the right exit code, without data loss or a panic.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cofferdam::simulator::Answer;
use cofferdam_tests::{Lab, Ran, Terminal, WatGuest, finish};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::lab;

async fn refused<'a>(lab: &Lab, arguments: impl IntoIterator<Item = &'a str>, says: &[&str]) {
    let ran = lab.call(arguments).await.expect_code(2);
    for words in says {
        assert!(ran.stderr.contains(words), "`{words}` is missing: {ran}");
    }
    if !ran.stdout.is_empty() {
        // With `--output json`, the error is there for programs as well.
        assert_eq!(
            ran.json().as_object().unwrap().keys().collect::<Vec<_>>(),
            ["error"],
            "{ran}"
        );
    }
}

fn plugin(component: &str, required: bool) -> String {
    format!("[plugins.bad]\ncomponent = \"{component}\"\nrequired = {required}\n")
}

#[tokio::test]
async fn files_that_are_not_components() {
    let lab = lab([]);
    lab.write("core.wasm", wat::parse_str("(module)").unwrap());
    lab.write("text.wasm", "#!/bin/sh\necho hello\n");
    lab.write("empty.wasm", "");
    let mut garbage = b"\0asm\x0d\0\x01\0".to_vec();
    garbage.extend((0..1000_u32).map(|number| u8::try_from(number.wrapping_mul(2_654_435_761) >> 24).unwrap()));
    lab.write("garbage.wasm", garbage);
    lab.write("nothing.wasm", wat::parse_str("(component)").unwrap());
    let mut cut = WatGuest::named("x").build();
    cut.truncate(cut.len() - 3);
    lab.write("cut.wasm", cut);
    let text =
        wat::parse_str(r#"(component (type $t (instance)) (instance (export "cofferdam:tool/tools@9.0.0")))"#).unwrap();
    lab.write("future.wasm", text);
    lab.write(
        "unknown.wasm",
        wat::parse_str(r#"(component (import "acme:rockets/launch@1.0.0" (instance (export "go" (func)))))"#).unwrap(),
    );
    for (file, says) in [
        ("core.wasm", ["core WebAssembly module", "hint:"]),
        ("text.wasm", ["not WebAssembly", "hint:"]),
        ("empty.wasm", ["not WebAssembly", "hint:"]),
        ("garbage.wasm", ["not valid", "hint:"]),
        ("cut.wasm", ["not valid", "hint:"]),
        ("nothing.wasm", ["exports neither", "hint:"]),
        ("future.wasm", ["9.0.0", "hint:"]),
    ] {
        let target = format!("{file}#x");
        refused(&lab, ["tool", "call", &target, "{}"], &says).await;
    }
    refused(&lab, ["tool", "call", "unknown.wasm#x", "{}"], &["exports neither"]).await;
    refused(&lab, ["tool", "inspect", "core.wasm"], &["core WebAssembly module"]).await;
    refused(&lab, ["tool", "inspect", "missing.wasm"], &["missing.wasm"]).await;
    refused(&lab, ["tool", "inspect", "."], &["hint:"]).await;
}

#[tokio::test]
async fn a_long_compiler_error_is_not_a_timeout() {
    let lab = lab([]);
    let name = "x".repeat(98_000);
    let import = format!("(import \"{name}\" (func))");
    let mut bytes = wat::parse_str(format!("(component {import})")).unwrap();
    // The import section twice: the validator quotes the long name when it refuses the second.
    let again = bytes[8..].to_vec();
    bytes.extend(again);
    lab.write("long.wasm", bytes);
    let started = tokio::time::Instant::now();
    let ran = lab.call(["tool", "inspect", "long.wasm"]).await.expect_code(2);
    assert!(
        ran.stderr.contains("not valid"),
        "{}",
        ran.stderr.chars().take(300).collect::<String>()
    );
    assert!(started.elapsed() < std::time::Duration::from_secs(30));
}

#[tokio::test]
async fn an_unknown_import_is_named() {
    let lab = lab([]);
    lab.write(
        "rockets.wasm",
        wat::parse_str(r#"(component (import "acme:rockets/launch@1.0.0" (instance (export "go" (func)))))"#).unwrap(),
    );
    let ran = lab.call(["tool", "inspect", "rockets.wasm"]).await;
    assert!(ran.stdout.contains("acme:rockets/launch@1.0.0"), "{ran}");
}

#[tokio::test]
async fn a_missing_component_is_reported_and_the_others_keep_working() {
    let lab = lab([Answer::text("Fine without.")]);
    lab.write("core.wasm", wat::parse_str("(module)").unwrap());
    lab.configure(&format!(
        "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n{}",
        plugin("core.wasm", false)
    ));
    let ran = lab.call(["run", "Go."]).await.expect_code(0);
    assert!(ran.stderr.contains("core WebAssembly module"), "{ran}");
    assert!(
        lab.simulator.requests()[0].body["tools"]
            .to_string()
            .contains("calculate")
    );
    let lab = crate::lab([Answer::text("Fine without.")]);
    lab.write("core.wasm", wat::parse_str("(module)").unwrap());
    lab.configure(&format!(
        "{}[logging]\ndirectory = \"logs\"\n",
        plugin("core.wasm", false)
    ));
    lab.report(0).await;
    let file = std::fs::read_dir(lab.path("logs")).unwrap().next().unwrap().unwrap();
    let log = std::fs::read_to_string(file.path()).unwrap();
    let line = log.lines().find(|line| line.contains("it is left out"));
    let line: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("{log}"))).unwrap();
    assert_eq!(
        (&line["level"], &line["plugin"]),
        (&json!("WARN"), &json!("bad")),
        "{line:#}"
    );
    assert!(
        line["hint"].is_string() && line.to_string().contains("core WebAssembly module"),
        "{line:#}"
    );

    lab.configure(&plugin("core.wasm", true));
    refused(
        &lab,
        ["run", "--output", "json", "Go."],
        &["core WebAssembly module", "hint:"],
    )
    .await;
}

#[tokio::test]
async fn an_unreadable_component() {
    let lab = lab([]);
    lab.configure(&plugin("missing.wasm", true));
    refused(&lab, ["run", "Go."], &["missing.wasm"]).await;
}

#[tokio::test]
async fn all_problems_of_a_configuration_are_reported_at_once() {
    let lab = lab([]);
    lab.write(
        "cofferdam.toml",
        "[model]\nmodle = \"x\"\nmax_tokens = \"many\"\n[agent]\ndeadline = \"10 parsecs\"\n[limits]\nfuel = 0\n[budget]\nprices = \"gone.toml\"\n",
    );
    let says = ["modle", "max_tokens", "deadline", "fuel", "gone.toml", "cofferdam.toml"];
    refused(&lab, ["run", "Go."], &says).await;
    refused(&lab, ["config", "check"], &says).await;
    lab.write("cofferdam.toml", "[model\n");
    refused(&lab, ["run", "Go."], &["cofferdam.toml"]).await;
    refused(&lab, ["--config", "nowhere.toml", "run", "Go."], &["nowhere.toml"]).await;
}

#[tokio::test]
async fn unusable_ledgers() {
    let lab = lab([Answer::text("never").forever()]);
    std::fs::create_dir_all(lab.path("data/cofferdam")).unwrap();
    lab.write("data/cofferdam/ledger.sqlite3", vec![b'x'; 8192]);
    refused(&lab, ["run", "--output", "json", "Go."], &["ledger", "hint:"]).await;
    assert_eq!(
        std::fs::read(lab.path("data/cofferdam/ledger.sqlite3")).unwrap(),
        vec![b'x'; 8192],
        "left as it was"
    );
    std::fs::remove_dir_all(lab.path("data")).unwrap();
    lab.write("data", "a file where a folder should be");
    refused(&lab, ["run", "Go."], &["hint:"]).await;
    assert_eq!(
        lab.simulator.requests().len(),
        0,
        "no model request without a ledger to record it"
    );
}

#[tokio::test]
async fn missing_api_key() {
    let lab = lab([]);
    let mut command = lab.command(["run", "Go."]);
    command.env_remove("ANTHROPIC_API_KEY");
    let ran = finish(command.spawn().unwrap()).await.expect_code(2);
    assert!(
        ran.stderr.contains("ANTHROPIC_API_KEY") && ran.stderr.contains("cofferdam demo"),
        "{ran}"
    );
}

#[tokio::test]
async fn a_closed_stdout_does_not_panic() {
    let lab = lab([Answer::text("word ".repeat(20_000))]);
    for arguments in [vec!["run", "Go."], vec!["config", "schema"], vec!["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = lab.command(arguments.iter().copied());
        command.stdout(Stdio::from(writer));
        let ran = finish(command.spawn().unwrap()).await;
        assert!(
            ran.status.code().is_some() && !ran.stderr.contains("panicked"),
            "{arguments:?}: {ran}"
        );
    }
}

#[tokio::test]
async fn a_full_disk_for_output_is_an_error() {
    let lab = lab([]);
    for arguments in [&["config", "schema"][..], &["run", "--help"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = lab.command(arguments.iter().copied());
        command.stdout(Stdio::from(full));
        let ran = finish(command.spawn().unwrap()).await.expect_code(1);
        assert!(ran.stderr.contains("can't write the output"), "{ran}");
        assert!(ran.stderr.contains("hint: "), "{ran}");
    }
}

/// It was paid for.
#[tokio::test]
async fn an_answer_that_cannot_be_written_can_be_read_later() {
    let lab = lab([Answer::text("An answer.")]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = lab.command(["run", "Go.", "--summary", "none", "--output", "json"]);
    command.stdout(Stdio::from(full));
    let ran = finish(command.spawn().unwrap()).await.expect_code(1);
    assert!(ran.stderr.contains("can't write the output"), "{ran}");
    let (_, shows) = ran.stderr.split_once("`cofferdam session show ").unwrap();
    let (id, _) = shows.split_once('`').unwrap();
    let shown = lab.call(["session", "show", id]).await.expect_code(0);
    assert!(shown.stdout.contains("An answer."), "{shown}");
}

/// Nobody writes to it, so that its reader would wait for ever.
#[tokio::test]
async fn a_named_pipe_in_place_of_a_file() {
    let lab = lab([Answer::text("An answer.")]);
    nix::unistd::mkfifo(&lab.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for arguments in [
        &["run", "Go.", "--file", "pipe"][..],
        &["run", "Go.", "--schema", "pipe"],
        &["run", "Go.", "--plugin", "pipe"],
        &["run", "Go.", "--config", "pipe"],
        &["tool", "inspect", "./pipe"],
    ] {
        refused(&lab, arguments.iter().copied(), &["it is a named pipe, not a file"]).await;
    }
    // What a shell makes is open already.
    lab.write("empty.txt", "");
    let script = "exec \"$0\" run 'What does it say?' --file <(echo a note) --file empty.txt </dev/null";
    let program = lab.command([]);
    let program = program.as_std().get_program().to_str().unwrap();
    let ran = finish(lab.command_of("bash", ["-c", script, program]).spawn().unwrap()).await;
    let ran = ran.expect_code(0);
    assert!(ran.stderr.contains("empty.txt is empty"), "{ran}");
    let asked = lab.simulator.requests()[0].body["messages"][0]["content"].to_string();
    assert!(asked.contains("a note"), "{asked}");
}

#[tokio::test]
async fn an_unwritable_log_folder() {
    let lab = lab([]);
    lab.write("logs", "a file where a folder should be");
    lab.configure("[logging]\ndirectory = \"logs\"\n");
    refused(&lab, ["run", "Go."], &["logs", "hint:"]).await;
}

/// Calls a tool of a component whose compiled code is cached in `cache`.
async fn cached(lab: &Lab, cache: &Path, tool: &str, input: &str) -> Ran {
    let mut command = lab.command(["tool", "call", tool, input]);
    command.env("XDG_CACHE_HOME", cache);
    finish(command.spawn().unwrap()).await.expect_code(0)
}

/// The only file in `cache`.
fn only_entry(cache: &Path) -> PathBuf {
    let entries: Vec<PathBuf> = std::fs::read_dir(cache.join("cofferdam"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    entry.clone()
}

#[tokio::test]
async fn a_cache_writable_by_others_is_not_used() {
    let lab = lab([]);
    // One guest answers `done`, the other crashes. The cache contains the second one under the name of the first.
    lab.write("good.wasm", WatGuest::named("x").build());
    lab.write("evil.wasm", WatGuest::named("x").call("unreachable").build());
    let (good, evil, open) = (lab.path("good"), lab.path("evil"), lab.path("open"));
    assert!(cached(&lab, &good, "good.wasm#x", "{}").await.stdout.contains("done"));
    let mut command = lab.command(["tool", "call", "evil.wasm#x", "{}"]);
    command.env("XDG_CACHE_HOME", &evil);
    finish(command.spawn().unwrap()).await.expect_code(1);
    // `COMPONENT-SETTINGS-CONTENT.cwasm`: the digest of one component with the content of the other.
    let [of_good, of_evil] = [&good, &evil].map(|cache| only_entry(cache).file_name().unwrap().to_owned());
    let [of_good, of_evil] = [of_good.to_str().unwrap(), of_evil.to_str().unwrap()];
    let (component, content) = (of_good.rsplit_once('-').unwrap().0, of_evil.rsplit_once('-').unwrap().1);
    let planted = open.join("cofferdam").join(format!("{component}-{content}"));
    std::fs::create_dir_all(planted.parent().unwrap()).unwrap();
    std::fs::copy(only_entry(&evil), &planted).unwrap();
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(planted.parent().unwrap(), permissions).unwrap();
    };

    mode(0o777);
    let ran = cached(&lab, &open, "good.wasm#x", "{}").await;
    assert!(ran.stdout.contains("done"), "{ran}");
    let evil = std::fs::read(only_entry(&evil)).unwrap();
    assert_eq!(
        std::fs::read(only_entry(&open)).unwrap(),
        evil,
        "nothing was written there"
    );

    // The entry itself was valid: in a private folder it runs.
    mode(0o700);
    let mut command = lab.command(["tool", "call", "good.wasm#x", "{}"]);
    command.env("XDG_CACHE_HOME", &open);
    finish(command.spawn().unwrap()).await.expect_code(1);
}

#[tokio::test]
async fn a_damaged_cache_entry_is_compiled_again() {
    let lab = lab([]);
    let cache = lab.path("cache");
    let call = async || cached(&lab, &cache, "builtin:calculator#calculate", r#"{"expression":"6*7"}"#).await;
    call().await;
    let entry = &only_entry(&cache);
    let whole = std::fs::read(entry).unwrap();
    std::fs::write(entry, &whole[..whole.len() / 2]).unwrap();
    let ran = call().await;
    assert!(ran.stdout.contains("42"), "{ran}");
    assert_eq!(std::fs::read(entry).unwrap().len(), whole.len());
}

/// A missing plugin is reported once: by the log or, if the log is quiet or off, by the command.
#[tokio::test]
async fn a_missing_plugin_is_reported_once() {
    let lab = lab(std::iter::repeat_n(Answer::text("Done."), 5));
    let bad = lab.write("bad.wasm", "this is no component");
    for (console, arguments) in [
        ("info", vec!["run", "--output", "json", "Go."]),
        ("off", vec!["run", "--output", "json", "Go."]),
        ("info", vec!["run", "--quiet", "Go."]),
        ("info", vec!["run", "--verbose", "Go."]),
        ("warn", vec!["tool", "list"]),
        ("error", vec!["tool", "list"]),
    ] {
        lab.configure(&format!(
            "[logging]\nconsole = \"{console}\"\n[plugins.bad]\ncomponent = \"{}\"\n",
            bad.display()
        ));
        let ran = lab.call(arguments.iter().copied()).await.expect_code(0);
        let said = ran.stderr.matches("plugin `bad`").count();
        assert_eq!(said, 1, "console = {console}, {arguments:?}: {ran}");
    }
}

/// What the libraries call their layers says nothing, and neither does the same failure once more.
#[tokio::test]
async fn a_dead_network_is_explained_once() {
    let lab = lab([]);
    let run = || {
        let mut command = lab.command(["run", "Go."]);
        // Nobody listens at this port, which is reserved for another service.
        command.env("COFFERDAM_MODEL__BASE_URL", "http://127.0.0.1:9");
        command
    };
    let ran = finish(run().spawn().unwrap()).await.expect_code(1);
    let says = "can't connect to http://127.0.0.1:9: Connection refused (os error 111)";
    assert!(
        ran.stderr
            .contains(&format!("error: gave up after 3 attempts: {says}\n")),
        "{ran}"
    );
    let mut terminal = Terminal::of_width(200);
    let child = terminal.start(run());
    finish(child).await.expect_code(1);
    terminal.wait_for("hint").await;
    let shown = terminal.text();
    assert!(shown.contains("attempt 2 of 3 failed in the same way"), "{shown:?}");
    assert_eq!(shown.matches(says).count(), 2, "{shown:?}");
}

#[tokio::test]
async fn a_mistake_on_the_command_line_comes_with_what_was_meant() {
    let lab = lab([]);
    for (line, says) in [
        ("rnu", "tip: a similar subcommand exists: 'run'"),
        ("tool lits", "tip: a similar subcommand exists: 'list'"),
        (
            "completions",
            "tip: <SHELL> takes one of: bash, elvish, fish, powershell, zsh",
        ),
        ("mcp config", "tip: --client <CLIENT> takes one of: claude, vscode"),
    ] {
        let ran = lab.call(line.split(' ')).await.expect_code(2);
        assert!(ran.stderr.contains(says), "{line}: {ran}");
    }
}

/// Each answer costs money, and nobody could read the others.
#[tokio::test]
async fn a_chat_ends_when_its_answers_cannot_be_written() {
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for (stdout, code) in [(Stdio::from(closed), 0), (Stdio::from(full), 1)] {
        let lab = lab([Answer::text("An answer.").forever()]);
        let mut command = lab.command(["chat"]);
        command.stdin(Stdio::piped()).stdout(stdout);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"one\ntwo\nthree\n").await.unwrap();
        drop(stdin);
        let ran = finish(child).await.expect_code(code);
        assert_eq!(lab.simulator.requests().len(), 1, "{ran}");
        assert!(ran.stderr.contains("can't be written any more"), "{ran}");
    }
}
