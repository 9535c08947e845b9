//! A module that is started and never answers.

#![allow(clippy::print_stderr, reason = "its output is what is tested")]

use std::process::ExitCode;

ftl::module! {
    /// Never answers.
    verbs: [nothing]
}

/// Does nothing.
#[ftl::verb]
pub async fn nothing() {}

fn main() -> ExitCode {
    if std::env::var_os("FTL_DEPLOYMENT").is_some() {
        eprintln!("waiting for the database");
        loop {
            std::thread::park();
        }
    }
    ftl::serve(MODULE)
}
