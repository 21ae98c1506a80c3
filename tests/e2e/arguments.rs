//! What the command line sets: prompts, models, budgets, components and what they are granted.

use cofferdam::simulator::Answer;
use cofferdam_tests::{Behaviour, HttpServer, Lab, McpClient, finish, tool_call};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab;

fn request(lab: &Lab, index: usize) -> Value {
    lab.simulator.requests()[index].body.clone()
}

/// The text of the first message.
fn prompt(lab: &Lab, index: usize) -> String {
    let request = request(lab, index);
    let content = &request["messages"][0]["content"];
    content
        .as_str()
        .map_or_else(|| content[0]["text"].as_str().unwrap().to_owned(), str::to_owned)
}

#[tokio::test]
async fn a_prompt_takes_words_files_and_what_is_piped() {
    let lab = lab([Answer::text("Yes.").forever()]);
    lab.write("notes.txt", "one\ntwo");
    for (arguments, input, expected) in [
        (vec!["run", "What", "is", "2+2"], "", "What is 2+2"),
        (vec!["run", "- list things"], "", "- list things"),
        (vec!["run", "-5 + 3"], "", "-5 + 3"),
        (vec!["run", "summarise this"], "DATA\n", "summarise this\n\nDATA\n"),
        (vec!["run", "-", "summarise"], "\u{feff}DATA", "summarise\n\nDATA"),
        (
            vec!["run", "compare", "--file", "notes.txt"],
            "DATA",
            "compare\n\n<file name=\"notes.txt\">\none\ntwo\n</file>\n\nDATA",
        ),
        (
            vec!["run", "--file", "notes.txt"],
            "",
            "<file name=\"notes.txt\">\none\ntwo\n</file>",
        ),
        (
            vec!["run", "--", "--not-an-option is meant"],
            "",
            "--not-an-option is meant",
        ),
        (vec!["run", "--", "--weird"], "", "--weird"),
        (vec!["run", "say", "--", "--weird", "-"], "", "say --weird -"),
    ] {
        let index = lab.simulator.requests().len();
        lab.call_with_input(arguments.clone(), input).await.expect_code(0);
        assert_eq!(prompt(&lab, index), expected, "{arguments:?}");
    }
}

#[tokio::test]
async fn what_is_no_prompt_is_never_sent() {
    let lab = lab([]);
    lab.write("mark.txt", "\u{feff}");
    lab.write("empty.txt", "");
    for (arguments, input, says) in [
        (vec!["run", "--modle", "x", "hello"], "", "there is no option `--modle`"),
        (
            vec!["run", "--max_iterations", "5", "hello"],
            "",
            "there is no option `--max_iterations`",
        ),
        (vec!["run", "hello", "-z"], "", "unexpected argument '-z'"),
        (vec!["run", "-"], "\u{feff}", "the prompt is empty"),
        (vec!["run"], " \n", "the prompt is empty"),
        (vec!["run", "--file", "mark.txt"], "", "the prompt is empty"),
        (
            vec!["run", "--file", "empty.txt", "--file", "mark.txt"],
            "\n",
            "the prompt is empty",
        ),
        (vec!["run", "--file", "missing.txt"], "", "can't read missing.txt"),
        (
            vec!["run", "hello", "--max-iterations", "0"],
            "",
            "--max-iterations: agent.max_iterations:",
        ),
        (
            vec!["run", "hello", "--budget", "much"],
            "",
            "--budget: budget.session_usd:",
        ),
        (vec!["run", "hello", "--model", ""], "", "--model: model.model:"),
        (vec!["run", "hello", "--keyvalue"], "", "there is none"),
        (
            vec!["run", "hello", "--plugin", "builtin:faulty", "--limit", "timeuot=5s"],
            "",
            "--limit timeuot: plugins.faulty.limits.timeuot:",
        ),
        (vec!["run", "hello", "--plugin", "missing.wasm"], "", "missing.wasm"),
        (
            vec!["run", "hello", "--plugin", "builtin:notes", "--env", "NOT_SET_HERE"],
            "",
            "isn't set here",
        ),
    ] {
        let ran = lab.call_with_input(arguments, input).await.expect_code(2);
        assert!(ran.stderr.contains(says), "{says}: {ran}");
    }
    // To a conversation, it is an empty line.
    lab.call_with_input(["chat"], "\u{feff}\n").await.expect_code(0);
    assert_eq!(lab.simulator.requests().len(), 0);
}

#[tokio::test]
async fn a_run_can_have_another_model_system_prompt_and_limits() {
    let lab = lab([
        Answer::text("One."),
        tool_call("calculate", json!({ "expression": "1" })),
    ]);
    lab.configure("[agent]\nsystem = \"of the file\"\n[plugins.calculator]\ncomponent = \"builtin:calculator\"\n");
    lab.call(["run", "Go.", "--model", "claude-haiku-4-5", "--system", "5"])
        .await
        .expect_code(0);
    let sent = request(&lab, 0);
    assert_eq!(sent["model"], "claude-haiku-4-5");
    assert!(sent["system"].to_string().contains("\"5\""), "{}", sent["system"]);
    // The second ends after its only model call.
    let ran = lab
        .call(["run", "Go.", "--max-iterations", "1", "--output", "json"])
        .await;
    assert_eq!(ran.json()["outcome"], "max_iterations");
    assert!(request(&lab, 1)["system"].to_string().contains("of the file"));
    // Nothing is left of the budget for a third.
    let ran = lab
        .call(["run", "Go.", "--budget", "0.000001", "--output", "json"])
        .await;
    assert_eq!(ran.json()["outcome"], "budget_exceeded");
    assert_eq!(lab.simulator.requests().len(), 2);
}

#[tokio::test]
async fn a_component_of_the_command_line_has_the_grants_that_stand_there() {
    let lab = lab([tool_call("read_env", json!({})), Answer::text("Done.")]);
    std::fs::create_dir(lab.path("shared")).unwrap();
    let grants = [
        "--dir",
        "shared:/in",
        "--dir",
        ".:rw",
        "--env",
        "LANG=de",
        "--set",
        "greeting=hello",
    ];
    let read_env = [&["tool", "call", "builtin:faulty#read_env"][..], &grants[..]].concat();
    let seen = lab.call(read_env).await.expect_code(0).stdout;
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["env"], json!({ "LANG": "de" }));
    assert!(seen["preopens"].to_string().contains("/in"), "{seen}");
    let config = ["tool", "call", "builtin:faulty#read_config", "{\"key\": \"greeting\"}"];
    let read_config = [&config[..], &grants[..]].concat();
    assert!(lab.call(read_config).await.expect_code(0).stdout.contains("hello"));
    let nothing = lab
        .call(["tool", "call", "builtin:faulty#read_env"])
        .await
        .expect_code(0);
    assert_eq!(nothing.json()["env"], json!({}));

    // A run has it beside the configured plugins.
    lab.configure(
        "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n[plugins.faulty]\ncomponent = \"missing.wasm\"\n",
    );
    let run = [&["run", "Go.", "--plugin", "builtin:faulty"][..], &grants[..]].concat();
    lab.call(run).await.expect_code(0);
    let tools = request(&lab, 0)["tools"].to_string();
    assert!(tools.contains("calculate") && tools.contains("read_env"), "{tools}");
    let answered = request(&lab, 1).to_string();
    assert!(answered.contains("LANG"), "{answered}");

    // And an MCP client.
    let options = ["mcp", "--plugin", "builtin:faulty", "--env", "LANG=fr"];
    let mut client = McpClient::start(&lab, &options).await;
    client.call(1, "read_env", json!({})).await;
    let answer = client.answer().await.to_string();
    assert!(answer.contains("LANG") && answer.contains("fr"), "{answer}");
    client.leave().await;
}

#[tokio::test]
async fn the_command_line_can_change_every_limit() {
    let lab = lab([]);
    let call = ["tool", "call", "builtin:faulty#loop_forever", "--output", "json"];
    let ran = lab.call([&call[..], &["--limit", "timeout=100ms"]].concat()).await;
    assert_eq!(ran.json()["outcome"], "timeout");
    let ran = lab.call([&call[..], &["--limit", "fuel=100000000"]].concat()).await;
    assert_eq!(ran.json()["outcome"], "out_of_fuel");
    let unchanged = lab
        .call(["tool", "call", "calculate", "--limit", "fuel=1000"])
        .await
        .expect_code(2);
    assert!(unchanged.stderr.contains("those of the configuration"), "{unchanged}");
}

#[tokio::test]
async fn what_a_component_keeps_is_there_in_the_next_call() {
    let lab = lab([]);
    let add = [
        "tool",
        "call",
        "builtin:notes#notes_add",
        "{\"title\": \"a\", \"text\": \"kept\"}",
    ];
    let ran = lab.call(add).await;
    assert_ne!(ran.code(), 0, "{ran}");
    lab.call([&add[..], &["--keyvalue"]].concat()).await.expect_code(0);
    let ran = lab
        .call([
            "tool",
            "call",
            "builtin:notes#notes_search",
            "{\"query\": \"a\"}",
            "--keyvalue",
        ])
        .await
        .expect_code(0);
    assert!(ran.stdout.contains("kept"), "{ran}");
}

/// Whose data they are doesn't depend on what a file is called.
#[tokio::test]
async fn a_component_on_the_command_line_has_no_data_of_another_of_its_name() {
    let lab = lab([]);
    let notes = cofferdam::tools::builtin("notes").unwrap();
    for folder in ["one", "other"] {
        std::fs::create_dir_all(lab.path(folder)).unwrap();
        lab.write(&format!("{folder}/notes.wasm"), notes);
    }
    lab.configure("[plugins.notes]\ncomponent = \"one/notes.wasm\"\nkeyvalue = true\n");
    let add = |text: &str| json!({ "title": "a", "text": text }).to_string();
    let configured = ["tool", "call", "notes_add", &add("configured")];
    lab.call(configured).await.expect_code(0);
    let one = ["tool", "call", "one/notes.wasm#notes_add", &add("one"), "--keyvalue"];
    lab.call(one).await.expect_code(0);
    for (tool, kept) in [
        ("notes_search", Some("configured")),
        ("one/notes.wasm#notes_search", Some("one")),
        ("./other/../one/notes.wasm#notes_search", Some("one")),
        ("other/notes.wasm#notes_search", None),
        ("builtin:notes#notes_search", None),
    ] {
        let option = if tool.contains('#') { &["--keyvalue"][..] } else { &[] };
        let call = [&["tool", "call", tool, "{\"query\": \"a\"}"][..], option].concat();
        let ran = lab.call(call).await.expect_code(0);
        for text in ["configured", "one"] {
            assert_eq!(ran.stdout.contains(text), kept == Some(text), "{tool}: {ran}");
        }
    }
}

/// Where the newest release is a link, it has the data of the one before.
#[cfg(unix)]
#[tokio::test]
async fn data_of_a_component_on_the_command_line_stay_when_a_link_to_it_changes() {
    let lab = lab([]);
    for folder in ["release-1", "release-2"] {
        std::fs::create_dir_all(lab.path(folder)).unwrap();
        lab.write(
            &format!("{folder}/notes.wasm"),
            cofferdam::tools::builtin("notes").unwrap(),
        );
    }
    let [first, second, current] = ["release-1", "release-2", "current"].map(|name| lab.path(name));
    std::os::unix::fs::symlink(first, &current).unwrap();
    let note = json!({ "title": "a", "text": "kept" }).to_string();
    lab.call(["tool", "call", "current/notes.wasm#notes_add", &note, "--keyvalue"])
        .await
        .expect_code(0);
    std::fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(second, &current).unwrap();
    let ran = lab
        .call([
            "tool",
            "call",
            "current/notes.wasm#notes_search",
            "{\"query\": \"a\"}",
            "--keyvalue",
        ])
        .await
        .expect_code(0);
    assert!(ran.stdout.contains("kept"), "{ran}");
}

#[tokio::test]
async fn a_program_reads_the_error_that_stops_a_command() {
    let lab = lab([]);
    let ran = lab.call(["run", "", "--output", "json"]).await.expect_code(2);
    assert_eq!(ran.json()["error"]["kind"], "usage");
    assert_eq!(ran.json()["error"]["message"], "the prompt is empty");
    let ran = lab.call(["run", "", "--output", "stream-json"]).await.expect_code(2);
    assert_eq!(ran.json_lines()[0]["event"], "error");
    lab.write("broken.toml", "[agent]\nmax_iterations = 0\n");
    let ran = lab
        .call(["run", "Go.", "--config", "broken.toml", "--output", "json"])
        .await
        .expect_code(2);
    let error = &ran.json()["error"];
    assert_eq!(error["kind"], "configuration");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("max_iterations") && !message.contains("hint"),
        "{error}"
    );
    // The hints are where those of other errors are.
    for (limits, hint) in [
        ("", "set an amount, or \"unlimited\" for no limit"),
        (
            "host_day_usd = 0\n",
            "budget.session_usd: set an amount, or \"unlimited\" for no limit\n\
             budget.host_day_usd: set an amount, or \"unlimited\" for no limit",
        ),
    ] {
        lab.write("broken.toml", format!("[budget]\nsession_usd = 0\n{limits}"));
        let ran = lab
            .call(["run", "Go.", "--config", "broken.toml", "--output", "json"])
            .await
            .expect_code(2);
        let error = &ran.json()["error"];
        assert_eq!(error["hint"], hint, "{error}");
        assert!(!error["message"].as_str().unwrap().contains("unlimited"), "{error}");
    }
    let ran = lab.call(["run", ""]).await.expect_code(2);
    assert_eq!(ran.stdout, "");

    // What the parser finds as well.
    let ran = lab.call(["rnu", "--output", "json"]).await.expect_code(2);
    assert_eq!(ran.json()["error"]["kind"], "usage");
    assert_eq!(ran.json()["error"]["hint"], "a similar subcommand exists: 'run'");
    assert!(ran.stderr.contains("unrecognized subcommand"), "{ran}");
    let ran = lab
        .call(["run", "--modle=x", "Go.", "--output=stream-json"])
        .await
        .expect_code(2);
    let line = &ran.json_lines()[0];
    assert_eq!(
        (&line["event"], &line["error"]["kind"]),
        (&json!("error"), &json!("usage"))
    );
    let ran = lab.call(["rnu"]).await.expect_code(2);
    assert_eq!(ran.stdout, "");
    let ran = lab.call(["run", "--help", "--output", "json"]).await.expect_code(0);
    assert!(ran.stdout.contains("Usage:"), "{ran}");
}

#[tokio::test]
async fn a_silent_stdin_is_spoken_of() {
    let lab = lab([Answer::text("Yes.")]);
    let mut command = lab.command(["run", "Go."]);
    command.stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    let stderr = child.stderr.as_mut().unwrap();
    while !said.contains("reading the prompt from stdin until it ends") {
        let mut bytes = [0; 256];
        let length = stderr.read(&mut bytes).await.unwrap();
        assert_ne!(length, 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    child.stdin.as_mut().unwrap().write_all(b"Slowly.").await.unwrap();
    drop(child.stdin.take());
    finish(child).await.expect_code(0);
    assert_eq!(prompt(&lab, 0), "Go.\n\nSlowly.");
}

#[tokio::test]
async fn the_input_of_a_tool_is_called_one() {
    let lab = lab([]);
    for tool in ["builtin:calculator#calculate", "builtin:calculator"] {
        let call = ["tool", "call", tool, "-"];
        let ran = lab
            .call_with_input(call, "\u{feff}{\"expression\": \"6*7\"}")
            .await
            .expect_code(0);
        assert_eq!(ran.stdout, "42\n");
        let ran = lab.call_with_input(call, "").await.expect_code(2);
        assert!(ran.stderr.contains("the input is empty"), "{ran}");
    }
}

#[tokio::test]
async fn an_address_is_granted_to_a_run() {
    let server = HttpServer::start(Behaviour::body("from afar")).await;
    let lab = lab([
        tool_call("fetch", json!({ "url": server.url() })),
        Answer::text("Done."),
    ]);
    lab.call([
        "run",
        "Go.",
        "--plugin",
        "builtin:faulty",
        "--allow-http",
        &server.url(),
    ])
    .await
    .expect_code(0);
    assert!(request(&lab, 1).to_string().contains("from afar"));
}

#[tokio::test]
async fn help_is_a_command() {
    let lab = lab([]);
    let help = lab.call(["help"]).await.expect_code(0);
    assert!(help.stdout.contains("Usage:") && help.stdout.contains("run"), "{help}");
    let of_run = lab.call(["help", "run"]).await.expect_code(0);
    assert!(of_run.stdout.contains("--max-iterations"), "{of_run}");
}

/// The option after an option was used, and the key after a configuration was.
#[tokio::test]
async fn a_hint_names_the_option_or_the_key_that_was_used() {
    let lab = lab([
        tool_call("loop_forever", json!({})),
        Answer::text("Done."),
        tool_call("calculate", json!({ "expression": "1" })).forever(),
    ]);
    let component = ["tool", "call", "builtin:faulty#loop_forever"];
    let ran = lab
        .call([&component[..], &["--limit", "timeout=100ms"]].concat())
        .await
        .expect_code(1);
    assert!(ran.stderr.contains("raise it with `--limit timeout=…`"), "{ran}");
    let ran = lab
        .call([&component[..], &["--limit", "component_bytes=1KiB"]].concat())
        .await
        .expect_code(2);
    assert!(
        ran.stderr.contains("more than component_bytes allows (1KiB)")
            && ran.stderr.contains("raise it with `--limit component_bytes=…`"),
        "{ran}"
    );
    let ran = lab
        .call(["tool", "call", "builtin:faulty#read_env", "--dir", "missing"])
        .await
        .expect_code(2);
    assert!(ran.stderr.contains("correct `--dir`"), "{ran}");
    let plugin = ["run", "Go.", "--plugin", "builtin:faulty", "--output", "stream-json"];
    let ran = lab
        .call([&plugin[..], &["--limit", "timeout=100ms"]].concat())
        .await
        .expect_code(0);
    assert!(ran.stdout.contains("raise it with `--limit timeout=…`"), "{ran}");
    lab.configure(&cofferdam_tests::faulty("timeout = \"100ms\""));
    let ran = lab.call(["tool", "call", "loop_forever"]).await.expect_code(1);
    assert!(ran.stderr.contains("raise plugins.faulty.limits.timeout"), "{ran}");

    let calculator = "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n";
    for (file, options, code, says) in [
        ("", &["--max-iterations", "1"][..], 4, "hint: raise `--max-iterations`"),
        (
            "[agent]\nmax_iterations = 1\n",
            &[],
            4,
            "hint: raise `[agent] max_iterations`\n",
        ),
        ("", &["--budget", "0.000001"], 3, "raise `--budget`; "),
        (
            "[budget]\nsession_usd = 0.000001\n",
            &[],
            3,
            "raise `[budget] session_usd`; ",
        ),
    ] {
        lab.configure(&format!("{file}{calculator}"));
        let ran = lab.call([&["run", "Go."], options].concat()).await.expect_code(code);
        assert!(ran.stderr.contains(says), "{says}: {ran}");
        if code == 3 {
            // It is kept as it was said.
            let sessions = lab.call(["session", "list", "--output", "json"]).await.expect_code(0);
            let id = sessions.json()[0]["id"].as_str().unwrap().to_owned();
            let shown = lab.call(["session", "show", &id]).await.expect_code(0);
            assert!(shown.stdout.contains(says), "{says}: {shown}");
        }
    }
}

#[tokio::test]
async fn a_store_is_granted_by_an_option_or_a_key() {
    let lab = lab([]);
    let ran = lab
        .call(["tool", "call", "builtin:notes#notes_list"])
        .await
        .expect_code(1);
    assert!(
        ran.stdout.contains("`keyvalue = true`") && ran.stdout.contains("`--keyvalue`"),
        "{ran}"
    );
}

/// Beside the JSON that a program reads, stderr is for what is wrong.
#[tokio::test]
async fn a_run_for_a_program_logs_what_is_wrong_alone() {
    let lab = lab([
        tool_call("calculate", json!({ "expression": "1" })),
        Answer::text("One."),
        Answer::text("Two."),
        Answer::text("Three."),
        Answer::error(500),
        Answer::text("Four."),
    ]);
    lab.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n");
    for output in ["json", "stream-json"] {
        let ran = lab.call(["run", "Go.", "--output", output]).await.expect_code(0);
        assert_eq!(ran.stderr, "", "{output}");
    }
    let mut command = lab.command(["run", "Go.", "--output", "json"]);
    command.env("COFFERDAM_LOGGING__CONSOLE", "info");
    let ran = finish(command.spawn().unwrap()).await.expect_code(0);
    assert!(ran.stderr.contains("INFO session finished"), "{ran}");
    let ran = lab.call(["run", "Go.", "--output", "json"]).await.expect_code(0);
    assert!(
        ran.stderr.contains("WARN model attempt failed") && !ran.stderr.contains("INFO"),
        "{ran}"
    );
}

#[tokio::test]
async fn a_tool_that_is_a_word_of_its_own_is_a_mistake_with_its_correction() {
    let lab = lab([]);
    for words in [&["loop_forever"][..], &["loop_forever", "{}"]] {
        let ran = lab
            .call([&["tool", "call", "builtin:faulty"], words].concat())
            .await
            .expect_code(2);
        assert!(ran.stderr.contains("write `builtin:faulty#loop_forever`"), "{ran}");
    }
    let ran = lab
        .call(["tool", "call", "builtin:calculator", "{\"expression\":", "\"1\"}"])
        .await
        .expect_code(2);
    assert!(ran.stderr.contains("one more word: `\"1\"}`"), "{ran}");
    assert!(ran.stderr.contains("in single quotes"), "{ran}");
}

#[tokio::test]
async fn a_crash_is_shown_without_its_backtrace_unless_it_is_asked_for() {
    let lab = lab([]);
    let panic = ["tool", "call", "builtin:faulty#panic"];
    let ran = lab.call(panic).await.expect_code(1);
    assert!(ran.stderr.contains("printed  a deliberate panic\n"), "{ran}");
    assert!(!ran.stderr.contains("printed  \n"), "{ran}");
    assert_eq!(ran.stderr.matches(" detail  ").count(), 2, "{ran}");
    assert!(ran.stderr.contains("of a backtrace, which --verbose shows)"), "{ran}");
    let ran = lab.call([&panic[..], &["--verbose"]].concat()).await.expect_code(1);
    assert!(ran.stderr.contains(" detail    0: "), "{ran}");
}
