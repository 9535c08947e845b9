//! The fixtures of this crate's tests.

#![allow(clippy::unwrap_used, dead_code, reason = "each test uses a part of it")]

pub(crate) mod lying;

use std::sync::Arc;

use ftl_core::platform::{ErrorKind, PlatformError, ProgramSource};
use ftl_platform_conformance::fixtures::Processes;
use ftl_platform_local::{Local, Options};
use tempfile::TempDir;

/// The local platform over a folder of its own, which goes with the second value.
pub(crate) fn local() -> (Processes, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let probe = ProgramSource::Binary { path: env!("CARGO_BIN_EXE_ftl-platform-probe").into(), args: vec![] };
    let make = |folder: &std::path::Path| {
        let options = Options::new("local".parse().unwrap(), folder.to_owned(), "x-y-z".parse().unwrap());
        let local = Local::new(options).map_err(|error| {
            PlatformError::new(ErrorKind::Unavailable, "the folder cannot be used").with_source(error)
        })?;
        Ok(Arc::new(local) as _)
    };
    (Processes::new(folder.path(), probe, make), folder)
}
