//! What crosses a boundary: the real binary, real components, real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod capabilities;
mod cli;
mod demo;
mod endings;
mod files;
mod first_build;
mod fuzz;
mod keyvalue;
mod library;
mod limits;
mod logs;
mod model_failures;
mod money;
mod network;
mod outcomes;
mod places;
mod repository;
mod secrets;
mod simulated;
mod slots;

use std::path::{Path, PathBuf};

use cofferdam::simulator::Answer;
use cofferdam_tests::Lab;

/// A lab around the binary of this build.
fn lab(answers: impl IntoIterator<Item = Answer>) -> Lab {
    Lab::new(env!("CARGO_BIN_EXE_cofferdam-under-test"), cache(), answers)
}

/// Where all tests keep what they compile: in the folder that cargo sets aside for them, not where anybody could write.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}
