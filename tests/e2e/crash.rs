//! Many processes share one store, and are killed at random.
//!
//! The short form is part of the tests. The long one has 16 processes, 200 sessions and at least 100 kills:
//! `COFFERDAM_TEST_LONG=1 cargo test -p cofferdam-tests --test e2e crash`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use cofferdam::simulator::{Answer, MessageAnswer, ToolCall, UsageAnswer, UsageFigures};
use cofferdam_tests::{Behaviour, HttpServer, Lab, finish};
use serde_json::{Value, json};

use crate::lab;

struct Size {
    processes: u32,
    sessions: u32,
    kills: u32,
}

const SHORT: Size = Size {
    processes: 4,
    sessions: 12,
    kills: 20,
};
const LONG: Size = Size {
    processes: 16,
    sessions: 200,
    kills: 100,
};

/// What one request costs: 700 tokens at $2 and 52 at $10 per million.
const COST_NANOS: u64 = 1_920_000;

/// No process is given longer than this before its kill.
const MAX_LIFE_MILLIS: u64 = 150;

/// Numbers without order.
struct Random(AtomicU64);

impl Random {
    fn below(&self, bound: u64) -> u64 {
        let next = |state: u64| {
            Some(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        };
        let state = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap();
        (state >> 33) % bound
    }
}

fn order(number: u32) -> String {
    format!("ORDER-{number:03}")
}

fn priced(answer: MessageAnswer) -> Answer {
    let figures = UsageFigures {
        input_tokens: Some(700),
        output_tokens: Some(52),
        ..UsageFigures::default()
    };
    Answer::message(MessageAnswer {
        usage: UsageAnswer::Given(figures),
        ..answer
    })
    .delay(Duration::from_millis(80))
    .forever()
}

/// One call for each order, which the service must get at most once.
fn script(service: &str, sessions: u32) -> Vec<Answer> {
    let call = |number| {
        let input = json!({ "url": format!("{service}/{}", order(number)), "method": "POST" });
        let tools = vec![ToolCall::new("fetch", input)];
        priced(MessageAnswer {
            tools,
            ..MessageAnswer::default()
        })
        .when_last_user_contains(format!("{}.", order(number)))
    };
    let done = priced(MessageAnswer {
        text: "Ordered.".to_owned(),
        ..MessageAnswer::default()
    });
    (0..sessions).map(call).chain([done]).collect()
}

/// What is kept of this order, if anything.
async fn kept(lab: &Lab, order: &str) -> Option<Value> {
    let listed = lab
        .call(["session", "list", "--limit", "1000", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    let mut found: Vec<Value> = listed.as_array().unwrap().clone();
    found.retain(|session| session["title"].as_str().unwrap().contains(order));
    assert!(found.len() <= 1, "{found:#?}");
    found.pop()
}

/// The approval that a session waits for, if nobody has decided.
async fn waiting(lab: &Lab, session: &str) -> Option<String> {
    let listed = lab
        .call(["approval", "list", "--session", session, "--output", "json"])
        .await;
    let listed = listed.expect_code(0).json();
    assert!(listed.as_array().unwrap().len() <= 1, "{listed:#}");
    listed[0]["id"].as_str().map(str::to_owned)
}

/// Drives one order to its end through as many processes as it takes.
async fn drive(lab: &Lab, number: u32, random: &Random, kills: &AtomicU32, most: u32) {
    let order = order(number);
    let prompt = format!("Place {order}.");
    // Every other order waits for a person.
    let approve = if number.is_multiple_of(2) { "never" } else { "writes" };
    loop {
        let session = kept(lab, &order).await;
        let mut command = match &session {
            None => lab.command(["run", "--approve", approve, "--output", "json", &prompt]),
            Some(session) if session["outcome"].is_null() || session["outcome"] == "awaiting_approval" => {
                let id = session["id"].as_str().unwrap();
                match waiting(lab, id).await {
                    Some(approval) => lab.command(["approval", "approve", &approval]),
                    None => lab.command(["session", "resume", id, "--approve", approve, "--output", "json"]),
                }
            }
            Some(session) => {
                assert_eq!(session["outcome"], "completed", "{session}");
                return;
            }
        };
        let mut child = command.spawn().unwrap();
        let is_victim = kills.load(Ordering::Relaxed) < most;
        if is_victim {
            let life = Duration::from_millis(random.below(MAX_LIFE_MILLIS));
            if tokio::time::timeout(life, child.wait()).await.is_err() {
                kills.fetch_add(1, Ordering::Relaxed);
                child.kill().await.unwrap();
            }
        } else {
            let code = finish(child).await.code();
            assert!([0, 4].contains(&code), "{order}: {code}");
        }
    }
}

#[tokio::test]
async fn killed_processes_lose_nothing_and_do_nothing_twice() {
    let size = if std::env::var_os("COFFERDAM_TEST_LONG").is_some() {
        LONG
    } else {
        SHORT
    };
    let seed = RandomState::new().hash_one(0);
    let (random, kills) = (Random(AtomicU64::new(seed)), AtomicU32::new(0));
    let service = HttpServer::start(Behaviour::body("ordered")).await;
    let lab = lab(script(&service.url(), size.sessions));
    lab.configure(&format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{}/\", methods = [\"POST\"] }}]\n\
         [budget]\nhost_day_usd = 100\n",
        service.url()
    ));
    // Compiled before anything is killed.
    lab.call(["tool", "list"]).await.expect_code(0);

    let next = AtomicU32::new(0);
    let work = (0..size.processes).map(|_| async {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= size.sessions {
                return;
            }
            drive(&lab, number, &random, &kills, size.kills).await;
        }
    });
    futures_util::future::join_all(work).await;
    let kills = kills.load(Ordering::Relaxed);
    assert!(kills >= size.kills, "{kills} kills");

    // No order was placed twice.
    let mut placed: HashMap<String, u32> = HashMap::new();
    for head in service.heads() {
        let path = head.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
        *placed.entry(path).or_default() += 1;
    }
    assert!(placed.values().all(|count| *count == 1), "seed {seed}: {placed:?}");

    let listed = lab
        .call(["session", "list", "--limit", "1000", "--output", "json"])
        .await;
    let sessions = listed.expect_code(0).json();
    let sessions = sessions.as_array().unwrap();
    assert_eq!(sessions.len(), size.sessions as usize, "seed {seed}");
    for session in sessions {
        let shown = lab
            .call(["session", "show", session["id"].as_str().unwrap(), "--output", "json"])
            .await;
        let facts = shown.expect_code(0).json()["facts"].take();
        let of_kind = |kind: &str| {
            let facts = facts.as_array().unwrap().iter().map(|fact| &fact["fact"]);
            facts.filter(|fact| fact["kind"] == kind).cloned().collect::<Vec<_>>()
        };
        let ended = of_kind("call_ended");
        assert_eq!(ended.len(), 1, "seed {seed}: every call has its result: {facts:#}");
        // What the service got is known to have ended, or is said to be unknown.
        let order = session["title"]
            .as_str()
            .unwrap()
            .trim_start_matches("Place ")
            .trim_end_matches('.');
        match ended[0]["outcome"].as_str().unwrap() {
            "ok" => assert!(placed.contains_key(order), "seed {seed}: {order}"),
            outcome => assert_eq!(outcome, "host_error", "seed {seed}: {facts:#}"),
        }
    }

    // Each call that waited was approved once, and its approval was used.
    let listed = lab
        .call(["approval", "list", "--all", "--limit", "1000", "--output", "json"])
        .await;
    let approvals = listed.expect_code(0).json();
    let approvals = approvals.as_array().unwrap();
    assert_eq!(approvals.len(), size.sessions as usize / 2, "seed {seed}");
    for approval in approvals {
        assert_eq!(approval["state"], "done", "seed {seed}: {approval:#}");
    }

    // Everything that was billed is booked, and nothing stays reserved.
    let budget = lab
        .call(["budget", "show", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    let scopes = budget.as_array().or_else(|| budget["budget"].as_array()).unwrap();
    let day = scopes.iter().find(|scope| scope["scope"] == "host_day").unwrap();
    let spent = day["spent_usd"].as_str().unwrap().parse::<f64>().unwrap();
    let billed = lab.simulator.requests().len() as u64 * COST_NANOS;
    assert!(spent * 1e9 >= billed as f64 - 1e3, "seed {seed}: {spent} of {billed}");
    assert_eq!(day["reserved_usd"], "0.000000", "seed {seed}");
}
