//! A module that ends as soon as it is started, with something to say.

#![allow(clippy::print_stderr, reason = "its output is what is tested")]

use std::process::ExitCode;

ftl::module! {
    /// Ends at its start.
    verbs: [nothing]
}

/// Does nothing.
#[ftl::verb]
pub async fn nothing() {}

fn main() -> ExitCode {
    if std::env::var_os("FTL_DEPLOYMENT").is_some() {
        eprintln!("reading the configuration");
        eprintln!("there is no configuration");
        return ExitCode::from(3);
    }
    ftl::serve(MODULE)
}
