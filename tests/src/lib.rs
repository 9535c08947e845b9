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
pub mod changes;
pub mod docker;
pub mod load;
pub mod processes;
pub mod project;
pub mod proxy;
pub mod running;
pub mod sandbox;
pub mod sink;

pub use running::Running;
pub use sandbox::{Answer, Sandbox};

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: far more than it ever takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a future to its end, on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
