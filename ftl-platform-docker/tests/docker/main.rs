//! The contract of a platform, held against a real engine, and against engines that misbehave.
//!
//! `bench` is what every test stands on, `program` what runs in the containers, `fake` what stands for the engine.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test says what is wrong by failing, and the program that it runs prints"
)]

mod bench;
mod ends;
mod fake;
mod hardened;
mod life;
mod outage;
mod output;
mod program;
mod shared;
