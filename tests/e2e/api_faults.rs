//! The table of faults of the model API, through the real client and over real sockets: what a run does about each, what it
//! costs, and what the user reads. `host/docs/failures.md` has the same table for operators.

mod answers;
mod chat;
mod codes;
mod connection;
mod cuts;
mod fault;
mod row;
mod server;
mod statuses;
mod wire;

use std::collections::BTreeSet;

/// Rows whose right value the code doesn't have yet. A row that passes has to leave this list.
const KNOWN_RED: &[&str] = &[];

/// The name of a test that isn't a row, for [`KNOWN_RED`].
const CLOSED_WHILE_IDLE: &str = "a connection that was closed while idle";

#[tokio::test]
async fn statuses() {
    document("statuses", statuses::faults()).await;
}

#[tokio::test]
async fn connections() {
    document("connections", connection::faults().await).await;
}

#[tokio::test]
async fn answers() {
    document("answers", answers::faults()).await;
}

#[tokio::test]
async fn chat_completions() {
    document("chat completions", chat::faults()).await;
}

/// Checks the rows, and the part of `host/docs/failures.md` that says what they came to.
async fn document(part: &str, faults: Vec<fault::Fault>) {
    let rows = fault::check(faults, KNOWN_RED).await;
    cofferdam_tests::check_documented("failures.md", part, &row::table(&rows));
}

#[tokio::test]
async fn names_are_unique_and_known_red_rows_exist() {
    let messages = [statuses::faults(), connection::faults().await, answers::faults()]
        .into_iter()
        .flatten();
    let (messages, chat) = (names(messages), names(chat::faults()));
    let unique: BTreeSet<&str> = messages.iter().chain(&chat).map(String::as_str).collect();
    for names in [&messages, &chat] {
        let once: BTreeSet<&String> = names.iter().collect();
        assert_eq!(names.len(), once.len(), "{names:?}");
    }
    for red in KNOWN_RED {
        assert!(unique.contains(red) || *red == CLOSED_WHILE_IDLE, "{red}");
    }
}

fn names(faults: impl IntoIterator<Item = fault::Fault>) -> Vec<String> {
    faults.into_iter().map(|fault| fault.name).collect()
}

/// A file of root certificates that can't be used is the likely cause of a certificate that isn't trusted.
#[tokio::test]
async fn an_unusable_file_of_root_certificates_is_named() {
    let server = server::Server::playing(vec![vec![server::Step::SelfSigned]]).await;
    let lab = crate::lab([]);
    let url = format!("https://{}", server.address());
    lab.write("cofferdam.toml", format!("[model]\nbase_url = \"{url}\"\n"));
    let empty = lab.write("roots.pem", "");
    let mut command = lab.command(["run", "Go."]);
    command.env("SSL_CERT_FILE", &empty);
    let ran = cofferdam_tests::finish(command.spawn().unwrap()).await.expect_code(1);
    // Not only in the log, which warns of it as well.
    let hint = format!("hint: `SSL_CERT_FILE` names {empty:?}");
    assert!(ran.stderr.contains(&hint), "{}", ran.stderr);
    assert_eq!(server.connections(), 1, "it isn't retried");
}
