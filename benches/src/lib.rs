//! What benchmarks share: the real command, run as an operator runs it, and what the kernel knows of its processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot run says so by ending"
)]

pub mod processes;
pub mod serve;
