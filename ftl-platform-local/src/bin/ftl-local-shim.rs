//! A shim of its own, as `ftl shim` is one.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let directory = std::env::args_os().nth(1).map(PathBuf::from).unwrap_or_default();
    match ftl_platform_local::shim::run(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
