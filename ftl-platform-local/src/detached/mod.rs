//! Detached mode: instances that outlive this process, each below a shim and in a directory of its own.
//!
//! The platform keeps no state. What it knows, it reads from the directories: so any number of values of it, in any
//! process, are one platform. A directory appears whole, under its final name, and its lock goes from the hand that made
//! it into the shim's: an instance whose lock is free is half made if no shim ever began, and over if one did.

mod changes;
mod output;
mod place;
mod process;
pub(crate) mod shim;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::controller::BoxStream;
use ftl_core::name::ClusterId;
use ftl_core::platform::{
    ClusterAccess, ClusterSpec, Created, Description, ErrorKind, Health, InstanceRef, InstanceSpec,
    InstanceStatus, LogOptions, Platform, PlatformError, PlatformExt, Probe, ReleaseOptions, Released,
    RemoveOptions, Wake,
};
use ftl_core::runner::OutputLine;
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use self::output::Reader;
use self::place::{Marks, Place};
use self::process::Process;
use crate::common::{self, KILL_WAIT, LOG_QUEUE, Received};
use crate::program::write_boot;

/// Begins the name of a directory that is being made …
const NEW: &str = ".new-";
/// … and of one that is being removed.
const GONE: &str = ".gone-";
/// A directory that has been in the making for so long is made no more: it takes milliseconds.
const MAKING_MAX: Duration = Duration::from_secs(60);
/// How long a creation waits for whoever is at work on the same instance: a shim begins within milliseconds.
const BEGIN_WAIT: Duration = Duration::from_secs(2);
/// How often a creation looks whether the instance is begun, and a removal whether it is over.
const LOOK: Duration = Duration::from_millis(5);
/// How often who follows the output of an instance looks for more.
const FOLLOW_LOOK: Duration = Duration::from_millis(50);
/// How often the making of a directory is tried again, when it was removed or made by somebody else meanwhile.
const TRIES: usize = 3;

/// Runs Runners as processes that outlive this one.
#[derive(Debug)]
pub(crate) struct Detached {
    description: Description,
    root: Root,
}

/// Where instances have their directories, and what starts a shim.
#[derive(Clone, Debug)]
struct Root {
    directory: PathBuf,
    shim: PathBuf,
    shim_args: Vec<String>,
    log_bytes_kept: u64,
}

impl Detached {
    /// Takes instances below this directory for its own. What was half made or half removed there is removed.
    pub(crate) fn new(
        description: Description,
        directory: PathBuf,
        shim: PathBuf,
        shim_args: Vec<String>,
    ) -> io::Result<Self> {
        if Process::myself().is_none() {
            let message = "this system does not tell when a process started: use the tied mode";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let log_bytes_kept = description.facts.log_bytes_kept;
        let root = Root { directory, shim, shim_args, log_bytes_kept };
        root.sweep()?;
        Ok(Self { description, root })
    }

    /// Does what may wait for a disk where it keeps nobody else waiting.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T, PlatformError> + Send + 'static,
    ) -> Result<T, PlatformError> {
        let root = self.root.clone();
        let done = tokio::task::spawn_blocking(move || work(&root)).await;
        done.unwrap_or_else(|error| {
            let message = "the platform's own work ended early";
            Err(PlatformError::new(ErrorKind::Internal, message).with_unknown_effect().with_source(error))
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Detached {
    fn describe(&self) -> &Description {
        &self.description
    }

    async fn probe(&self, _probe: Probe) -> Result<Health, PlatformError> {
        Ok(common::probe(&self.root.directory).await)
    }

    async fn prepare(&self, cluster: &ClusterSpec) -> Result<ClusterAccess, PlatformError> {
        Ok(ClusterAccess::new(cluster.listening.clone()))
    }

    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        let spec = spec.clone();
        self.blocking(move |root| root.create(&spec)).await
    }

    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError> {
        let cluster = cluster.clone();
        self.blocking(move |root| root.observe(&cluster).map_err(|error| root.failed("be read", error))).await
    }

    async fn watch(&self, cluster: &ClusterId) -> Result<BoxStream<Wake>, PlatformError> {
        let wakes = changes::listen(&self.root.directory, cluster.clone());
        Ok(Box::pin(Received(wakes.map_err(|error| self.root.failed("be watched", error))?)))
    }

    async fn logs(
        &self,
        instance: &InstanceRef,
        options: LogOptions,
    ) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
        let place = self.root.place(instance);
        let reference = instance.clone();
        self.blocking(move |root| match root.look(&reference)? {
            Some(_) => Ok(()),
            None => Err(common::missing(&reference)),
        })
        .await?;
        let (sender, receiver) = mpsc::channel(LOG_QUEUE);
        // Ends when the instance has ended, when it has caught up and does not follow, or when nobody reads.
        tokio::spawn(follow(place, options, sender));
        Ok(Box::pin(Received(receiver)))
    }

    async fn stop_instance(&self, instance: &InstanceRef, grace: Duration) -> Result<(), PlatformError> {
        let instance = instance.clone();
        self.blocking(move |root| root.stop(&instance, grace)).await
    }

    async fn remove_instance(
        &self,
        instance: &InstanceRef,
        options: RemoveOptions,
    ) -> Result<(), PlatformError> {
        let instance = instance.clone();
        let deadline = Instant::now() + KILL_WAIT;
        let mut killed = false;
        loop {
            let reference = instance.clone();
            let Some(status) = self.blocking(move |root| root.look(&reference)).await? else { return Ok(()) };
            if status.ended() {
                return self.blocking(move |root| root.remove(&instance)).await;
            }
            if !options.force {
                return Err(common::still_running(&instance));
            }
            if !killed {
                killed = true;
                self.stop_instance(&instance, Duration::ZERO).await?;
            } else if Instant::now() >= deadline {
                return Err(common::did_not_end(&instance));
            }
            sleep(LOOK).await;
        }
    }

    async fn release(&self, cluster: &ClusterId, options: ReleaseOptions) -> Result<Released, PlatformError> {
        // Instances share nothing, so there is nothing to undo but them.
        if !options.instances_too {
            return Ok(Released::nothing());
        }
        let mut released = self.remove_all(cluster).await?;
        let of = cluster.clone();
        released.left.extend(self.blocking(move |root| Ok(root.remove_unmarked(&of))).await?);
        Ok(released)
    }
}

impl Root {
    fn place(&self, instance: &InstanceRef) -> Place {
        Place::new(self.directory.join(format!("{}-{}", instance.cluster, instance.runner)))
    }

    /// A directory beside those of instances, that none else has.
    fn beside(&self, prefix: &str) -> io::Result<PathBuf> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        Ok(self.directory.join(format!("{prefix}{:016x}", u64::from_le_bytes(random))))
    }

    fn failed(&self, what: &str, error: io::Error) -> PlatformError {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Unavailable,
        };
        let message = format!("{} cannot {what}", self.directory.display());
        PlatformError::new(kind, message).with_source(error)
    }

    /// Removes what was half made or half removed when a process ended. What cannot be removed now, a later start may.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let begins = |with: &str| name.as_encoded_bytes().starts_with(with.as_bytes());
            if begins(GONE) || (begins(NEW) && age(&entry).is_some_and(|age| age > MAKING_MAX)) {
                let _ = remove_all(&path);
            }
        }
        Ok(())
    }

    /// Removes what is called like instances of this cluster and is none: the machine went down while it was made. Says
    /// what could not be removed.
    fn remove_unmarked(&self, cluster: &ClusterId) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let places = entries.map(|entry| entry.path()).filter(|path| common::key_of(path, cluster).is_some());
        let unmarked = places.map(Place::new).filter(|place| {
            // One that somebody is at work on is locked.
            matches!(place.marks(), Ok(None) | Err(_)) && !matches!(place.take_lock(), Ok(None))
        });
        let bury = |place: Place| {
            let error = self.bury(&place).err()?;
            Some(format!("directory {}: {error}", place.path().display()))
        };
        unmarked.filter_map(bury).collect()
    }

    fn observe(&self, cluster: &ClusterId) -> io::Result<Vec<InstanceStatus>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if hidden || !entry.file_type()?.is_dir() {
                continue;
            }
            let looked = Place::new(entry.path()).look()?;
            found.extend(looked.filter(|(marks, _)| marks.cluster == *cluster).map(|(_, status)| status));
        }
        Ok(found)
    }

    fn look(&self, instance: &InstanceRef) -> Result<Option<InstanceStatus>, PlatformError> {
        let looked = self.place(instance).look().map_err(|error| self.failed("be read", error))?;
        Ok(looked.map(|(_, status)| status))
    }

    fn create(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        let reference = InstanceRef::new(spec.cluster.clone(), spec.runner, spec.runner.to_string());
        let place = self.place(&reference);
        let marks = Marks::of(spec, self.log_bytes_kept).ok_or_else(|| {
            PlatformError::new(ErrorKind::Unsupported, "no program of this instance is a binary")
        })?;
        let written = |error| self.failed("be written", error);
        for _ in 0..TRIES {
            if let Some(known) = place.marks().map_err(|error| self.failed("be read", error))? {
                spec.check_again(known.generation, known.digest)?;
                self.complete(&place, spec)?;
                return Ok(Created::new(reference, true));
            }
            if let Some(lock) = self.make(&place, &marks, spec).map_err(written)? {
                common::record_create(spec);
                self.start_shim(&place, lock)?;
                return Ok(Created::new(reference, false));
            }
        }
        Err(PlatformError::new(ErrorKind::Busy, format!("runner {} is being worked on", spec.runner)))
    }

    /// Makes the directory of an instance, and answers with its lock; `None` when somebody else was first.
    fn make(&self, place: &Place, marks: &Marks, spec: &InstanceSpec) -> io::Result<Option<fs::File>> {
        let new = self.beside(NEW)?;
        let made = Place::new(new.clone()).make(marks, spec);
        match made.and_then(|lock| fs::rename(&new, place.path()).map(|()| lock)) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) => {
                remove_all(&new)?;
                match error.kind() {
                    io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
                        // Without marks it is nobody's: the machine went down while it was made.
                        if place.marks()?.is_none() {
                            self.bury(place)?;
                        }
                        Ok(None)
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Starts the shim of an instance that was made and not begun, unless it was asked to end.
    fn complete(&self, place: &Place, spec: &InstanceSpec) -> Result<(), PlatformError> {
        let read = |error| self.failed("be read", error);
        let until = std::time::Instant::now() + BEGIN_WAIT;
        while !place.was_begun().map_err(read)? && std::time::Instant::now() < until {
            let Some(lock) = place.take_lock().map_err(read)? else {
                std::thread::sleep(LOOK);
                continue;
            };
            // It may have begun and ended before the lock was free.
            if !place.was_begun().map_err(read)? && place.asked().map_err(read)?.is_empty() {
                write_boot(&place.boot(), &spec.boot).map_err(|error| self.failed("be written", error))?;
                self.start_shim(place, lock)?;
            }
            return Ok(());
        }
        Ok(())
    }

    /// Starts the shim, and puts the lock into its hand.
    fn start_shim(&self, place: &Place, lock: fs::File) -> Result<(), PlatformError> {
        let complaints = place.complaints().map_err(|error| self.failed("be written", error))?;
        let shim = tokio::process::Command::new(&self.shim)
            .args(&self.shim_args)
            .arg(place.path())
            .current_dir(place.path())
            .stdin(Stdio::from(lock))
            .stdout(Stdio::null())
            .stderr(Stdio::from(complaints))
            .spawn();
        // Nobody waits for it; while this process runs, its runtime reaps it.
        shim.map(drop).map_err(|error| {
            let message = format!("the shim {} cannot be started", self.shim.display());
            PlatformError::new(ErrorKind::Missing, message).with_source(error)
        })
    }

    fn stop(&self, instance: &InstanceRef, grace: Duration) -> Result<(), PlatformError> {
        let place = self.place(instance);
        if self.look(instance)?.is_none_or(|status| status.ended()) {
            return Ok(());
        }
        let unknown = |error| self.failed("be written", error).with_unknown_effect();
        place.ask(grace).map_err(unknown)?;
        match place.take_lock().map_err(unknown)? {
            // It reads what it was asked when it begins, and when it is told.
            None => {
                if let Some(shim) = place.shim().map_err(unknown)? {
                    shim.signal(Signal::TERM);
                }
            }
            // Its shim was killed: nobody counts a grace, and its Runner is ending by itself.
            Some(_) => place.kill_left().map_err(unknown)?,
        }
        Ok(())
    }

    /// Removes an instance that ended.
    fn remove(&self, instance: &InstanceRef) -> Result<(), PlatformError> {
        let place = self.place(instance);
        let removed = place.kill_left().and_then(|()| self.bury(&place));
        removed.map_err(|error| common::not_removed(instance, error).with_unknown_effect())
    }

    /// Removes a directory at once for everybody who looks, and then in fact.
    fn bury(&self, place: &Place) -> io::Result<()> {
        let gone = self.beside(GONE)?;
        match fs::rename(place.path(), &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => remove_all(&gone),
        }
    }
}

/// How long ago a directory was changed; `None` when it is gone, or is said to be of the future.
fn age(entry: &fs::DirEntry) -> Option<Duration> {
    entry.metadata().ok()?.modified().ok()?.elapsed().ok()
}

fn remove_all(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sends what an instance wrote, and with `follow` what it writes, until it has ended.
async fn follow(place: Place, options: LogOptions, lines: mpsc::Sender<Result<OutputLine, PlatformError>>) {
    let mut reader = Reader::new(place.output());
    let mut tail = options.tail;
    loop {
        let looked = place.clone();
        let read = tokio::task::spawn_blocking(move || {
            // In this order: what is written before the end is read.
            let ended = looked.look().map(|looked| looked.is_none_or(|(_, status)| status.ended()));
            let read = reader.read();
            (reader, ended, read)
        });
        let Ok((next, ended, read)) = read.await else { return };
        reader = next;
        let (ended, mut read) = match (ended, read) {
            (Ok(ended), Ok(read)) => (ended, read),
            // It was removed meanwhile.
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => return,
            (Err(error), _) | (_, Err(error)) => {
                let message = format!("{} cannot be read", place.output().display());
                let error = PlatformError::new(ErrorKind::Unavailable, message).with_source(error);
                // Nobody may be reading any more.
                let _ = lines.send(Err(error)).await;
                return;
            }
        };
        if let Some(tail) = tail.take() {
            read.drain(..read.len().saturating_sub(tail));
        }
        for line in read {
            if lines.send(Ok(line)).await.is_err() {
                return;
            }
        }
        if ended || !options.follow {
            return;
        }
        tokio::select! {
            () = sleep(FOLLOW_LOOK) => {}
            () = lines.closed() => return,
        }
    }
}
