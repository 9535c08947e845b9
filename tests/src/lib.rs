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
pub mod waiting;

pub use running::Running;
pub use sandbox::{Answer, Sandbox};
pub use waiting::{PATIENCE, block_on, comes_within, wait_until};
