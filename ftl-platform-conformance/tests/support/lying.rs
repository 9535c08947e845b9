//! A platform that lies, in one way at a time: the suite must find it out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ftl_core::Platform;
use ftl_core::controller::BoxStream;
use ftl_core::digest::Digest;
use ftl_core::key::{Epoch, RunnerKey};
use ftl_core::name::ClusterId;
use ftl_core::platform::{
    Capability, ClusterAccess, ClusterSpec, Created, Description, ErrorKind, Exit, Health, InstanceRef,
    InstanceSpec, InstanceState, InstanceStatus, LogOptions, PlatformError, Probe, ProgramSource,
    ReleaseOptions, Released, RemoveOptions, Wake,
};
use ftl_core::runner::{OutputLine, Stream};
use ftl_platform_conformance::{Fixture, Lookalike};
use futures_util::{StreamExt, stream};
use tokio::sync::Barrier;
use tokio::task::yield_now;
use tokio::time::timeout;

/// For how long creates wait for each other that look before any of them acts.
const LOOKING_TIME: Duration = Duration::from_secs(20);
/// Creates that look before any of them acts.
const AT_ONCE: usize = 8;
/// Where a value is cut that is.
const CUT_AT: usize = 4096;

/// One way to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    IsNeverReady,
    CannotBeSeen,
    StartsNothing,
    StartsTwice,
    SeesLate,
    DropsEnvironment,
    CutsValues,
    OnlyAscii,
    TrustsNatives,
    MissingRuns,
    BareErrno,
    NeverExisted,
    ChecksThenActs,
    OtherIsTheSame,
    ObeysThePast,
    RestartsForTheFuture,
    RevivesTheEnded,
    BootCounts,
    RemembersTheRemoved,
    TellsWhatIsNotThere,
    MarksBeforeItCreates,
    MarksBeforeItStops,
    MarksBeforeItRemoves,
    Claims(Capability),
    Denies(Capability),
    OutlivesItself,
    LosesWhatTheDeadBegan,
    TouchesTheForeign,
    SeesAllClusters,
    StopsNothing,
    GivesNoGrace,
    GivesAllGrace,
    HearsTheFirstStop,
    SaysStoppingIsEnded,
    StopOfNothingIsAnError,
    SecondStopIsAnError,
    LosesStopsOfTheUnseen,
    RemovesWhatRuns,
    RemovesNothing,
    ForceHides,
    RemovalOfNothingIsAnError,
    ZeroIsTheCode,
    SignalIsACode,
    NoMemoryIsFalse,
    NoMemoryIsAKill,
    AnyNoMemoryIsItsOwn,
    EverybodyAsked,
    CrashSpreads,
    ForgetsTheQuick,
    Restarts,
    LosesTheLastLine,
    HidesLosses,
    TellsTheOldest,
    DoesNotFollow,
    FollowsForEver,
    LosesTheLateReader,
    ForgetsOutput,
    OneStream,
    OutputIsEmpty,
    BootInTheEnvironment,
    DebugTells,
    LeavesAFile,
    ReleasesNothing,
}

/// A fixture whose platform lies.
#[derive(Debug)]
pub(crate) struct LyingFixture {
    pub(crate) inner: Arc<dyn Fixture>,
    pub(crate) lie: Lie,
    /// Where a platform leaves files that leaves files.
    pub(crate) folder: PathBuf,
    /// How many values were made.
    pub(crate) values: AtomicUsize,
    /// Whether what is somebody else's was touched.
    pub(crate) touched: Arc<AtomicBool>,
    /// What all its values remember.
    pub(crate) known: Arc<Mutex<Known>>,
}

/// The first values tell the truth: what is timed before the checks is not what is checked.
const HONEST_VALUES: usize = 2;

#[async_trait]
impl Fixture for LyingFixture {
    async fn platform(&self) -> Result<Arc<dyn Platform>, PlatformError> {
        let inner = self.inner.platform().await?;
        if self.values.fetch_add(1, Ordering::Relaxed) < HONEST_VALUES {
            return Ok(inner);
        }
        let mut description = inner.describe().clone();
        match self.lie {
            Lie::Claims(capability) => description.capabilities.push(capability),
            Lie::Denies(capability) => description.capabilities.retain(|claimed| *claimed != capability),
            Lie::TouchesTheForeign => description.capabilities.push(Capability::Adopt),
            Lie::NoMemoryIsAKill | Lie::AnyNoMemoryIsItsOwn => {
                description.capabilities.extend([Capability::ExitOom, Capability::LimitMemory]);
            }
            _ => {}
        }
        if self.lie == Lie::OutlivesItself {
            std::mem::forget(inner.clone());
        }
        let (folder, touched, known) = (self.folder.clone(), self.touched.clone(), self.known.clone());
        let looked = Barrier::new(AT_ONCE);
        Ok(Arc::new(Lying { inner, lie: self.lie, description, folder, touched, known, looked }))
    }

    fn program(&self) -> Vec<ProgramSource> {
        self.inner.program()
    }

    async fn leftovers(&self, cluster: &ClusterId) -> Result<Option<Vec<String>>, PlatformError> {
        if self.lie == Lie::CannotBeSeen && self.values.load(Ordering::Relaxed) > HONEST_VALUES {
            return Err(PlatformError::new(ErrorKind::Unavailable, "the backend is away"));
        }
        self.inner.leftovers(cluster).await
    }

    async fn raw(&self, instance: &InstanceRef) -> Result<Option<String>, PlatformError> {
        self.inner.raw(instance).await
    }

    fn host(&self) -> Option<Command> {
        let mut host = self.inner.host()?;
        if self.lie == Lie::LosesWhatTheDeadBegan {
            host.env(super::HOSTED_VARIABLE, self.folder.join("elsewhere"));
        }
        Some(host)
    }

    async fn lookalike(&self, _cluster: &ClusterId, _runner: RunnerKey) -> Option<Box<dyn Lookalike>> {
        Some(Box::new(Foreign(self.touched.clone())))
    }
}

/// What a platform touches that lies so.
#[derive(Debug)]
struct Foreign(Arc<AtomicBool>);

#[async_trait]
impl Lookalike for Foreign {
    async fn is_untouched(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    async fn remove(self: Box<Self>) {}
}

/// A platform that lies.
struct Lying {
    inner: Arc<dyn Platform>,
    lie: Lie,
    description: Description,
    folder: PathBuf,
    touched: Arc<AtomicBool>,
    known: Arc<Mutex<Known>>,
    /// Where creates meet that have looked.
    looked: Barrier,
}

/// What it remembers so as to lie better.
#[derive(Debug, Default)]
pub(crate) struct Known {
    clusters: BTreeSet<ClusterId>,
    created: BTreeMap<RunnerKey, InstanceSpec>,
    marked: BTreeSet<RunnerKey>,
    hidden: BTreeSet<RunnerKey>,
}

fn twin(key: RunnerKey) -> RunnerKey {
    RunnerKey(key.0 + (1 << 40))
}

fn existed(spec: &InstanceSpec) -> Created {
    Created::new(InstanceRef::new(spec.cluster.clone(), spec.runner, spec.runner.to_string()), true)
}

impl Lying {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// Whether this key was not marked before.
    fn marks(&self, key: RunnerKey) -> bool {
        self.known().marked.insert(key)
    }

    async fn ended(&self, instance: &InstanceRef) -> bool {
        let seen = self.inner.observe(&instance.cluster).await.unwrap();
        seen.iter().any(|status| status.instance.runner == instance.runner && status.ended())
    }

    async fn again(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        self.inner.remove_instance(&existed(spec).instance, RemoveOptions::forced()).await?;
        self.inner.create_instance(spec).await?;
        Ok(existed(spec))
    }

    /// What it does before it creates, instead of only that.
    async fn before_create(&self, spec: &InstanceSpec) -> Option<Result<Created, PlatformError>> {
        let first = self.known().created.insert(spec.runner, spec.clone()).is_none();
        match self.lie {
            Lie::StartsNothing => {
                let mut created = existed(spec);
                created.existed = false;
                return Some(Ok(created));
            }
            Lie::TouchesTheForeign => self.touched.store(true, Ordering::Relaxed),
            Lie::StartsTwice => {
                let mut other = spec.clone();
                other.runner = twin(spec.runner);
                self.inner.create_instance(&other).await.unwrap();
            }
            Lie::MarksBeforeItCreates => {
                if !self.marks(spec.runner) {
                    return Some(Ok(existed(spec)));
                }
                yield_now().await;
            }
            Lie::RestartsForTheFuture if spec.generation > Epoch(5) => return Some(self.again(spec).await),
            Lie::RevivesTheEnded if self.ended(&existed(spec).instance).await => {
                return Some(self.again(spec).await);
            }
            Lie::BootCounts if !first => {
                return Some(Err(PlatformError::new(ErrorKind::Conflict, "another boot document")));
            }
            Lie::LeavesAFile => {
                let name = format!("{}-{}.json", spec.cluster, spec.runner);
                std::fs::write(self.folder.join(name), spec.boot.expose()).unwrap();
            }
            _ => {}
        }
        None
    }

    /// What it tells of a create.
    async fn after_create(
        &self,
        spec: &InstanceSpec,
        was_there: bool,
        answer: Result<Created, PlatformError>,
    ) -> Result<Created, PlatformError> {
        let refused_as = |kind| answer.as_ref().is_err_and(|error| error.kind == kind);
        match self.lie {
            Lie::OtherIsTheSame if refused_as(ErrorKind::Conflict) => return Ok(existed(spec)),
            Lie::ObeysThePast if refused_as(ErrorKind::Stale) => return Ok(existed(spec)),
            Lie::MissingRuns if refused_as(ErrorKind::Missing) => return Ok(existed(spec)),
            _ => {}
        }
        let mut created = answer?;
        match self.lie {
            Lie::NeverExisted => created.existed = false,
            Lie::ChecksThenActs => created.existed = was_there,
            Lie::RemembersTheRemoved => created.existed = !self.marks(spec.runner),
            _ => {}
        }
        Ok(created)
    }

    /// What it tells of an instance; nothing, if it hides it.
    fn tell(&self, mut status: InstanceStatus) -> Option<InstanceStatus> {
        let key = status.instance.runner;
        let hidden = key >= twin(RunnerKey(0)) || self.known().hidden.contains(&key);
        // Later than anybody looks.
        if hidden || self.lie == Lie::SeesLate {
            return None;
        }
        if self.lie == Lie::SaysStoppingIsEnded && status.state == InstanceState::Stopping {
            status.state = InstanceState::Ended(Exit::new(true));
        }
        let InstanceState::Ended(exit) = &mut status.state else { return Some(status) };
        match (self.lie, exit.signal) {
            (Lie::ForgetsTheQuick, _) if exit.code == Some(7) => return None,
            (Lie::BareErrno, _) => exit.message = Some("Permission denied (os error 13)".to_owned()),
            (Lie::ZeroIsTheCode, _) => exit.code = Some(0),
            (Lie::SignalIsACode, Some(signal)) => (exit.code, exit.signal) = (Some(128 + signal), None),
            (Lie::NoMemoryIsFalse, _) => exit.oom = Some(false),
            (Lie::AnyNoMemoryIsItsOwn, _) => exit.oom = Some(self.is_bounded(key)),
            (Lie::EverybodyAsked, _) => exit.asked = true,
            _ => {}
        }
        Some(status)
    }

    fn is_bounded(&self, key: RunnerKey) -> bool {
        self.known().created.get(&key).is_some_and(|spec| spec.needs.limits.memory_bytes.is_some())
    }

    /// Whom a stop or a removal is taken to mean.
    fn meant(&self, instance: &InstanceRef) -> InstanceRef {
        let mut meant = instance.clone();
        if self.lie == Lie::TrustsNatives {
            meant.runner = instance.native.parse().unwrap_or(instance.runner);
        }
        meant
    }

    /// What it asks for instead.
    fn change(&self, spec: &mut InstanceSpec) {
        match self.lie {
            Lie::DropsEnvironment => spec.env.clear(),
            Lie::CutsValues => spec.env.values_mut().for_each(|value| {
                value.truncate(value.floor_char_boundary(CUT_AT));
            }),
            Lie::OnlyAscii => {
                spec.env.values_mut().for_each(|value| value.retain(|letter| letter.is_ascii()))
            }
            Lie::BootInTheEnvironment => {
                let boot = String::from_utf8_lossy(spec.boot.expose()).into_owned();
                spec.env.insert("BOOT".to_owned(), boot);
            }
            Lie::NoMemoryIsAKill | Lie::AnyNoMemoryIsItsOwn => bound(spec),
            _ => {}
        }
    }

    /// What it does when it sees an end.
    async fn meddle(&self, seen: &[InstanceStatus]) {
        for status in seen {
            let InstanceState::Ended(exit) = &status.state else { continue };
            let key = status.instance.runner;
            if self.lie == Lie::Restarts && self.marks(key) {
                let spec = self.known().created.get(&key).cloned();
                self.again(&spec.unwrap()).await.unwrap();
            }
            if self.lie == Lie::CrashSpreads && exit.signal == Some(6) {
                for other in seen {
                    self.inner.stop_instance(&other.instance, Duration::ZERO).await.unwrap();
                }
            }
        }
    }

    /// What it does with a line of output.
    fn tell_line(&self, line: &mut OutputLine) {
        match self.lie {
            Lie::HidesLosses => line.lost_bytes = 0,
            Lie::OneStream => line.stream = Stream::Stdout,
            _ => {}
        }
    }
}

/// Has the shell bound the memory of a program, where the platform cannot.
fn bound(spec: &mut InstanceSpec) {
    let Some(bytes) = spec.needs.limits.memory_bytes.take() else { return };
    for source in &mut spec.program {
        let ProgramSource::Binary { path, args } = source else { continue };
        let bounded =
            ["-c", "ulimit -v \"$0\" && exec \"$@\"", &(bytes >> 10).to_string()].map(str::to_owned);
        let program = path.to_str().unwrap().to_owned();
        *args = bounded.into_iter().chain([program]).chain(std::mem::take(args)).collect();
        *path = "/bin/sh".into();
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Lying {
    fn describe(&self) -> &Description {
        &self.description
    }

    async fn probe(&self, probe: Probe) -> Result<Health, PlatformError> {
        self.inner.probe(probe).await
    }

    async fn prepare(&self, cluster: &ClusterSpec) -> Result<ClusterAccess, PlatformError> {
        self.known().clusters.insert(cluster.cluster.clone());
        if self.lie == Lie::IsNeverReady {
            return std::future::pending().await;
        }
        self.inner.prepare(cluster).await
    }

    async fn create_instance(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        if let Some(answer) = self.before_create(spec).await {
            return answer;
        }
        let there = self.inner.observe(&spec.cluster).await?;
        let was_there = there.iter().any(|status| status.instance.runner == spec.runner);
        if self.lie == Lie::ChecksThenActs {
            timeout(LOOKING_TIME, self.looked.wait()).await.unwrap();
        }
        let mut spec = spec.clone();
        self.change(&mut spec);
        let answer = self.inner.create_instance(&spec).await;
        self.after_create(&spec, was_there, answer).await
    }

    async fn observe(&self, cluster: &ClusterId) -> Result<Vec<InstanceStatus>, PlatformError> {
        let mut seen = self.inner.observe(cluster).await?;
        if self.lie == Lie::SeesAllClusters {
            let others: Vec<_> =
                self.known().clusters.iter().filter(|other| *other != cluster).cloned().collect();
            for other in others {
                seen.extend(self.inner.observe(&other).await?);
            }
        }
        if self.lie == Lie::LosesStopsOfTheUnseen {
            self.known().marked.extend(seen.iter().map(|status| status.instance.runner));
        }
        self.meddle(&seen).await;
        let mut told: Vec<_> = seen.into_iter().filter_map(|status| self.tell(status)).collect();
        if self.lie == Lie::TellsWhatIsNotThere {
            let next = RunnerKey(self.known().created.keys().last().map_or(1, |key| key.0 + 1));
            let phantom = InstanceRef::new(cluster.clone(), next, next.to_string());
            told.push(InstanceStatus::new(phantom, Digest::of(b""), Epoch(5), InstanceState::Running));
        }
        Ok(told)
    }

    async fn watch(&self, cluster: &ClusterId) -> Result<BoxStream<Wake>, PlatformError> {
        self.inner.watch(cluster).await
    }

    async fn logs(
        &self,
        instance: &InstanceRef,
        mut options: LogOptions,
    ) -> Result<BoxStream<Result<OutputLine, PlatformError>>, PlatformError> {
        let follows = options.follow;
        match self.lie {
            Lie::OutputIsEmpty => return Ok(Box::pin(stream::empty())),
            Lie::ForgetsOutput if self.ended(instance).await => return Ok(Box::pin(stream::empty())),
            Lie::DoesNotFollow => options.follow = false,
            Lie::TellsTheOldest => options.tail = None,
            _ => {}
        }
        let lines = self.inner.logs(instance, options).await?;
        match self.lie {
            Lie::FollowsForEver if follows => return Ok(Box::pin(lines.chain(stream::pending()))),
            Lie::LosesTheLateReader if follows => return Ok(Box::pin(lines.take(1000))),
            Lie::TellsTheOldest => return Ok(Box::pin(lines.take(2))),
            Lie::LosesTheLastLine | Lie::HidesLosses | Lie::OneStream => {}
            _ => return Ok(lines),
        }
        let mut all: Vec<_> = lines.collect().await;
        if self.lie == Lie::LosesTheLastLine {
            all.pop();
        }
        all.iter_mut().flatten().for_each(|line| self.tell_line(line));
        Ok(Box::pin(stream::iter(all)))
    }

    async fn stop_instance(&self, instance: &InstanceRef, grace: Duration) -> Result<(), PlatformError> {
        let created = self.known().created.contains_key(&instance.runner);
        let grace = match self.lie {
            Lie::StopsNothing => return Ok(()),
            Lie::StopOfNothingIsAnError if !created => {
                return Err(PlatformError::new(ErrorKind::Missing, "there is no such instance"));
            }
            Lie::LosesStopsOfTheUnseen if !self.known().marked.contains(&instance.runner) => return Ok(()),
            Lie::HearsTheFirstStop if !self.marks(instance.runner) => return Ok(()),
            Lie::SecondStopIsAnError if !self.marks(instance.runner) => {
                return Err(PlatformError::new(ErrorKind::Conflict, "it was asked already"));
            }
            Lie::MarksBeforeItStops => {
                if !self.marks(instance.runner) {
                    return Ok(());
                }
                yield_now().await;
                grace
            }
            Lie::GivesNoGrace => Duration::ZERO,
            Lie::GivesAllGrace => Duration::from_secs(3600),
            _ => grace,
        };
        self.inner.stop_instance(&self.meant(instance), grace).await
    }

    async fn remove_instance(
        &self,
        instance: &InstanceRef,
        mut options: RemoveOptions,
    ) -> Result<(), PlatformError> {
        match self.lie {
            Lie::RemovesWhatRuns => options = RemoveOptions::forced(),
            Lie::RemovesNothing if !options.force => return Ok(()),
            Lie::ForceHides if options.force => {
                self.known().hidden.insert(instance.runner);
                return Ok(());
            }
            Lie::RemovalOfNothingIsAnError => {
                let seen = self.inner.observe(&instance.cluster).await?;
                if !seen.iter().any(|status| status.instance.runner == instance.runner) {
                    return Err(PlatformError::new(ErrorKind::Missing, "there is no such instance"));
                }
            }
            Lie::MarksBeforeItRemoves => {
                if !self.marks(instance.runner) {
                    return Ok(());
                }
                yield_now().await;
            }
            _ => {}
        }
        self.inner.remove_instance(&self.meant(instance), options).await
    }

    async fn release(&self, cluster: &ClusterId, options: ReleaseOptions) -> Result<Released, PlatformError> {
        if self.lie == Lie::ReleasesNothing {
            return Ok(Released::nothing());
        }
        self.inner.release(cluster, options).await
    }
}

impl fmt::Debug for Lying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lie == Lie::DebugTells {
            for spec in self.known().created.values() {
                write!(f, "{}", String::from_utf8_lossy(spec.boot.expose()))?;
            }
        }
        write!(f, "Lying({:?})", self.lie)
    }
}
