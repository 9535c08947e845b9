//! The one thread that starts and reaps all tied instances.
//!
//! The parent-death signal of a child follows the thread that forked it, so this thread ends with the platform and
//! not before. It runs a current-thread runtime, on which each instance is watched by a task of its own.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ftl_core::platform::{InstanceSpec, InstanceState};
use tokio::process::Child;
use tokio::sync::mpsc;

use super::instance::Instance;
use crate::program::{Program, attend, never_started, write_boot};

/// Starts that may wait for the thread; the Controller's worker sends a few at a time.
const QUEUE: usize = 256;

/// A start that was asked for.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) spec: InstanceSpec,
    pub(super) instance: Instance,
}

/// Starts the thread. It ends, and all instances with it, when the sender is dropped.
pub(super) fn start_thread() -> io::Result<mpsc::Sender<Start>> {
    let (sender, mut starts) = mpsc::channel::<Start>(QUEUE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("ftl-local".into()).spawn(move || {
        runtime.block_on(async {
            while let Some(start) = starts.recv().await {
                // Owned by this runtime: what still runs when it is dropped is killed (`kill_on_drop`).
                tokio::spawn(run(start));
            }
        });
    })?;
    Ok(sender)
}

async fn run(Start { spec, instance }: Start) {
    match start(&spec, &instance.directory) {
        Ok(child) => {
            instance.state.send_replace(InstanceState::Running);
            let exit = attend(child, &instance.directory, &instance.deadline, &instance).await;
            instance.ended(exit);
        }
        Err(message) => instance.ended(never_started(false, message)),
    }
}

fn start(spec: &InstanceSpec, directory: &Path) -> Result<Child, String> {
    let (path, args) = spec.binary().ok_or("no program of this instance is a binary")?;
    let boot = make_directory(directory, spec);
    let boot = boot.map_err(|error| format!("its directory cannot be written: {error}"))?;
    Program { path, args, env: &spec.env, directory, boot: &boot }.start()
}

fn make_directory(directory: &Path, spec: &InstanceSpec) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let boot = directory.join("boot.json");
    write_boot(&boot, &spec.boot)?;
    Ok(boot)
}
