//! The process of the user code: started in a group and a directory of its own, ended as a group.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ftl_core::boot::{BOOT_VARIABLE, LIBRARIES_VARIABLE};
use ftl_core::deployment::SDK_PROTOCOL;
use ftl_core::runner::{Crash, Stream};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::output::{Output, read_lines};
use crate::program::Program;

/// Tells the user code that its standard input is its Runner, and which protocol to speak.
const DEPLOYMENT_VARIABLE: &str = "FTL_DEPLOYMENT";
/// Where the platform finds the group of the user code, should the Runner be killed before it can end it.
const GROUP_FILE: &str = "deployment.pgid";
/// How long output may still come after the end of its process: a descendant may hold the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// The running user code. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct UserCode {
    child: Child,
    group: Option<Pid>,
    readers: JoinSet<()>,
}

impl UserCode {
    /// Starts the program; the socket is the other end of its standard input.
    pub(crate) fn start(
        program: &Program,
        directory: &Path,
        output: &Arc<Output>,
    ) -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = ftl_wire::pair()?;
        let work = directory.join("work");
        fs::create_dir_all(&work)?;
        let mut command = program.command();
        command
            .current_dir(&work)
            .env(DEPLOYMENT_VARIABLE, SDK_PROTOCOL.to_string())
            .env_remove(BOOT_VARIABLE)
            .env_remove(LIBRARIES_VARIABLE)
            .env_remove("FTL_LIFELINE")
            .env_remove("FTL_DIR")
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(group) = group {
            fs::write(directory.join(GROUP_FILE), group.as_raw_nonzero().to_string())?;
        }
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            let output = output.clone();
            readers.spawn(async move { read_lines(stdout, Stream::Stdout, &output).await });
        }
        if let Some(stderr) = child.stderr.take() {
            let output = output.clone();
            readers.spawn(async move { read_lines(stderr, Stream::Stderr, &output).await });
        }
        Ok((Self { child, group, readers }, ours))
    }

    /// Waits until the process ends by itself.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the group to end, kills it after `grace`, and waits for the end.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        self.signal(Signal::TERM);
        if timeout(grace, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // A killed process ends; one that hangs in the kernel is left to the platform.
            let _ = timeout(grace, self.child.wait()).await;
        }
    }

    /// Ends what is left of the group and reads the last of its output.
    pub(crate) async fn finish(&mut self) {
        self.signal(Signal::KILL);
        let _ = timeout(OUTPUT_GRACE, async { while self.readers.join_next().await.is_some() {} }).await;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for UserCode {
    fn drop(&mut self) {
        // Only while the leader is not reaped: afterwards the number may belong to somebody else.
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}

/// An end that nobody asked for, in words.
pub(crate) fn crash_of(ended: &io::Result<ExitStatus>, when: &str) -> Crash {
    let mut crash = match ended {
        Err(error) => return Crash::new(format!("its end could not be read: {error}")),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Crash::new(format!("exited with code {code}{when}")),
            (None, Some(signal)) => Crash::new(format!("was killed by signal {signal}{when}")),
            (None, None) => Crash::new(format!("ended{when}")),
        },
    };
    if let Ok(status) = ended {
        (crash.exit_code, crash.signal) = (status.code(), status.signal());
    }
    crash
}
