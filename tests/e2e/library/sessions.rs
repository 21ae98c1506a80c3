//! Sessions that a program opens, hands over and gives up.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cofferdam::agent::{self, Approver, Question, RunOptions};
use cofferdam::events::{Ending, Event, EventKind};
use cofferdam::money::NanoUsd;
use cofferdam::session::{ApprovalState, SessionError};
use cofferdam::simulator::{Answer, ToolCall};
use cofferdam::store::{ApprovalFilter, Durability, SessionFilter, Store, StoreError};
use cofferdam_tests::tool_call;
use serde_json::json;
use tokio::time::Instant;

use super::{approves, asking, builder, model, outcomes};

/// Nobody drives it, so waiting wouldn't help.
#[tokio::test]
async fn an_id_that_is_taken_is_not_in_use() {
    let model = model([Answer::text("Fine.").forever()]);
    let host = builder(&model).build().await.unwrap();
    let mut first = host.session_named("alice", "chat-1").unwrap();
    first.run("Go.", RunOptions::default()).await;
    let refused = async |tenant, kind| {
        let mut another = host.session_named(tenant, "chat-1").unwrap();
        let error = another.run("Go.", RunOptions::default()).await.error.unwrap();
        assert_eq!(error.kind, kind, "{tenant}");
    };
    refused("alice", SessionError::IN_USE).await;
    refused("bob", SessionError::IN_USE).await;
    assert_eq!(first.close().await, None);
    refused("alice", SessionError::EXISTS).await;
    refused("bob", SessionError::EXISTS).await;
    assert!(host.reopen("alice", "chat-1").await.is_ok());
    let unknown = host.reopen("bob", "chat-1").await.unwrap_err();
    assert!(
        matches!(unknown, StoreError::Session(SessionError::Unknown { .. })),
        "{unknown}"
    );
}

/// As behind a load balancer: the next request of a conversation goes to another process.
#[tokio::test]
async fn another_host_has_a_session_as_soon_as_it_is_closed() {
    let model = model([Answer::text("Fine.").forever()]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let open = || Store::open(&path, Durability::ProcessCrash).unwrap();
    let [one, other] = [open(), open()].map(|store| builder(&model).store(store));
    let (one, other) = (one.build().await.unwrap(), other.build().await.unwrap());
    for round in 0..30 {
        let mut session = one.session();
        let id = session.id().to_owned();
        session.run("Go.", RunOptions::default()).await;
        assert_eq!(session.close().await, None);
        let next = other.reopen("default", &id).await;
        next.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
}

/// Else what a person has approved would be lost without a word.
#[tokio::test]
async fn another_prompt_does_not_give_an_approved_call_up() {
    let answers = [tool_call("echo", json!({ "a": 1 })), Answer::text("Fine.").forever()];
    let model = model(answers);
    let host = asking(&model).build().await.unwrap();
    let store = host.store().unwrap();
    let mut session = host.session();
    session.run("Go.", RunOptions::default()).await;
    let waiting = store.approvals(ApprovalFilter::default()).await.unwrap();
    for is_decided in [false, true] {
        if is_decided {
            store.decide(&waiting[0].id, approves()).await.unwrap();
        }
        let report = session.run("Something else.", RunOptions::default()).await;
        assert_eq!(report.outcome, Ending::AwaitingApproval);
        assert_eq!(report.error.unwrap().kind, "session_unfinished");
    }
    let report = session.resume(RunOptions::default()).await.unwrap();
    assert_eq!(
        (report.outcome, outcomes(&report, "echo")),
        (Ending::Completed, json!({ "ok": 1 }))
    );
    let report = session.run("Something else.", RunOptions::default()).await;
    assert_eq!(report.outcome, Ending::Completed);
}

#[tokio::test]
async fn a_run_that_waits_can_be_given_up() {
    let model = model([tool_call("echo", json!({ "a": 1 })), Answer::text("Fine.").forever()]);
    let host = asking(&model).build().await.unwrap();
    let mut session = host.session();
    session.run("Go.", RunOptions::default()).await;
    session.give_up();
    assert_eq!(session.unfinished(), None);
    let report = session.run("Something else.", RunOptions::default()).await;
    assert_eq!(
        (report.outcome, outcomes(&report, "echo")),
        (Ending::Completed, json!(null))
    );
    let waiting = host
        .store()
        .unwrap()
        .approvals(ApprovalFilter::default())
        .await
        .unwrap();
    assert_eq!(waiting[0].state, ApprovalState::Expired);
}

/// Who reads of a question may look for it at once, in another process, too.
#[tokio::test]
async fn a_question_is_in_the_store_when_it_is_read_of() {
    let model = model([tool_call("echo", json!({ "a": 1 })), Answer::text("Fine.").forever()]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let open = || Store::open(&path, Durability::PowerLoss).unwrap();
    let (elsewhere, found) = (open(), Arc::<Mutex<Vec<_>>>::default());
    let seen = found.clone();
    let host = asking(&model)
        .store(open())
        .observer("service", move |event: &Event| {
            if let EventKind::ApprovalRequested { approval, .. } = &event.kind {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                let found = runtime.block_on(elsewhere.find_approval(approval));
                seen.lock()
                    .unwrap()
                    .push(found.map(|found| (found.tenant, found.state)));
            }
        })
        .build()
        .await
        .unwrap();
    host.session().run("Go.", RunOptions::default()).await;
    host.shutdown().await;
    let found = found.lock().unwrap();
    let pending = ("default".to_owned(), ApprovalState::Pending);
    assert!(matches!(&found[..], [Ok(found)] if *found == pending), "{found:?}");
}

/// In whichever order they come, from the same process.
#[tokio::test]
async fn answers_are_heard_at_once() {
    let calls = || (1..=4).map(|number| ToolCall::new("echo", json!({ "a": number })));
    let model = model([Answer::tools(calls()), Answer::text("Fine.").forever()]);
    let host = asking(&model).build().await.unwrap();
    let store = host.store().unwrap();
    let mut session = host.session();
    let mut events = session.subscribe();
    let options = RunOptions {
        approver: Some(Arc::new(Nobody)),
        ..RunOptions::default()
    };
    let run = events.during(session.run("Go.", options));
    let decide = async {
        let mut asked = Vec::new();
        let mut decided = None;
        let mut took = Duration::MAX;
        while let Some(event) = events.next().await {
            match &event.kind {
                EventKind::ApprovalRequested { approval, .. } => asked.push(approval.clone()),
                EventKind::ApprovalDecided { .. } => {
                    took = decided.map_or(took, |decided: Instant| decided.elapsed());
                }
                _ => {}
            }
            if asked.len() == 4 && decided.is_none() {
                for approval in asked.iter().rev() {
                    store.decide(approval, approves()).await.unwrap();
                }
                decided = Some(Instant::now());
            }
        }
        took
    };
    let (report, took) = tokio::join!(run, decide);
    assert_eq!(
        (report.outcome, outcomes(&report, "echo")),
        (Ending::Completed, json!({ "ok": 4 }))
    );
    // Each would be up to a second late if somebody had to look for it.
    assert!(took < Duration::from_millis(900), "{took:?}");
}

/// A service whose answers come over HTTP: nobody is at a terminal, and the run waits for the store.
#[derive(Debug)]
struct Nobody;

impl Approver for Nobody {
    fn ask<'a>(&'a self, _: &'a Question) -> Pin<Box<dyn Future<Output = agent::Answer> + Send + 'a>> {
        Box::pin(std::future::pending())
    }
}

/// It emits nothing, and a reader of its events must not wait for more.
#[tokio::test]
async fn the_events_of_a_refused_prompt_end() {
    let model = model([tool_call("echo", json!({ "a": 1 })), Answer::text("Fine.").forever()]);
    let host = asking(&model).build().await.unwrap();
    let mut session = host.session();
    session.run("Go.", RunOptions::default()).await;
    let mut events = session.subscribe();
    let run = events.during(session.run("Something else.", RunOptions::default()));
    let read = async {
        let mut count = 0;
        while events.next().await.is_some() {
            count += 1;
        }
        count
    };
    let (report, count) = tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(run, read) })
        .await
        .unwrap();
    assert_eq!((report.error.unwrap().kind.as_str(), count), ("session_unfinished", 0));
}

/// Neither another tenant's nor those of another object of the same id.
#[tokio::test]
async fn a_reader_gets_no_events_of_another_session_with_its_id() {
    let model = model([Answer::text("a secret").forever()]);
    let host = builder(&model).build().await.unwrap();
    let others = [("evil", "c-1"), ("acme", "c-1")];
    let mut others = others.map(|(tenant, id)| host.session_named(tenant, id).unwrap().subscribe());
    let mut session = host.session_named("acme", "c-1").unwrap();
    session.run("Go.", RunOptions::default()).await;
    for events in &mut others {
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn a_report_has_the_cost_of_its_run_and_the_store_what_has_not_ended() {
    let model = model([
        Answer::text("Fine."),
        Answer::text("Fine."),
        tool_call("echo", json!({ "a": 1 })),
    ]);
    let host = asking(&model).build().await.unwrap();
    let mut session = host.session();
    let mut sum = NanoUsd::ZERO;
    for _ in 0..2 {
        let report = session.run("Go.", RunOptions::default()).await;
        sum = sum.saturating_add(report.cost_usd);
        assert!(report.cost_usd > NanoUsd::ZERO);
        assert_eq!(report.metrics.estimated_cost_usd, sum);
    }
    let unfinished = async || {
        let filter = SessionFilter {
            only_unfinished: true,
            ..SessionFilter::default()
        };
        let found = host.store().unwrap().sessions(filter).await.unwrap();
        found.into_iter().map(|session| session.id).collect::<Vec<String>>()
    };
    assert!(unfinished().await.is_empty());
    let mut waits = host.session();
    waits.run("Go.", RunOptions::default()).await;
    let mut left = host.session();
    let mut run = Box::pin(left.run("Go.", RunOptions::default()));
    while unfinished().await.len() < 2 {
        assert!(futures_util::poll!(&mut run).is_pending());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(run);
    let mut expected = [waits.id(), left.id()].map(str::to_owned);
    let mut found = unfinished().await;
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let error = waits.run("Go.", RunOptions::default()).await;
    assert_eq!(error.cost_usd, NanoUsd::ZERO);
}
