//! The one thread that starts and reaps all instances.
//!
//! The parent-death signal of a child follows the thread that forked it, so this thread ends with the platform and
//! not before. It runs a current-thread runtime, on which each instance is watched by a task of its own.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ftl_core::boot::BOOT_VARIABLE;
use ftl_core::platform::{Exit, InstanceSpec, InstanceState, ProgramSource};
use ftl_core::runner::Stream;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::instance::Instance;
use crate::output::read_lines;

/// Tells a Runner that its standard input is its lifeline.
const LIFELINE_VARIABLE: &str = "FTL_LIFELINE";
/// Tells a Runner which directory is its own.
const DIRECTORY_VARIABLE: &str = "FTL_DIR";
/// Where a Runner notes the process group of the user code that it started.
const DEPLOYMENT_GROUP_FILE: &str = "deployment.pgid";
/// Starts that may wait for the thread; the Controller's worker sends a few at a time.
const QUEUE: usize = 256;
/// How long output may still come after the end of its process: a descendant may hold the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// A start that was asked for.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) spec: InstanceSpec,
    pub(crate) instance: Instance,
}

/// Starts the thread. It ends, and all instances with it, when the sender is dropped.
pub(crate) fn start_thread() -> io::Result<mpsc::Sender<Start>> {
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
    let started =
        command(&spec, &instance.directory).and_then(|mut command| command.spawn().map_err(in_words));
    match started {
        Ok(child) => {
            instance.state.send_replace(InstanceState::Running);
            watch(child, &instance).await;
        }
        Err(message) => instance.never_started(message),
    }
}

/// The command line of a Runner, with its directory and boot document in place.
fn command(spec: &InstanceSpec, directory: &Path) -> Result<Command, String> {
    let binary = spec.program.iter().find_map(|source| match source {
        ProgramSource::Binary { path, args } => Some((path, args)),
        _ => None,
    });
    let Some((path, args)) = binary else {
        return Err("no program of this instance is a binary".to_owned());
    };
    check_program(path)?;
    let boot =
        write_boot(directory, spec).map_err(|error| format!("its directory cannot be written: {error}"))?;
    let mut command = Command::new(path);
    command
        .args(args)
        .envs(&spec.env)
        .env(BOOT_VARIABLE, boot)
        .env(LIFELINE_VARIABLE, "stdin")
        .env(DIRECTORY_VARIABLE, directory)
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

/// Words for what the kernel would answer with a bare ENOENT or EACCES.
fn check_program(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    match fs::metadata(path) {
        Err(error) => Err(format!("the runner's program {} cannot be read: {error}", path.display())),
        Ok(metadata) if !metadata.is_file() => {
            Err(format!("the runner's program {} is no file", path.display()))
        }
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            Err(format!("the runner's program {} is not executable", path.display()))
        }
        Ok(_) => Ok(()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn in_words(error: io::Error) -> String {
    format!("the runner's program cannot be started: {error}")
}

fn write_boot(directory: &Path, spec: &InstanceSpec) -> io::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let path = directory.join("boot.json");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(spec.boot.expose())?;
    Ok(path)
}

async fn watch(mut child: Child, instance: &Instance) {
    // Held until the end: closing it is what tells the Runner that we are gone.
    let _lifeline = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let reading = async {
        tokio::join!(
            async {
                if let Some(stdout) = stdout {
                    read_lines(stdout, Stream::Stdout, &instance.output).await
                }
            },
            async {
                if let Some(stderr) = stderr {
                    read_lines(stderr, Stream::Stderr, &instance.output).await
                }
            },
        );
    };
    tokio::pin!(reading);
    let mut read_all = false;
    let ending = end(&mut child, pid, instance);
    tokio::pin!(ending);
    let ended = loop {
        tokio::select! {
            ended = &mut ending => break ended,
            () = &mut reading, if !read_all => read_all = true,
        }
    };
    if !read_all {
        let _ = timeout(OUTPUT_GRACE, &mut reading).await;
    }
    kill_groups(pid, &instance.directory);
    instance.state.send_replace(InstanceState::Ended(exit(ended, instance.kill_at.borrow().is_some())));
}

/// Waits for the end, asking for it and then forcing it when told so.
async fn end(child: &mut Child, pid: Option<Pid>, instance: &Instance) -> io::Result<ExitStatus> {
    let mut kill_at = instance.kill_at.subscribe();
    let mut asked = false;
    loop {
        let at = *kill_at.borrow_and_update();
        if let (Some(_), false, Some(pid)) = (at, asked, pid) {
            asked = true;
            instance.state.send_replace(InstanceState::Stopping);
            let _ = kill_process(pid, Signal::TERM);
        }
        tokio::select! {
            ended = child.wait() => return ended,
            Ok(()) = kill_at.changed() => {}
            () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                if let Some(pid) = pid {
                    let _ = kill_process_group(pid, Signal::KILL);
                }
                return child.wait().await;
            }
        }
    }
}

/// Ends what the Runner left behind: its own group, and the group of the user code that it started.
fn kill_groups(runner: Option<Pid>, directory: &Path) {
    let noted = fs::read_to_string(directory.join(DEPLOYMENT_GROUP_FILE)).ok();
    let deployment = noted.and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw);
    for group in [runner, deployment].into_iter().flatten() {
        if !reused(group, directory) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Whether the number of a group now belongs to a process that is not ours.
///
/// The number cannot be given away while the group has a member. Once it has none, a new process may carry it: that
/// one neither works below our directory nor was started from there. User code may have gone to work elsewhere.
fn reused(group: Pid, directory: &Path) -> bool {
    let links = ["cwd", "exe"].map(|link| fs::read_link(format!("/proc/{}/{link}", group.as_raw_nonzero())));
    let known = links.iter().flatten().next().is_some();
    known && !links.iter().flatten().any(|path| path.starts_with(directory))
}

fn exit(ended: io::Result<ExitStatus>, asked: bool) -> Exit {
    let mut exit = Exit::new(asked);
    match ended {
        Ok(status) => (exit.code, exit.signal) = (status.code(), status.signal()),
        Err(error) => exit.message = Some(format!("its end could not be read: {error}")),
    }
    exit
}
