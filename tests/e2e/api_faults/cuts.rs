//! An answer cut at every byte, and where a request must never go.

use std::sync::Arc;

use cofferdam::agent::RunOptions;
use cofferdam::assembly::Host;
use cofferdam::events::Ending;
use cofferdam::model::ProviderKind;
use cofferdam::store::Store;
use cofferdam_tests::KEY;
use serde_json::json;

use super::fault::{config, reported_cost};
use super::server::Step::{Fin, Read, Reset, Send};
use super::server::{Server, Step};
use super::wire;

/// Whatever was cut off, the run isn't a success, and the ledger has booked what the API had reported by then.
async fn cut_everywhere(
    provider: ProviderKind,
    answer: Vec<u8>,
    complete_from: usize,
    reported_from: usize,
    end: Step,
) {
    let bytes = answer.clone();
    let server = Server::start(Arc::new(move |cut: usize| {
        let cut = cut.min(bytes.len());
        vec![Read, Send(bytes[..cut].to_vec()), end.clone()]
    }))
    .await;
    let store = Store::in_memory().unwrap();
    let mut config = config(&format!("http://{}", server.address()));
    config.model.provider = provider;
    config.retry.max_attempts = 1;
    config.breaker.failure_threshold = 1_000_000;
    let host = Host::builder(config).store(store.clone()).build().await.unwrap();
    for cut in 0..=answer.len() {
        let report = host.session().run("Go.", RunOptions::default()).await;
        let is_complete = cut >= complete_from;
        assert_eq!(
            report.outcome == Ending::Completed,
            is_complete,
            "cut at byte {cut} of {}: {:?}",
            answer.len(),
            report.error
        );
        assert!(is_complete || report.error.is_some(), "{cut}");
        let spent = report
            .budget
            .iter()
            .map(|status| status.spent_usd.as_nanos())
            .min()
            .unwrap();
        let expected = if cut >= reported_from { reported_cost() } else { 0 };
        assert!(
            spent >= expected,
            "cut at byte {cut}: {spent} is booked, and {expected} was reported"
        );
        if is_complete && cut >= reported_from {
            assert_eq!(spent, reported_cost(), "{cut}");
        }
    }
    assert_eq!(server.connections(), answer.len() + 1);
    host.shutdown().await;
    for row in store.ledger().export(None).await.unwrap() {
        assert_ne!(row.state, "open", "{row:?}");
    }
}

/// The offset behind the first occurrence of `words`.
fn behind(answer: &[u8], words: &str) -> usize {
    let at = answer
        .windows(words.len())
        .position(|window| window == words.as_bytes());
    at.unwrap() + words.len()
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_never_a_success() {
    let answer = wire::good();
    // The line of the last event is complete before the end of the body is.
    let complete = behind(&answer, "{\"type\":\"message_stop\"}\n\n");
    let reported = behind(
        &answer,
        "\"type\":\"message_delta\",\"usage\":{\"output_tokens\":5}}\n\n",
    );
    cut_everywhere(ProviderKind::Anthropic, answer, complete, reported, Fin).await;
}

#[tokio::test]
async fn a_stream_of_chat_completions_cut_at_any_byte_is_never_a_success() {
    let answer = super::chat::good();
    // The reason for the end is enough. The figures come after it.
    let complete = behind(&answer, "\"finish_reason\":\"stop\",\"index\":0}]");
    let rest = &answer[complete..];
    let complete = complete + behind(rest, "\n\n");
    let reported = behind(&answer, "\"usage\":{") + behind(&answer[behind(&answer, "\"usage\":{")..], "\n\n");
    cut_everywhere(ProviderKind::OpenAi, answer, complete, reported, Fin).await;
}

#[tokio::test]
async fn a_document_cut_at_any_byte_is_never_a_success() {
    let body = wire::whole(&json!([{ "type": "text", "text": wire::ANSWER }]), "end_turn").to_string();
    let answer = wire::http(200, "content-type: application/json\r\n", body);
    let all = answer.len();
    cut_everywhere(ProviderKind::Anthropic, answer, all, all, Fin).await;
}

/// A redirect isn't followed, so nobody else gets the key or the conversation.
#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [300, 301, 302, 303, 307, 308] {
        let other = Server::playing(vec![vec![Read, Send(wire::good()), Fin]]).await;
        let location = format!("location: http://{}/v1/messages\r\n", other.address());
        let server = Server::playing(vec![vec![Read, Send(wire::http(status, &location, "")), Fin]]).await;
        let store = Store::in_memory().unwrap();
        let config = config(&format!("http://{}", server.address()));
        let host = Host::builder(config).store(store.clone()).build().await.unwrap();
        let report = host.session().run("Go.", RunOptions::default()).await;
        assert_eq!(
            (report.outcome, other.connections()),
            (Ending::ModelFailed, 0),
            "{status}"
        );
        let error = report.error.unwrap();
        assert!(error.message.contains(&status.to_string()), "{error:?}");
        assert!(
            error.hint.is_some_and(|hint| hint.contains("`[model] base_url`")),
            "{status}"
        );
        assert_eq!(
            store.ledger().export(None).await.unwrap()[0].state,
            "released",
            "{status}"
        );
    }
}

/// The key is in one header of the request, and nowhere else.
#[tokio::test]
async fn the_request_is_sent_once_to_one_path() {
    let server = Server::playing(vec![vec![Read, Send(wire::good()), Fin]]).await;
    let host = Host::builder(config(&format!("http://{}", server.address())))
        .store(Store::in_memory().unwrap())
        .build()
        .await
        .unwrap();
    assert_eq!(
        host.session().run("Go.", RunOptions::default()).await.outcome,
        Ending::Completed
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0].starts_with("POST /v1/messages HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    assert_eq!(requests[0].matches(KEY).count(), 1, "{}", requests[0]);
}

/// A server may close a kept connection at any time. The request that meets this is sent again, and paid for once.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_nothing() {
    for end in [Fin, Reset] {
        let kept = String::from_utf8(wire::good())
            .unwrap()
            .replace("connection: close\r\n", "");
        let server = Server::playing(vec![
            // It is closed as soon as the next request arrives on it.
            vec![Read, Send(kept.into_bytes()), Read, end.clone()],
            vec![Read, Send(wire::good()), Fin],
        ])
        .await;
        let store = Store::in_memory().unwrap();
        let config = config(&format!("http://{}", server.address()));
        let host = Host::builder(config).store(store.clone()).build().await.unwrap();
        let mut session = host.session();
        for _ in 0..2 {
            assert_eq!(
                session.run("Go.", RunOptions::default()).await.outcome,
                Ending::Completed
            );
        }
        assert_eq!(server.requests().len(), 3, "{end:?}");
        let rows = store.ledger().export(None).await.unwrap();
        let amounts = rows.iter().filter_map(|row| row.spent_usd);
        let spent: u64 = amounts.map(|amount| amount.as_nanos()).sum();
        let is_red = super::KNOWN_RED.contains(&super::CLOSED_WHILE_IDLE);
        assert_eq!(spent == 2 * reported_cost(), !is_red, "{end:?}: {rows:?}");
    }
}
