//! A module that writes a gigabyte to standard error and ends.

#![allow(clippy::print_stderr, clippy::exit, reason = "its output and its end are what is tested")]

use std::io::Write;
use std::process::ExitCode;

ftl::module! {
    /// Writes a gigabyte.
    verbs: [pour]
}

/// Writes a gigabyte and ends. Not at its start: how long that takes is a matter of the machine, and then there would be
/// a deadline.
#[ftl::verb(blocking)]
pub async fn pour() {
    let block = format!("{}\n", "x".repeat(1023)).repeat(64);
    let mut stderr = std::io::stderr().lock();
    for _ in 0..(1 << 30) / block.len() {
        if stderr.write_all(block.as_bytes()).is_err() {
            std::process::exit(1);
        }
    }
    drop(stderr);
    eprintln!("that was a gigabyte");
    std::process::exit(9);
}

fn main() -> ExitCode {
    ftl::serve(MODULE)
}
