//! The table of faults of the model API, through the real client and over real sockets: what a run does about each, what it
//! costs, and what the user reads. `host/docs/failures.md` has the same table for operators.

mod answers;
mod connection;
mod cuts;
mod fault;
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
    fault::check(statuses::faults(), KNOWN_RED).await;
}

#[tokio::test]
async fn connections() {
    fault::check(connection::faults().await, KNOWN_RED).await;
}

#[tokio::test]
async fn answers() {
    fault::check(answers::faults(), KNOWN_RED).await;
}

#[tokio::test]
async fn names_are_unique_and_known_red_rows_exist() {
    let faults = [statuses::faults(), connection::faults().await, answers::faults()];
    let names: Vec<&str> = faults.iter().flatten().map(|fault| fault.name).collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), unique.len(), "{names:?}");
    for red in KNOWN_RED {
        assert!(unique.contains(red) || *red == CLOSED_WHILE_IDLE, "{red}");
    }
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
