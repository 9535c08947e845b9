//! The fixtures of this crate's tests, and the processes that they start.

#![allow(clippy::unwrap_used, dead_code, reason = "each test uses a part of it")]

pub(crate) mod lying;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ftl_core::platform::{ErrorKind, PlatformError, ProgramSource};
use ftl_platform_conformance::fixtures::Processes;
use ftl_platform_local::{Local, Mode, Options};
use tempfile::TempDir;

/// Says over which folder the test `host` is to host the detached local platform.
pub(crate) const HOSTED_VARIABLE: &str = "FTL_TEST_HOSTED";

/// Seeds that no other run on this machine has now: the truth of processes is found by the names of clusters.
pub(crate) fn seed(number: u16) -> u64 {
    (u64::from(std::process::id()) << 16) + u64::from(number)
}

/// The local platform over a folder of its own, which goes with the second value.
pub(crate) fn tied() -> (Processes, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (local(folder.path(), Mode::Tied), folder)
}

/// The same, whose instances outlive it.
pub(crate) fn detached() -> (Processes, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let local = detached_over(folder.path()).hosted_by(|folder| {
        let mut host = Command::new(std::env::current_exe().unwrap());
        host.args(only("support::host")).env(HOSTED_VARIABLE, folder);
        host
    });
    (local, folder)
}

fn detached_over(folder: &Path) -> Processes {
    let (program, args) = (std::env::current_exe().unwrap(), only("support::shim"));
    local(folder, Mode::Detached { program, args })
}

fn local(folder: &Path, mode: Mode) -> Processes {
    let probe = ProgramSource::Binary { path: env!("CARGO_BIN_EXE_ftl-platform-probe").into(), args: vec![] };
    let make = move |folder: &Path| {
        let options = Options::new("local".parse().unwrap(), folder.to_owned(), "x-y-z".parse().unwrap());
        let local = Local::new(options.with_mode(mode.clone())).map_err(|error| {
            PlatformError::new(ErrorKind::Unavailable, "the folder cannot be used").with_source(error)
        })?;
        Ok(Arc::new(local) as _)
    };
    Processes::new(folder, probe, make)
}

/// The arguments with which this binary is nothing but one of its tests.
fn only(test: &str) -> Vec<String> {
    ["--exact", test, "--ignored", "--nocapture", "--quiet"].map(str::to_owned).to_vec()
}

/// Not a test, but the process that hosts the local platform and is killed.
#[test]
#[ignore = "is started by the checks that kill it"]
fn host() {
    let Some(folder) = std::env::var_os(HOSTED_VARIABLE) else { return };
    let fixture = detached_over(folder.as_ref());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(ftl_platform_conformance::host(&fixture)).unwrap();
}

/// Not a test, but the process above a detached Runner; its last argument is the instance's directory.
#[test]
#[ignore = "is started by the platform"]
fn shim() {
    let directory = std::env::args_os().next_back().map(PathBuf::from).filter(|path| path.is_dir());
    if let Some(directory) = directory {
        ftl_platform_local::shim::run(&directory).unwrap();
    }
}
