//! The contract between the host and its plugins, a file per released version.

mod v0_1_0;

pub use self::v0_1_0::*;
