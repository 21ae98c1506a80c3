//! Sessions that a program opens, hands over and gives up.

use std::sync::Arc;

use cofferdam::agent::RunOptions;
use cofferdam::events::Ending;
use cofferdam::session::{ApprovalDecision, ApprovalState, SessionError};
use cofferdam::simulator::Answer;
use cofferdam::store::{ApprovalFilter, Durability, Store, StoreError};
use cofferdam_tests::tool_call;
use serde_json::json;

use super::{AskAboutEcho, builder, model, outcomes};

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
    let host = builder(&model)
        .tool_policy(Arc::new(AskAboutEcho))
        .build()
        .await
        .unwrap();
    let store = host.store().unwrap();
    let mut session = host.session();
    session.run("Go.", RunOptions::default()).await;
    let waiting = store.approvals(ApprovalFilter::default()).await.unwrap();
    let approves = ApprovalDecision {
        approves: true,
        ..ApprovalDecision::default()
    };
    for is_decided in [false, true] {
        if is_decided {
            store.decide(&waiting[0].id, approves.clone()).await.unwrap();
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
    let host = builder(&model)
        .tool_policy(Arc::new(AskAboutEcho))
        .build()
        .await
        .unwrap();
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
