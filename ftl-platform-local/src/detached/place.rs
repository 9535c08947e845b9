//! The directory of one detached instance: which files it holds, and what they say.
//!
//! | file | written by | says |
//! |---|---|---|
//! | `marks.json` | the platform | whose it is and what it was made from; there as long as the directory is |
//! | `boot.json` | the platform | the secret; the Runner removes it |
//! | `lock` | – | held by whoever is at work on the instance: the platform hands it to the shim, and the shim never lets go |
//! | `shim.json` | the shim | who it is; written before the program is started |
//! | `runner.json` | the shim | which process the Runner is |
//! | `stop` | the platform | one line for each request to end: the grace in milliseconds |
//! | `exit.json` | the shim | how it ended |
//! | `output/` | the shim | what the Runner wrote |
//! | `run/` | the Runner | its own directory |

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ftl_core::digest::Digest;
use ftl_core::key::{Epoch, RunnerKey};
use ftl_core::name::{ClusterId, Language};
use ftl_core::platform::{Exit, InstanceRef, InstanceSpec, InstanceState, InstanceStatus};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::process::Process;
use crate::program::{Leader, deployment_group, kill_left, leader, never_started, write_boot};

/// What an instance was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) cluster: ClusterId,
    pub(crate) runner: RunnerKey,
    pub(crate) language: Language,
    pub(crate) generation: Epoch,
    pub(crate) digest: Digest,
    /// The Runner's program …
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// For people who look at it.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) log_bytes_kept: u64,
}

impl Marks {
    /// `None` when no program of the instance is a file.
    pub(crate) fn of(spec: &InstanceSpec, log_bytes_kept: u64) -> Option<Self> {
        let (program, args) = spec.binary()?;
        Some(Self {
            cluster: spec.cluster.clone(),
            runner: spec.runner,
            language: spec.language.clone(),
            generation: spec.generation,
            digest: spec.digest(),
            program: program.to_owned(),
            args: args.to_vec(),
            env: spec.env.clone(),
            labels: spec.labels.clone(),
            log_bytes_kept,
        })
    }

    pub(crate) fn reference(&self) -> InstanceRef {
        InstanceRef::new(self.cluster.clone(), self.runner, self.runner.to_string())
    }
}

/// The directory of one instance; see the module.
#[derive(Clone, Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The Runner's own directory.
    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    pub(crate) fn boot(&self) -> PathBuf {
        self.0.join("boot.json")
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.0.join("output")
    }

    /// Where the shim complains.
    pub(crate) fn complaints(&self) -> io::Result<File> {
        private().truncate(true).open(self.0.join("shim.log"))
    }

    /// Makes the directory whole, but for those who look for it under its final name. The lock comes with it.
    pub(crate) fn make(&self, marks: &Marks, spec: &InstanceSpec) -> io::Result<File> {
        let directory = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        directory(&self.0)?;
        directory(&self.run())?;
        directory(&self.output())?;
        // Nobody else knows this directory.
        let lock = private().open(self.lock_path())?;
        lock.lock()?;
        private().open(self.stop_path())?;
        write_boot(&self.boot(), &spec.boot)?;
        self.note("marks.json", marks)?;
        Ok(lock)
    }

    /// What it was made from; `None` when it is no instance's.
    pub(crate) fn marks(&self) -> io::Result<Option<Marks>> {
        self.read("marks.json")
    }

    fn lock_path(&self) -> PathBuf {
        self.0.join("lock")
    }

    fn stop_path(&self) -> PathBuf {
        self.0.join("stop")
    }

    /// The lock, if nobody holds it.
    pub(crate) fn take_lock(&self) -> io::Result<Option<File>> {
        let lock = private().open(self.lock_path())?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether somebody is at work on it.
    fn is_held(&self) -> io::Result<bool> {
        // Shared, so that two who look do not see each other.
        match File::open(self.lock_path())?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The shim says who it is.
    pub(crate) fn begin(&self, shim: &Process) -> io::Result<()> {
        self.note("shim.json", shim)
    }

    pub(crate) fn shim(&self) -> io::Result<Option<Process>> {
        self.read("shim.json")
    }

    /// The shim says which process the Runner is.
    pub(crate) fn started(&self, runner: &Process) -> io::Result<()> {
        self.note("runner.json", runner)
    }

    fn runner(&self) -> io::Result<Option<Process>> {
        self.read("runner.json")
    }

    /// Somebody asks it to end. A request that cannot shorten what others asked for is not written down, so that no
    /// number of them fills anything.
    pub(crate) fn ask(&self, grace: Duration) -> io::Result<()> {
        if self.asked()?.into_iter().any(|earlier| earlier <= grace) {
            return Ok(());
        }
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // One write, appended as a whole: who asks at the same time is not lost.
        private()
            .truncate(false)
            .append(true)
            .open(self.stop_path())?
            .write_all(format!("{grace}\n").as_bytes())
    }

    /// Within which graces it was asked to end, in the order in which it was.
    pub(crate) fn asked(&self) -> io::Result<Vec<Duration>> {
        let text = fs::read_to_string(self.stop_path())?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).map(Duration::from_millis).collect())
    }

    /// The shim says how it ended, and that survives the machine.
    pub(crate) fn seal(&self, exit: &Exit) -> io::Result<()> {
        let path = self.write("exit.json", exit)?;
        File::open(&path)?.sync_all()?;
        fs::rename(&path, self.0.join("exit.json"))?;
        let directory = File::open(&self.0)?;
        directory.sync_all()?;
        // For whoever watches the directory that this one is in. Both times: one alone counts as something else.
        let now = SystemTime::now();
        directory.set_times(FileTimes::new().set_accessed(now).set_modified(now))
    }

    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        self.read("exit.json")
    }

    /// How things stand; `None` when this is no instance, or none any more.
    ///
    /// # Errors
    /// When it cannot be told: it is never guessed.
    pub(crate) fn look(&self) -> io::Result<Option<(Marks, InstanceStatus)>> {
        match self.try_look() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            looked => looked,
        }
    }

    fn try_look(&self) -> io::Result<Option<(Marks, InstanceStatus)>> {
        // First whether it is held, then how it ended: the shim says so before it lets go.
        let held = self.is_held()?;
        let Some(marks) = self.marks()? else { return Ok(None) };
        let (shim, runner) = (self.shim()?, self.runner()?);
        let lives = runner.as_ref().is_some_and(Process::runs) || self.deployment_lives();
        let signs = Signs {
            held,
            shim: shim.is_some(),
            runner: runner.is_some(),
            lives,
            asked: !self.asked()?.is_empty(),
            exit: self.exit()?,
        };
        let status = InstanceStatus::new(marks.reference(), marks.digest, marks.generation, signs.state());
        let pid = runner.as_ref().and_then(Process::pid);
        let status = match pid {
            Some(pid) => status.at(format!("process {pid}")),
            None => status,
        };
        Ok(Some((marks, status)))
    }

    fn deployment_lives(&self) -> bool {
        let run = self.run();
        deployment_group(&run).is_some_and(|group| leader(group, &run) == Leader::Ours)
    }

    /// Whether a shim was here.
    pub(crate) fn was_begun(&self) -> io::Result<bool> {
        Ok(self.shim()?.is_some())
    }

    /// Ends what is left of an instance whose shim is no more.
    pub(crate) fn kill_left(&self) -> io::Result<()> {
        let runner = self.runner()?.filter(Process::runs);
        kill_left(runner.as_ref().and_then(Process::pid), &self.run());
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.0.join(name)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// There as a whole or not at all, while the machine lives: what it tells of processes has no meaning afterwards.
    fn note(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let path = self.write(name, value)?;
        fs::rename(path, self.0.join(name))
    }

    /// Writes a file beside its final name.
    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<PathBuf> {
        let path = self.0.join(format!("{name}.part"));
        private().truncate(true).open(&path)?.write_all(&serde_json::to_vec(value)?)?;
        Ok(path)
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

/// What the files and the kernel tell of an instance.
#[derive(Clone, Debug, Default)]
struct Signs {
    /// Somebody is at work on it.
    held: bool,
    /// A shim began.
    shim: bool,
    /// The program was started.
    runner: bool,
    /// Some process of it runs.
    lives: bool,
    /// It was asked to end.
    asked: bool,
    /// How it ended, says its shim.
    exit: Option<Exit>,
}

impl Signs {
    fn state(self) -> InstanceState {
        if let Some(exit) = self.exit {
            return InstanceState::Ended(exit);
        }
        // Without its shim it ends: what still runs is on its way out.
        let running = if self.held { self.runner } else { self.lives };
        match (self.held, running, self.shim) {
            (true, _, _) | (false, true, _) if self.asked => InstanceState::Stopping,
            (_, true, _) => InstanceState::Running,
            (true, false, _) => InstanceState::Pending,
            (false, false, true) => {
                let mut exit = Exit::new(self.asked);
                exit.message = Some("its shim ended before it could say how it ended".to_owned());
                InstanceState::Ended(exit)
            }
            // Half made: to be completed, unless nobody wants it any more.
            (false, false, false) if self.asked => {
                InstanceState::Ended(never_started(true, "it was asked to end before it was started"))
            }
            (false, false, false) => InstanceState::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instance whose program runs under its shim.
    fn running() -> Signs {
        Signs { held: true, shim: true, runner: true, lives: true, ..Signs::default() }
    }

    #[test]
    fn what_is_held_is_on_its_way_or_runs() {
        assert_eq!(Signs { held: true, ..Signs::default() }.state(), InstanceState::Pending);
        assert_eq!(running().state(), InstanceState::Running);
        assert_eq!(Signs { asked: true, ..running() }.state(), InstanceState::Stopping);
        // The Runner is over and its shim reads the last of its output.
        assert_eq!(Signs { lives: false, ..running() }.state(), InstanceState::Running);
    }

    #[test]
    fn what_the_shim_said_is_believed_first() {
        let mut exit = Exit::new(true);
        exit.code = Some(3);
        let signs = Signs { asked: true, exit: Some(exit.clone()), ..running() };
        assert_eq!(signs.state(), InstanceState::Ended(exit));
    }

    #[test]
    fn without_its_shim_it_ended_once_nothing_lives() {
        let killed = Signs { held: false, ..running() };
        assert_eq!(killed.clone().state(), InstanceState::Running);
        let state = Signs { lives: false, ..killed }.state();
        let InstanceState::Ended(exit) = state else { panic!("{state:?}") };
        assert_eq!((exit.code, exit.signal, exit.never_started), (None, None, false));
    }

    #[test]
    fn half_made_is_pending_until_nobody_wants_it() {
        assert_eq!(Signs::default().state(), InstanceState::Pending);
        let state = Signs { asked: true, ..Signs::default() }.state();
        let InstanceState::Ended(exit) = state else { panic!("{state:?}") };
        assert!(exit.asked && exit.never_started);
    }
}
