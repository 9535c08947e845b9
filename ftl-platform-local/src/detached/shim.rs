//! The process above one detached Runner: starts it, keeps what it writes, passes on requests to end, and writes down how
//! it ended.
//!
//! Its lifeline is the Runner's: a shim that is killed takes its Runner with it, and how that ended is not known.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ftl_core::platform::Exit;
use ftl_core::runner::OutputLine;
use tokio::signal::unix::{SignalKind, signal};

use super::output::Writer;
use super::place::{Marks, Place};
use super::process::Process;
use crate::program::{Deadline, Observer, Program, attend, never_started};

/// The grace of a request to end that names none: that of somebody who sent the shim SIGTERM.
const GRACE_OF_A_SIGNAL: Duration = Duration::from_secs(10);

/// Why a shim could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShimError {
    /// It was started by hand, or the instance has a shim already.
    #[error("its standard input is not the lock of an instance: a shim is started by its platform")]
    NotHanded(#[source] io::Error),
    /// It could not leave the session of whoever started it.
    #[error("it cannot have a session of its own")]
    Session(#[source] io::Error),
    /// The instance's directory could not be used.
    #[error("the directory of the instance cannot be used")]
    Directory(#[source] io::Error),
    /// It could not wait for anything.
    #[error("no runtime could be started")]
    Runtime(#[source] io::Error),
}

/// Sees the instance in this directory through to its end. Call it on the main thread of a process of its own, whose
/// standard input is the lock of the instance.
///
/// # Errors
/// When it was not started by a platform, or cannot write down what must be known.
pub fn run(directory: &Path) -> Result<(), ShimError> {
    // Whoever closes the terminal or ends the group of the platform means neither this nor its Runner.
    rustix::process::setsid().map_err(|error| ShimError::Session(error.into()))?;
    let place = Place::new(directory.to_owned());
    let lock = std::io::stdin().as_fd().try_clone_to_owned().map_err(ShimError::NotHanded)?;
    // Held until the end of the process: this is how others know that it lives.
    let lock = File::from(lock);
    lock.try_lock().map_err(|error| ShimError::NotHanded(error.into()))?;
    let marks = place.marks().and_then(|marks| marks.ok_or_else(|| io::ErrorKind::NotFound.into()));
    let marks = marks.map_err(ShimError::Directory)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // The main thread, because the parent-death signal of the Runner follows the thread that starts it.
    let exit = runtime.map_err(ShimError::Runtime)?.block_on(live(&place, &marks));
    exit.and_then(|exit| place.seal(&exit)).map_err(ShimError::Directory)
}

async fn live(place: &Place, marks: &Marks) -> io::Result<Exit> {
    // In this order: whoever asks for the end writes it down first and then looks whom to tell.
    let mut told = signal(SignalKind::terminate())?;
    let myself = Process::myself().ok_or(io::ErrorKind::Unsupported)?;
    place.begin(&myself)?;
    let deadline = Deadline::none();
    let mut known = hear(place, 0, &deadline)?;
    if deadline.is_set() {
        return Ok(never_started(true, "it was asked to end before it was started"));
    }
    let (run, boot) = (place.run(), place.boot());
    let program =
        Program { path: &marks.program, args: &marks.args, env: &marks.env, directory: &run, boot: &boot };
    let child = match program.start() {
        Ok(child) => child,
        Err(message) => return Ok(never_started(false, message)),
    };
    if let Some(runner) = child.id().and_then(|pid| Process::of(pid.cast_signed())) {
        place.started(&runner)?;
    }
    let recorder = Recorder(Mutex::new(Writer::new(place.output(), marks.log_bytes_kept)));
    let attending = attend(child, &run, &deadline, &recorder);
    tokio::pin!(attending);
    loop {
        tokio::select! {
            exit = &mut attending => return Ok(exit),
            _ = told.recv() => {
                known = hear(place, known, &deadline)?;
                if known == 0 {
                    deadline.shorten(GRACE_OF_A_SIGNAL);
                }
            }
        }
    }
}

/// Takes the requests to end that are not known yet; answers how many there are.
fn hear(place: &Place, known: usize, deadline: &Deadline) -> io::Result<usize> {
    let asked = place.asked()?;
    asked.iter().skip(known).for_each(|grace| deadline.shorten(*grace));
    Ok(asked.len())
}

/// Keeps what the Runner writes.
struct Recorder(Mutex<Writer>);

impl Observer for Recorder {
    fn wrote(&self, line: OutputLine) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn asked(&self) {
        // Whoever asked has written it down.
    }
}
