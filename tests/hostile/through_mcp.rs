//! The same corpus through the MCP server: all of it in one process and over one connection. Each call must end with the same
//! outcome, an honest tool must answer after each case, and the process must end well.

use std::fmt::Write as _;

use cofferdam_tests::{Lab, McpClient};
use serde_json::{Value, json};

use super::{EXCLUSIVE, SECRET, Servers, grant, runtime};
use crate::corpus::{self, Case};

/// The plugin of a case, and its tool's name: tools of one server need different ones.
fn name(position: usize) -> String {
    format!("case_{position:03}")
}

/// One configuration with every case's plugin.
fn configure(lab: &Lab, cases: &[Case], servers: &Servers) {
    lab.write("key.txt", SECRET);
    // Few are loaded at a time, so that none takes longer than it may on its own.
    let mut text =
        "[storage]\npath = \"data\"\n[limits]\nhost_concurrency = 4\n[secrets]\nKEY = { file = \"key.txt\" }\n\
                    [plugins.victim]\ncomponent = \"builtin:calculator\"\nrequired = true\n"
            .to_owned();
    for (position, case) in cases.iter().enumerate() {
        let name = name(position);
        let component = match case.component() {
            None => "builtin:faulty".to_owned(),
            Some(bytes) => {
                lab.write(&format!("{name}.wasm"), bytes);
                format!("{name}.wasm")
            }
        };
        let folder = format!("granted_{position}");
        grant(&lab.path(&folder));
        let plugin = servers.fill(&case.plugin).replace("'granted'", &format!("'{folder}'"));
        write!(text, "[plugins.{name}]\ncomponent = \"{component}\"\n{plugin}\n").unwrap();
        if !case.load {
            write!(text, "[plugins.{name}.tools.{}]\nname = \"{name}\"\n", case.tool).unwrap();
        }
    }
    lab.write("cofferdam.toml", text);
}

fn text(answer: &Value) -> String {
    let content = answer["result"]["content"].as_array().into_iter().flatten();
    let texts = content.filter_map(|part| part["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

/// What is wrong with an answer.
fn fault(case: &Case, answer: &Value) -> Option<String> {
    let (meta, text) = (&answer["result"]["_meta"], text(answer));
    let outcome = meta["cofferdam/outcome"].as_str().unwrap_or("no outcome").to_owned();
    let is_error = answer["result"]["isError"] == true;
    let hidden = case.hides.as_ref().is_some_and(|hidden| text.contains(hidden.as_str()));
    let is_other = case.answers.as_ref().is_some_and(|expected| text.trim() != expected);
    let is_wrong = !case.outcomes.contains(&outcome) || is_error == (outcome == "ok") || hidden || is_other;
    is_wrong.then(|| format!("{}: {outcome}, not {:?}: {answer:.700}", case.name, case.outcomes))
}

#[test]
fn every_case_has_the_same_outcome_for_an_mcp_client() {
    let _exclusive = EXCLUSIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    runtime().block_on(async {
        let servers = Servers::start().await;
        let cases = corpus::read();
        let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
        let lab = Lab::new(env!("CARGO_BIN_EXE_cofferdam-under-test"), cache, []);
        configure(&lab, &cases, &servers);
        let mut client = McpClient::start(&lab, &["mcp"]).await;
        client.request(1, "tools/list", json!({})).await;
        let list = client.answer().await;
        let tools = list["result"]["tools"].as_array().unwrap();
        let mut faults = Vec::new();
        let mut id = 1;
        for (position, case) in cases.iter().enumerate() {
            let name = name(position);
            let is_listed = tools.iter().any(|tool| tool["name"] == name.as_str());
            if is_listed == case.load {
                faults.push(format!("{}: listed: {is_listed}", case.name));
                continue;
            }
            for input in if case.load { &[][..] } else { &case.inputs } {
                id += 1;
                client.call_with_text(id, &name, &servers.fill(input)).await;
                let answer = client.answer().await;
                assert_eq!(answer["id"], id, "{}: {answer:.700}", case.name);
                faults.extend(fault(case, &answer));
            }
            id += 1;
            client.call(id, "calculate", json!({ "expression": "6*7" })).await;
            let answer = client.answer().await;
            assert_eq!(
                (&answer["id"], text(&answer)),
                (&json!(id), "42".to_owned()),
                "{}",
                case.name
            );
        }
        assert!(faults.is_empty(), "{faults:#?}");
        let (rest, ran) = client.leave().await;
        assert_eq!((ran.code(), rest), (0, Vec::new()));
        // Each plugin that can't be loaded is left out with its reason.
        for (position, case) in cases.iter().enumerate().filter(|(_, case)| case.load) {
            assert!(
                ran.stderr.contains(&name(position)),
                "{}: {:.2000}",
                case.name,
                ran.stderr
            );
        }
        assert!(!ran.stderr.contains(SECRET));
    });
}
