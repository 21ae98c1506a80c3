//! What is on the disk before something else may happen: with a disk that forgets what wasn't flushed, and with a trace of the real
//! binary's flushes and of the bytes that it sends.

use std::time::Duration;

use cofferdam::simulator::Answer;
use cofferdam_tests::{Behaviour, Disk, HttpServer, Lab, finish, tool_call};
use serde_json::json;

use crate::lab;

/// A model that places an order, and the tool for it.
fn orders(lab: &Lab, service: &HttpServer, durability: &str) {
    lab.configure(&format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{}/\", methods = [\"POST\"] }}]\n\
         [storage]\ndurability = \"{durability}\"\n",
        service.url()
    ));
}

fn order(service: &HttpServer) -> Answer {
    tool_call("fetch", json!({ "url": service.url(), "method": "POST" }))
}

/// The power fails while the service works on an order. Returns how many orders it has got once the session has ended.
async fn orders_placed(durability: &str) -> Option<u32> {
    let service = HttpServer::start(Behaviour::Silence).await;
    let ordered = || Answer::text("Ordered.").when_last_user_contains("isn't known");
    let lab = lab([order(&service), ordered().forever(), order(&service)]);
    orders(&lab, &service, durability);
    let disk = Disk::below(&lab)?;
    let mut run = lab.command(["run", "--session", "s", "Go."]);
    let mut run = disk.serve(&mut run).spawn().unwrap();
    while service.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.kill().await.unwrap();
    disk.lose_power(|| false);

    let mut resume = lab.command(["session", "resume", "s"]);
    let mut resume = disk.serve(&mut resume).spawn().unwrap();
    // Until it has ended, or has placed the order again.
    while service.requests() == 1 && resume.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    match service.requests() {
        1 => drop(finish(resume).await.expect_code(0)),
        _ => resume.kill().await.unwrap(),
    }
    Some(service.requests())
}

#[tokio::test]
async fn an_order_that_left_is_known_after_a_power_failure() {
    if let Some(placed) = orders_placed("power_loss").await {
        assert_eq!(placed, 1);
    }
}

/// The same failure shows what isn't flushed.
#[tokio::test]
async fn without_flushes_an_order_is_placed_twice() {
    if let Some(placed) = orders_placed("process_crash").await {
        assert_eq!(placed, 2);
    }
}

/// What a run flushes and sends, in order, where a guest sends to this port.
async fn trace_of(lab: &Lab, guest: Option<u16>) -> Option<Vec<&'static str>> {
    let disk = Disk::below(lab)?;
    // The file is there, so that what follows is about a run alone.
    let mut list = lab.command(["session", "list"]);
    finish(disk.serve(&mut list).spawn().unwrap()).await.expect_code(0);
    let mut run = lab.command(["run", "Go."]);
    let run = disk.serve_traced(&mut run).spawn().unwrap();
    finish(run).await.expect_code(0);
    let model = format!("sends {}", lab.simulator.url().rsplit(':').next().unwrap());
    let guest = guest.map(|port| format!("sends {port}"));
    let mut trace = Vec::new();
    for line in disk.trace() {
        let event = match line {
            line if line == model => "model",
            line if Some(&line) == guest.as_ref() => "guest",
            line if line == "flushed ledger.sqlite3-wal" => "commit",
            _ => continue,
        };
        // A request can leave in several pieces.
        if event == "commit" || trace.last() != Some(&event) {
            trace.push(event);
        }
    }
    Some(trace)
}

/// Nothing leaves before it is on the disk that it may, and a turn waits for the disk twice, whatever its number.
#[tokio::test]
async fn a_commit_comes_before_a_request_and_before_a_call() {
    for turns in [1, 4] {
        let service = HttpServer::start(Behaviour::body("ordered")).await;
        let lab = lab([order(&service).times(turns), Answer::text("Ordered.")]);
        orders(&lab, &service, "power_loss");
        let Some(trace) = trace_of(&lab, Some(service.port())).await else {
            return;
        };
        let first = trace.iter().position(|event| *event == "model").unwrap();
        let (opening, turn) = trace.split_at(first);
        assert!(
            opening.iter().all(|event| *event == "commit") && !opening.is_empty(),
            "{trace:?}"
        );
        let of_turn = ["model", "commit", "guest", "commit"];
        let expected: Vec<&str> = of_turn.repeat(turns as usize).into_iter().chain(["model"]).collect();
        let (turns, closing) = turn.split_at(expected.len());
        assert_eq!(turns, expected, "{trace:?}");
        assert!(
            closing.iter().all(|event| *event == "commit") && !closing.is_empty(),
            "{trace:?}"
        );
    }
}

/// A call without effects waits for no commit. The request after it does.
#[tokio::test]
async fn a_commit_comes_before_each_request_without_effects_as_well() {
    const TURNS: u32 = 4;
    let calculate = tool_call("calculate", json!({ "expression": "25 * 17" }));
    let lab = lab([calculate.times(TURNS), Answer::text("425")]);
    let Some(trace) = trace_of(&lab, None).await else {
        return;
    };
    let commits: Vec<usize> = trace.split(|event| *event == "model").map(<[_]>::len).collect();
    assert_eq!(commits.len(), TURNS as usize + 2, "{trace:?}");
    assert!(commits.iter().all(|commits| *commits > 0), "{trace:?}");
}
