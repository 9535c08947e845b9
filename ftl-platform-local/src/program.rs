//! The process of a Runner, the same in both modes: started, heard, asked to end, killed, and what it left ended too.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ftl_core::Secret;
use ftl_core::boot::BOOT_VARIABLE;
use ftl_core::output::Lines;
use ftl_core::platform::Exit;
use ftl_core::runner::{OutputLine, Stream};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// Tells a Runner that its standard input is its lifeline.
const LIFELINE_VARIABLE: &str = "FTL_LIFELINE";
/// Tells a Runner which directory is its own.
const DIRECTORY_VARIABLE: &str = "FTL_DIR";
/// Where a Runner notes the process group of the user code that it started.
const DEPLOYMENT_GROUP_FILE: &str = "deployment.pgid";
/// How long output may still come after the end of its process: a descendant may hold the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);
/// A grace that ends after every process.
const GRACE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What to start, and where.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) args: &'a [String],
    pub(crate) env: &'a BTreeMap<String, String>,
    /// The Runner's own directory, which it works in.
    pub(crate) directory: &'a Path,
    /// The file with its boot document.
    pub(crate) boot: &'a Path,
}

/// Who hears of a Runner that runs.
pub(crate) trait Observer: Sync {
    /// It wrote a line.
    fn wrote(&self, line: OutputLine);
    /// It was asked to end.
    fn asked(&self);
}

/// When a Runner is to be killed, once it was asked to end. It only ever comes nearer.
#[derive(Clone, Debug)]
pub(crate) struct Deadline(watch::Sender<Option<Instant>>);

impl Deadline {
    /// It was not asked to end.
    pub(crate) fn none() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Asks it to end, and to be killed after `grace`. A later call may only shorten.
    pub(crate) fn shorten(&self, grace: Duration) {
        let at = Instant::now() + grace.min(GRACE_MAX);
        self.0.send_if_modified(|kill_at| {
            let sooner = kill_at.is_none_or(|earlier| at < earlier);
            if sooner {
                *kill_at = Some(at);
            }
            sooner
        });
    }

    /// Whether it was asked to end.
    pub(crate) fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }
}

impl Program<'_> {
    /// Starts it, in a group of its own, with a lifeline as its standard input.
    ///
    /// # Errors
    /// In words for people.
    pub(crate) fn start(&self) -> Result<Child, String> {
        check(self.path)?;
        let mut command = Command::new(self.path);
        command
            .args(self.args)
            .envs(self.env)
            .env(BOOT_VARIABLE, self.boot)
            .env(LIFELINE_VARIABLE, "stdin")
            .env(DIRECTORY_VARIABLE, self.directory)
            .current_dir(self.directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().map_err(|error| format!("the runner's program cannot be started: {error}"))
    }
}

/// Words for what the kernel would answer with a bare ENOENT or EACCES.
fn check(path: &Path) -> Result<(), String> {
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

/// Writes a boot document that nobody else may read.
pub(crate) fn write_boot(path: &Path, boot: &Secret) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(boot.expose())
}

/// Sees a Runner through to its end, and ends what it left behind in its group and its user code's.
pub(crate) async fn attend(
    mut child: Child,
    directory: &Path,
    deadline: &Deadline,
    observer: &dyn Observer,
) -> Exit {
    // Held until the end: closing it is what tells the Runner that we are gone.
    let _lifeline = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let reading = async {
        tokio::join!(
            read_lines(stdout, Stream::Stdout, observer),
            read_lines(stderr, Stream::Stderr, observer)
        )
    };
    tokio::pin!(reading);
    let mut read_all = false;
    let ending = end(&mut child, pid, deadline, observer);
    tokio::pin!(ending);
    let ended = loop {
        tokio::select! {
            ended = &mut ending => break ended,
            _ = &mut reading, if !read_all => read_all = true,
        }
    };
    if !read_all {
        let _ = timeout(OUTPUT_GRACE, &mut reading).await;
    }
    kill_left(pid, directory);
    exit(ended, deadline.is_set())
}

/// Reads a stream to its end, line by line.
async fn read_lines(from: Option<impl AsyncRead + Unpin>, stream: Stream, observer: &dyn Observer) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 << 10];
    let mut lines = Lines::new(stream);
    // An error on a pipe ends it like its end does: the process is what matters, and it is watched.
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
    {
        lines.take(&buffer[..read], now_us(), |line| observer.wrote(line));
    }
    if let Some(last) = lines.finish(now_us()) {
        observer.wrote(last);
    }
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// Waits for the end, asking for it and then forcing it when told so.
async fn end(
    child: &mut Child,
    pid: Option<Pid>,
    deadline: &Deadline,
    observer: &dyn Observer,
) -> io::Result<ExitStatus> {
    let mut kill_at = deadline.0.subscribe();
    let mut asked = false;
    loop {
        let at = *kill_at.borrow_and_update();
        if let (Some(_), false, Some(pid)) = (at, asked, pid) {
            asked = true;
            observer.asked();
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

/// The group of the user code that a Runner started in its directory, if it noted one.
pub(crate) fn deployment_group(directory: &Path) -> Option<Pid> {
    let noted = fs::read_to_string(directory.join(DEPLOYMENT_GROUP_FILE)).ok()?;
    Pid::from_raw(noted.trim().parse().ok()?)
}

/// Ends what a Runner left behind: its own group, and the group of the user code that it started.
pub(crate) fn kill_left(runner: Option<Pid>, directory: &Path) {
    for group in [runner, deployment_group(directory)].into_iter().flatten() {
        if leader(group, directory) != Leader::Stranger {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Whose the process is that carries the number of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    /// The one that made the group.
    Ours,
    /// The number is a stranger's now.
    Stranger,
    /// There is none, or it is none of this user's.
    Nobody,
}

/// Whose the number of a group is.
///
/// It cannot be given away while the group has a member. Once it has none, a new process may carry it: that one neither
/// works below our directory nor was started from there. User code may have gone to work elsewhere.
pub(crate) fn leader(group: Pid, directory: &Path) -> Leader {
    let links = ["cwd", "exe"].map(|link| fs::read_link(format!("/proc/{}/{link}", group.as_raw_nonzero())));
    match links.iter().flatten().next() {
        None => Leader::Nobody,
        Some(_) if links.iter().flatten().any(|path| path.starts_with(directory)) => Leader::Ours,
        Some(_) => Leader::Stranger,
    }
}

fn exit(ended: io::Result<ExitStatus>, asked: bool) -> Exit {
    let mut exit = Exit::new(asked);
    match ended {
        Ok(status) => (exit.code, exit.signal) = (status.code(), status.signal()),
        Err(error) => exit.message = Some(format!("its end could not be read: {error}")),
    }
    exit
}

/// The end of a Runner whose program never ran.
pub(crate) fn never_started(asked: bool, message: impl Into<String>) -> Exit {
    let mut exit = Exit::new(asked);
    exit.never_started = true;
    exit.message = Some(message.into());
    exit
}
