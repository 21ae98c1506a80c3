//! `tool dev` with the real binary. The project's toolchain is a shell script that makes a component of what the test wrote.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cofferdam_tests::{ANSWER_TIMEOUT, Lab, Ran, Terminal, WatGuest, WatTool, finish};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::oneshot;

use crate::lab;

/// It copies `source.bin`, unless there is a file `broken`, and writes what toolchains write. Where there is a pipe `gate`, it waits
/// there after it has read the source; where there is a pipe `alive`, it holds that open forever, and so does a child of its own.
const TOOLCHAIN: &str = r#"#!/bin/sh
echo x >> .venv/builds
if [ -p .venv/alive ]; then
    exec 9> .venv/alive
    /bin/sleep 1000 & wait
fi
for out; do :; done
for folder in build target dist __pycache__; do echo x >> "$folder/written"; done
echo x >> Cargo.lock
echo x >> src.pyc
/bin/cat source.bin > .venv/read
if [ -p .venv/gate ]; then read -r open < .venv/gate; fi
if [ -f broken ]; then echo "broken:1: this can't be compiled" >&2; exit 1; fi
/bin/cat .venv/read > "$out"
"#;

/// A schema that accepts any object.
const ANY: &str = r#"{"type":"object"}"#;

fn tool(name: &str, schema: &str) -> WatTool {
    WatTool {
        schema: schema.to_owned(),
        ..WatTool::named(name)
    }
}

/// A component whose tools answer with this word of four letters.
fn component(tools: impl IntoIterator<Item = WatTool>, answer: &str) -> Vec<u8> {
    let mut bytes = WatGuest::new(tools).build();
    let at = bytes.windows(4).position(|window| window == b"done").unwrap();
    bytes[at..at + 4].copy_from_slice(answer.as_bytes());
    bytes
}

/// A project in the lab's folder `letters`.
async fn project(lab: &Lab, source: &[u8]) {
    lab.call(["tool", "new", "letters", "--lang", "python", "--style", "dynamic"])
        .await
        .expect_code(0);
    for folder in [".venv/bin", "build", "target", "dist", "__pycache__"] {
        std::fs::create_dir_all(lab.path("letters").join(folder)).unwrap();
    }
    let program = lab.write("letters/.venv/bin/componentize-py", TOOLCHAIN);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    lab.write("letters/source.bin", source);
}

fn builds(lab: &Lab) -> usize {
    let builds = std::fs::read_to_string(lab.path("letters/.venv/builds")).unwrap();
    builds.lines().count()
}

fn pipe(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.path("letters/.venv").join(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    path
}

fn send_signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// The command with `--output json`.
struct Dev {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Dev {
    async fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let all = [&["tool", "dev", "letters", "--output", "json"], arguments].concat();
        let mut child = lab.command(all).stdin(Stdio::piped()).spawn().unwrap();
        Self {
            stdin: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    /// The next event, which must be this one.
    #[track_caller]
    fn expect(&mut self, name: &'static str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let line = tokio::time::timeout(ANSWER_TIMEOUT, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("{caller}: no event; expected {name}"));
            let line = line.unwrap().unwrap_or_else(|| panic!("{caller}: the command ended"));
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event["event"], name, "{caller}: {event}");
            event
        }
    }

    async fn send(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Waits for a build that fails, and returns what is said of it.
    async fn expect_failure(&mut self, message: &str) -> Value {
        let failed = self.expect("build_failed").await;
        assert!(failed["message"].as_str().unwrap().contains(message), "{failed}");
        failed
    }

    /// Calls a tool, and returns the text of its answer.
    async fn call(&mut self, line: &str) -> String {
        self.send(line).await;
        let result = self.expect("result").await;
        assert_eq!(result["outcome"], "ok", "{result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// Ends the input, and expects that nothing else was to be said.
    async fn leave(mut self) -> Ran {
        drop(self.stdin);
        let rest = self.lines.next_line().await.unwrap();
        assert_eq!(rest, None);
        finish(self.child).await.expect_code(0)
    }
}

#[tokio::test]
async fn a_change_is_built_announced_and_called() {
    let lab = lab([]);
    let schema = r#"{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}"#;
    project(&lab, &component([tool("reverse", schema), tool("gone", ANY)], "old!")).await;
    let mut dev = Dev::start(&lab, &[]).await;
    assert_eq!(dev.expect("built").await["component"], "letters/letters.wasm");
    let tools = dev.expect("tools").await;
    assert_eq!(
        (&tools["tools"][0]["name"], &tools["tools"][1]["name"]),
        (&json!("reverse"), &json!("gone"))
    );
    assert_eq!(dev.call(r#"reverse {"text": "abc"}"#).await, "old!");

    let schema = r#"{"type":"object","properties":{"text":{"type":"string","maxLength":9},"limit":{"type":"integer"}},"required":["text","limit"]}"#;
    // An editor that saves by rename, and a second file at the same time.
    let new = component([tool("reverse", schema), tool("count", ANY)], "new!");
    lab.write("letters/.source.bin.swp", new);
    std::fs::rename(lab.path("letters/.source.bin.swp"), lab.path("letters/source.bin")).unwrap();
    lab.write("letters/notes.txt", "A new file.");
    let started = dev.expect("build_started").await;
    assert_eq!(started["changed"], json!(["notes.txt", "source.bin"]));
    dev.expect("built").await;
    let changes = dev.expect("tools_changed").await;
    assert_eq!(
        (&changes["added"], &changes["removed"]),
        (&json!([{ "name": "count" }]), &json!(["gone"]))
    );
    assert_eq!(
        changes["changed"],
        json!([{ "name": "reverse", "changes": ["input.text + maxLength 9", "input + limit: integer, required"] }])
    );
    assert_eq!(dev.call(r#"reverse {"text": "abc", "limit": 1}"#).await, "new!");
    dev.send(r#"reverse {"text": "abc"}"#).await;
    assert_eq!(dev.expect("result").await["outcome"], "invalid_input");

    // The same source again, saved or not.
    dev.send("build").await;
    assert_eq!(dev.expect("build_started").await["changed"], json!([]));
    dev.expect("built").await;
    let none = json!({ "event": "tools_changed", "added": [], "removed": [], "changed": [] });
    assert_eq!(dev.expect("tools_changed").await, none);
    dev.leave().await;
    // Files that the toolchain wrote led to no build.
    assert_eq!(builds(&lab), 3);
}

#[tokio::test]
async fn a_failed_build_keeps_the_last_component() {
    let lab = lab([]);
    let good = component([tool("reverse", ANY)], "old!");
    project(&lab, &good).await;
    lab.write("letters/broken", "");
    let mut dev = Dev::start(&lab, &[]).await;
    dev.expect_failure("exit status: 1").await;
    dev.send("reverse {}").await;

    std::fs::remove_file(lab.path("letters/broken")).unwrap();
    dev.expect("build_started").await;
    dev.expect("built").await;
    dev.expect("tools").await;
    assert_eq!(dev.call("{}").await, "old!");

    // Neither a failed build nor a component that can't be used takes the tools away.
    for (file, message) in [("broken", "exit status: 1"), ("source.bin", "can't make a component")] {
        lab.write(&format!("letters/{file}"), "garbage");
        dev.expect("build_started").await;
        dev.expect_failure(message).await;
        assert_eq!(dev.call("reverse").await, "old!");
        let _ = std::fs::remove_file(lab.path("letters/broken"));
        lab.write("letters/source.bin", &good);
        dev.expect("build_started").await;
        dev.expect("built").await;
        dev.expect("tools_changed").await;
    }
    let ran = dev.leave().await;
    for said in [
        "broken:1: this can't be compiled",
        "there is no tool to call",
        "the last component that worked stays in use",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {ran}");
    }
}

#[tokio::test]
async fn a_file_that_is_saved_during_a_build_is_built_once_afterwards() {
    let lab = lab([]);
    let version = |name: &str| component([tool(name, ANY)], "done");
    project(&lab, &version("first")).await;
    let mut dev = Dev::start(&lab, &[]).await;
    dev.expect("built").await;
    dev.expect("tools").await;
    let gate = pipe(&lab, "gate");
    // It returns once a toolchain waits at the gate.
    let open = async || {
        let gate = gate.clone();
        let written = tokio::task::spawn_blocking(move || std::fs::write(gate, "open\n"));
        tokio::time::timeout(ANSWER_TIMEOUT, written)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    };
    lab.write("letters/source.bin", version("second"));
    dev.expect("build_started").await;
    // The toolchain has read the source when it comes to the gate. Calls go on meanwhile.
    while std::fs::read(lab.path("letters/.venv/read")).unwrap() != version("second") {
        tokio::task::yield_now().await;
    }
    assert_eq!(dev.call("first").await, "done");
    for name in ["third", "fourth"] {
        lab.write("letters/source.bin", version(name));
        lab.write("letters/app.py", name);
    }
    open().await;
    dev.expect("built").await;
    assert_eq!(dev.expect("tools_changed").await["added"][0]["name"], "second");
    let changed = dev.expect("build_started").await;
    assert_eq!(changed["changed"], json!(["app.py", "source.bin"]));
    open().await;
    dev.expect("built").await;
    assert_eq!(dev.expect("tools_changed").await["added"][0]["name"], "fourth");
    dev.leave().await;
    assert_eq!(builds(&lab), 3);
}

/// Reads what arrives until these words are in it.
async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), words: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    // One deadline for all of it: servers keep a connection alive by sending something.
    let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
    while !text.contains(words) {
        let read = tokio::time::timeout_at(deadline, stream.read(&mut bytes)).await;
        let read = read.unwrap_or_else(|_| panic!("no `{words}` in {text}")).unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    text
}

#[tokio::test]
async fn clients_of_the_mcp_server_learn_of_changed_tools() {
    let lab = lab([]);
    project(&lab, &component([tool("before", ANY)], "done")).await;
    let mut dev = Dev::start(&lab, &["--mcp"]).await;
    dev.expect("built").await;
    dev.expect("tools").await;
    let url = dev.expect("mcp").await["url"].as_str().unwrap().to_owned();
    let address = url
        .strip_prefix("http://")
        .and_then(|url| url.strip_suffix("/mcp"))
        .unwrap();
    let request = |method: &str, name: &str, params: Value| {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let mut params = params;
        params["_meta"] = meta;
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let name = if name.is_empty() {
            String::new()
        } else {
            format!("mcp-name: {name}\r\n")
        };
        format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n{name}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut subscribed = TcpStream::connect(address).await.unwrap();
    let listen = request(
        "subscriptions/listen",
        "",
        json!({ "notifications": { "toolsListChanged": true } }),
    );
    subscribed.write_all(listen.as_bytes()).await.unwrap();
    read_until(&mut subscribed, "notifications/subscriptions/acknowledged").await;

    // Another component with the same tools is used, and no client is notified of it. A notification would come before the one that
    // is waited for below.
    lab.write("letters/source.bin", component([tool("before", ANY)], "next"));
    for event in ["build_started", "built", "tools_changed"] {
        dev.expect(event).await;
    }
    assert_eq!(dev.call("before {}").await, "next");

    lab.write("letters/source.bin", component([tool("after", ANY)], "done"));
    let notified = read_until(&mut subscribed, "list_changed").await;
    assert!(notified.contains("notifications/tools/list_changed"), "{notified}");
    let mut caller = TcpStream::connect(address).await.unwrap();
    let call = request("tools/call", "after", json!({ "name": "after", "arguments": {} }));
    caller.write_all(call.as_bytes()).await.unwrap();
    let answer = read_until(&mut caller, "\r\n\r\n{").await;
    assert!(answer.contains("200 OK") && answer.contains("done"), "{answer}");
    for event in ["build_started", "built", "tools_changed"] {
        dev.expect(event).await;
    }
    let ran = dev.leave().await;
    assert!(ran.stderr.contains(&format!("\"url\":\"{url}\"")), "{ran}");
    let refused = lab
        .call(["tool", "dev", "letters", "--mcp=0.0.0.0:0"])
        .await
        .expect_code(2);
    assert!(
        refused.stderr.contains("can be reached from other machines"),
        "{refused}"
    );
}

/// Waits until a toolchain holds the pipe open, then until no process does any more.
struct Held {
    opened: oneshot::Receiver<()>,
    closed: oneshot::Receiver<()>,
}

impl Held {
    fn watch(pipe: &Path) -> Self {
        let ((open, opened), (close, closed)) = (oneshot::channel(), oneshot::channel());
        let pipe = pipe.to_owned();
        // Detached, so that a test that fails doesn't wait for it.
        std::thread::spawn(move || {
            let mut pipe = std::fs::File::open(pipe).unwrap();
            let _ = open.send(());
            pipe.read_to_end(&mut Vec::new()).unwrap();
            let _ = close.send(());
        });
        Self { opened, closed }
    }

    async fn opened(&mut self) {
        let opened = tokio::time::timeout(ANSWER_TIMEOUT, &mut self.opened).await;
        opened.expect("no toolchain was started").unwrap();
    }

    async fn closed(self) {
        let closed = tokio::time::timeout(ANSWER_TIMEOUT, self.closed).await;
        closed.expect("a process is left").unwrap();
    }
}

#[tokio::test]
async fn a_signal_kills_the_toolchain_with_its_children() {
    for (command, signal, code) in [
        ("dev", Signal::INT, 0),
        ("dev", Signal::TERM, 0),
        ("dev", Signal::HUP, 0),
        ("build", Signal::INT, 130),
        ("build", Signal::TERM, 130),
    ] {
        let lab = lab([]);
        project(&lab, b"").await;
        let mut held = Held::watch(&pipe(&lab, "alive"));
        // The tests themselves may have been started so that they outlive their terminal.
        let program = lab.command([""]).as_std().get_program().to_owned();
        let words = [
            "--default-signal",
            program.to_str().unwrap(),
            "tool",
            command,
            "letters",
        ];
        let child = lab.command_of("env", words).stdin(Stdio::piped()).spawn().unwrap();
        held.opened().await;
        send_signal(&child, signal);
        finish(child).await.expect_code(code);
        held.closed().await;
    }
}

/// At the prompt a build is going on as well, perhaps.
#[tokio::test]
async fn a_build_that_is_not_the_first_ends_with_the_command() {
    for signal in [None, Some(Signal::INT), Some(Signal::TERM)] {
        let lab = lab([]);
        project(&lab, &component([tool("reverse", ANY)], "done")).await;
        let mut dev = Dev::start(&lab, &[]).await;
        dev.expect("built").await;
        dev.expect("tools").await;
        assert_eq!(dev.call("{}").await, "done");
        let mut held = Held::watch(&pipe(&lab, "alive"));
        dev.send("build").await;
        dev.expect("build_started").await;
        held.opened().await;
        match signal {
            None => dev.send("quit").await,
            Some(signal) => send_signal(&dev.child, signal),
        }
        finish(dev.child).await.expect_code(0);
        held.closed().await;
    }
}

#[tokio::test]
async fn ctrl_c_cancels_a_call_and_not_the_prompt() {
    let lab = lab([]);
    let endless = WatGuest::new([tool("reverse", ANY)]).call("(loop $l (br $l))").build();
    project(&lab, &endless).await;
    // Neither limit is to end it.
    let limits = "metering = \"epoch\"\nlimits = { timeout = \"1h\" }\n";
    lab.write(
        "letters/cofferdam.toml",
        format!("[agent]\ndeadline = \"1h\"\n[plugins.letters]\ncomponent = \"letters.wasm\"\n{limits}"),
    );
    let all = ["tool", "dev", "letters", "--output", "stream-json"];
    let mut child = lab.command(all).stdin(Stdio::piped()).spawn().unwrap();
    let mut dev = Dev {
        stdin: child.stdin.take().unwrap(),
        lines: BufReader::new(child.stdout.take().unwrap()).lines(),
        child,
    };
    dev.expect("built").await;
    dev.expect("tools").await;
    dev.send("{}").await;
    dev.expect("tool_call_started").await;
    send_signal(&dev.child, Signal::INT);
    dev.expect("tool_call_finished").await;
    assert_eq!(dev.expect("result").await["outcome"], "cancelled");
    dev.send("schema").await;
    dev.expect("schema").await;
    dev.leave().await;
}

#[tokio::test]
async fn the_section_of_the_projects_configuration_applies() {
    let lab = lab([]);
    project(&lab, &component([tool("reverse", ANY)], "done")).await;
    let section = |description: &str| {
        let text = format!(
            "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n[plugins.mine]\ncomponent = \"letters.wasm\"\n\
             [plugins.mine.tools.reverse]\ndescription = \"{description}\"\n"
        );
        lab.write("letters/cofferdam.toml", text);
    };
    section("Turns it round.");
    let mut dev = Dev::start(&lab, &[]).await;
    dev.expect("built").await;
    let tools = dev.expect("tools").await;
    let [reverse] = &tools["tools"].as_array().unwrap()[..] else {
        panic!("{tools}")
    };
    assert_eq!(
        (&reverse["plugin"], &reverse["description"]),
        (&json!("mine"), &json!("Turns it round."))
    );
    section("Reverses it.");
    assert_eq!(dev.expect("build_started").await["changed"], json!(["cofferdam.toml"]));
    dev.expect("built").await;
    assert_eq!(
        dev.expect("tools_changed").await["changed"][0]["changes"],
        json!([r#"description "Turns it round." -> "Reverses it.""#])
    );
    dev.leave().await;

    // As with `tool call`, the options are for components that no configuration names.
    let grant = ["--allow-http", "http://127.0.0.1:1"];
    let mut dev = Dev::start(&lab, &grant).await;
    dev.expect("built").await;
    let failed = dev
        .expect_failure("grants and limits of the command line have no effect")
        .await;
    assert!(
        failed["hint"].as_str().unwrap().contains("`[plugins.mine]`"),
        "{failed}"
    );
    dev.leave().await;
    std::fs::remove_file(lab.path("letters/cofferdam.toml")).unwrap();
    let mut dev = Dev::start(&lab, &grant).await;
    dev.expect("built").await;
    assert_eq!(dev.expect("tools").await["tools"][0]["plugin"], "letters");
    dev.leave().await;
    // A file that is named must name the component.
    let mut dev = Dev::start(&lab, &["--config", "cofferdam.toml"]).await;
    dev.expect("built").await;
    dev.expect_failure("loads no plugin from letters/letters.wasm").await;
    dev.leave().await;
}

#[tokio::test]
async fn lines_are_answered_in_text_as_well() {
    let lab = lab([]);
    let schema = r#"{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}"#;
    project(&lab, &component([tool("reverse", schema)], "done")).await;
    let lines = "help\n\nreverse {\"text\": }\nnothing\nschema reverse\nreverse {\"text\": \"a\"}\nquit\nreverse {}\n";
    let ran = lab
        .call_with_input(["tool", "dev", "letters"], lines)
        .await
        .expect_code(0);
    let described = "reverse(text: string)  Does nothing.";
    assert!(ran.stdout.starts_with(&format!("{described}\n\n")), "{ran}");
    assert!(
        ran.stdout.contains("\"input_schema\": {") && ran.stdout.ends_with("}\ndone\n"),
        "{ran}"
    );
    for said in [
        "running  .venv/bin/componentize-py -d wit",
        "built  letters/letters.wasm",
        &format!("tool  {described}"),
        "error: the input isn't JSON: expected value at line 1 column 10\nhint: for example reverse {\"text\": \"…\"}",
        "error: `nothing` is neither a tool nor a command",
        "tool  reverse ok after",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {ran}");
    }
    // With `--quiet`, errors and results are left.
    let quiet = lab
        .call_with_input(["tool", "dev", "letters", "--quiet"], "{\"text\": \"a\"}\n")
        .await
        .expect_code(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("done\n", ""));
}

/// A tool that fails is called however often its author wants.
#[tokio::test]
async fn no_breaker_stops_the_prompt() {
    let lab = lab([]);
    let crashing = WatGuest::new([tool("reverse", ANY)]).call("unreachable").build();
    project(&lab, &crashing).await;
    let mut dev = Dev::start(&lab, &[]).await;
    dev.expect("built").await;
    dev.expect("tools").await;
    for _ in 0..8 {
        dev.send("{}").await;
        assert_eq!(dev.expect("result").await["outcome"], "trapped");
    }
    dev.leave().await;
}

#[tokio::test]
async fn a_folder_without_a_project_is_refused() {
    let lab = lab([]);
    let ran = lab.call(["tool", "dev"]).await.expect_code(2);
    assert!(ran.stderr.contains("isn't a tool's project"), "{ran}");
}

#[tokio::test]
async fn a_build_does_not_disturb_the_line_that_is_typed() {
    let lab = lab([]);
    project(&lab, &component([tool("reverse", ANY)], "old!")).await;
    let mut terminal = Terminal::open();
    let child = terminal.start(lab.command(["tool", "dev", "letters"]));
    terminal.wait_for("> ").await;
    assert!(!terminal.is_ordinary());
    terminal.type_keys("rev\t");
    terminal.wait_for("reverse").await;
    terminal.type_keys(" {\"a\": ");
    terminal.wait_for("{\"a\": ").await;
    lab.write(
        "letters/source.bin",
        component([tool("reverse", ANY), tool("more", ANY)], "new!"),
    );
    terminal.wait_for("+ more()").await;
    assert!(!terminal.text().contains("new!"), "{:?}", terminal.text());
    terminal.type_keys("1}\r");
    terminal.wait_for("new!").await;
    // The line can be recalled.
    terminal.type_keys("\u{1b}[A");
    terminal.wait_for("> reverse {\"a\": 1}").await;
    // Ctrl-C clears the line; at an empty one it ends.
    terminal.type_keys("\u{3}\u{3}");
    finish(child).await.expect_code(0);
    assert!(terminal.is_ordinary());
}

#[tokio::test]
async fn the_terminal_is_left_as_it_was() {
    let lab = lab([]);
    project(&lab, &component([tool("reverse", ANY)], "old!")).await;
    for end in ["quit\r", "\u{4}", ""] {
        let mut terminal = Terminal::open();
        let child = terminal.start(lab.command(["tool", "dev", "letters"]));
        terminal.wait_for("> ").await;
        terminal.type_keys(end);
        if end.is_empty() {
            send_signal(&child, Signal::TERM);
        }
        finish(child).await.expect_code(0);
        assert!(terminal.is_ordinary(), "{end:?}");
    }
}
