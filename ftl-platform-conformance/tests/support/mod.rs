//! The fixtures of this crate's tests.

#![allow(clippy::unwrap_used, dead_code, reason = "each test uses a part of it")]

pub(crate) mod lying;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ftl_core::platform::{ErrorKind, PlatformError, ProgramSource};
use ftl_platform_conformance::fixtures::Processes;
use ftl_platform_local::{Local, Options};
use tempfile::TempDir;

/// Says over which folder the test `host` is to host the local platform.
pub(crate) const HOSTED_VARIABLE: &str = "FTL_TEST_HOSTED";

/// The local platform over a folder of its own, which goes with the second value.
pub(crate) fn local() -> (Processes, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let local = local_over(folder.path()).hosted_by(|folder| {
        let mut host = Command::new(std::env::current_exe().unwrap());
        host.args(["--exact", "host", "--ignored", "--nocapture", "--quiet"]).env(HOSTED_VARIABLE, folder);
        host
    });
    (local, folder)
}

/// The local platform over this folder.
pub(crate) fn local_over(folder: &Path) -> Processes {
    let probe = ProgramSource::Binary { path: env!("CARGO_BIN_EXE_ftl-platform-probe").into(), args: vec![] };
    let make = |folder: &Path| {
        let options = Options::new("local".parse().unwrap(), folder.to_owned(), "x-y-z".parse().unwrap());
        let local = Local::new(options).map_err(|error| {
            PlatformError::new(ErrorKind::Unavailable, "the folder cannot be used").with_source(error)
        })?;
        Ok(Arc::new(local) as _)
    };
    Processes::new(folder, probe, make)
}
