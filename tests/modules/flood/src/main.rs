//! A module that writes a gigabyte to standard error and ends.

#![allow(clippy::print_stderr, reason = "its output is what is tested")]

use std::io::Write;
use std::process::ExitCode;

ftl::module! {
    /// Writes a gigabyte.
    verbs: [nothing]
}

/// Does nothing.
#[ftl::verb]
pub async fn nothing() {}

fn main() -> ExitCode {
    if std::env::var_os("FTL_DEPLOYMENT").is_none() {
        return ftl::serve(MODULE);
    }
    let line = format!("{}\n", "x".repeat(1023));
    let mut stderr = std::io::stderr().lock();
    let block = line.repeat(64);
    for _ in 0..(1 << 30) / block.len() {
        if stderr.write_all(block.as_bytes()).is_err() {
            return ExitCode::from(1);
        }
    }
    drop(stderr);
    eprintln!("that was a gigabyte");
    ExitCode::from(9)
}
