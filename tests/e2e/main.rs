//! Tests that cross a boundary: the real binary, real components, real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api_faults;
mod approvals;
mod arguments;
mod attachments;
mod author;
mod bad_input;
mod breakers;
mod busy;
mod caching;
mod capabilities;
mod checked;
mod cli;
mod commands;
mod completions;
mod concurrency;
mod crash;
mod demo;
mod dev;
mod documents;
mod effort;
mod endings;
mod fallbacks;
mod files;
mod first_build;
mod first_steps;
mod fuzz;
mod json;
mod keyvalue;
mod left_out;
mod library;
mod limits;
mod logs;
mod mcp;
mod mcp_protocol;
mod mcp_reload;
mod model_failures;
mod money;
mod network;
mod openai;
mod outage;
mod outcomes;
mod power;
mod rate_limits;
mod reasons;
mod repository;
mod schema;
mod secrets;
mod sessions;
mod simulated;
mod slots;
mod terminal;
mod tool_changes;
mod tool_search;
mod typed;
mod usage;

use std::path::{Path, PathBuf};

use cofferdam::simulator::Answer;
use cofferdam_tests::Lab;
use rusqlite::Connection;

/// A lab with the binary of this build.
fn lab(answers: impl IntoIterator<Item = Answer>) -> Lab {
    Lab::new(env!("CARGO_BIN_EXE_cofferdam-under-test"), cache(), answers)
}

/// The compilation cache of all tests: in cargo's folder for temporary test files, which others can't write to.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// The books of the lab, to make happen in them what takes a day, or a kill at one moment.
fn books(lab: &Lab) -> Connection {
    Connection::open(lab.path("data/cofferdam/ledger.sqlite3")).unwrap()
}
