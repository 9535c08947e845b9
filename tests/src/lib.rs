//! What whole-system tests share: the real `ftl` binary, a place of its own for each test, and proof that nothing is left.
//!
//! [`ftl`](binary::ftl) builds the binary once; a [`Sandbox`] gives a test its own home, temporary directory and
//! environment, and [`Sandbox::finish`] asserts that no process, socket or file stayed behind; a [`Running`] is an `ftl`
//! that runs until it is told to end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by failing"
)]

pub mod binary;
pub mod processes;
pub mod running;
pub mod sandbox;

pub use running::Running;
pub use sandbox::{Answer, Sandbox};

use std::time::Duration;

/// How long anything may take before a test gives up: far more than it ever takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a future to its end, on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
