//! What every check works with: a cluster of its own, a platform, the Controller that probes dial, and time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ftl_core::key::{Epoch, RunnerKey};
use ftl_core::name::{ClusterId, Language};
use ftl_core::platform::{
    Capability, Created, ErrorKind, Exit, InstanceRef, InstanceSpec, InstanceState, InstanceStatus,
    PlatformError,
};
use ftl_core::{Platform, PlatformExt, Secret};
use tokio::time::{Instant, sleep, timeout};

use crate::check::{Flaw, Verdict, chain};
use crate::controller::{Controller, Probe};
use crate::fixture::Fixture;
use crate::host::Asked;

/// The Controller's life that asks, unless a check is about others.
pub(crate) const GENERATION: Epoch = Epoch(5);
/// What probes are said to be.
const LANGUAGE: &str = "rust";

/// How many waits a platform may take to be made ready: it may have an image to load.
const WAITS_TO_PREPARE: u32 = 4;

/// The shortest waits of a run, however fast its backend is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Waits {
    /// For what must happen. Who keeps his promises does not notice it, so it allows for a machine that has no time.
    pub patience: Duration,
    /// For what must not happen. Everybody pays for it.
    pub quiet: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { patience: Duration::from_secs(20), quiet: Duration::from_millis(500) }
    }
}

/// How long to wait, found by starting some probes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// For what must happen.
    pub(crate) patience: Duration,
    /// What a start takes.
    pub(crate) start: Duration,
    /// For what must not happen: long enough for a start.
    pub(crate) quiet: Duration,
    /// Between two looks.
    pub(crate) look: Duration,
}

impl Times {
    /// From the slowest of some starts.
    pub(crate) fn of(start: Duration, least: Waits) -> Self {
        Self {
            start,
            patience: (start * 10).max(least.patience),
            quiet: (start * 2).max(least.quiet),
            look: (start / 20).clamp(Duration::from_millis(2), Duration::from_millis(100)),
        }
    }
}

/// What a check works with.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) fixture: Arc<dyn Fixture>,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) controller: Controller,
    pub(crate) cluster: ClusterId,
    pub(crate) times: Times,
    language: Language,
    /// Where probes are told to dial.
    dial: Vec<String>,
    keys: AtomicU64,
}

/// A probe that runs.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) spec: InstanceSpec,
    pub(crate) instance: InstanceRef,
    pub(crate) probe: Arc<Probe>,
}

impl Live {
    pub(crate) fn key(&self) -> RunnerKey {
        self.spec.runner
    }
}

impl Bench {
    /// A bench whose cluster is not made [`ready`](Self::ready) yet.
    pub(crate) async fn new(fixture: Arc<dyn Fixture>, cluster: &str, times: Times) -> Result<Self, Flaw> {
        let name = |error: ftl_core::name::NameError| Flaw::broken(error.to_string());
        let controller = Controller::listen().await;
        let controller = controller
            .map_err(|error| Flaw::not_proven(format!("the suite cannot listen: {}", chain(&error))))?;
        let platform = make(&*fixture, times.patience).await?;
        Ok(Self {
            fixture,
            platform,
            controller,
            cluster: cluster.parse().map_err(name)?,
            times,
            language: LANGUAGE.parse().map_err(name)?,
            dial: Vec::new(),
            keys: AtomicU64::new(1),
        })
    }

    /// Makes the platform ready for the cluster, and listens where it asks for.
    pub(crate) async fn ready(&mut self) -> Verdict {
        self.dial = self.prepare(&*self.platform, true).await?;
        Ok(())
    }

    /// Makes a platform ready for the cluster; `listen` at what it asks for, the first time.
    async fn prepare(&self, platform: &dyn Platform, listen: bool) -> Result<Vec<String>, Flaw> {
        // For no instance: it is the cluster that is made ready.
        let asked = self.asked(RunnerKey(0), String::new());
        let limit = self.times.patience * WAITS_TO_PREPARE;
        let access = timeout(limit, platform.prepare(&asked.cluster(&*self.fixture))).await;
        let access = access.map_err(|_| Flaw::broken(format!("prepare did not end within {limit:?}")))??;
        for address in access.listen.iter().filter(|_| listen) {
            let bound = self.controller.listen_also(*address).await;
            bound.map_err(|error| {
                Flaw::not_proven(format!("the suite cannot listen at {address}: {}", chain(&error)))
            })?;
        }
        Ok(access.controllers)
    }

    /// A new value over the same backend, made ready: a Controller that starts.
    pub(crate) async fn fresh(&self) -> Result<Arc<dyn Platform>, Flaw> {
        let platform = self.fixture.platform().await?;
        self.prepare(&*platform, false).await?;
        Ok(platform)
    }

    pub(crate) fn can(&self, capability: Capability) -> bool {
        self.platform.describe().can(capability)
    }

    /// A key that nothing has.
    pub(crate) fn key(&self) -> RunnerKey {
        RunnerKey(self.keys.fetch_add(1, Ordering::Relaxed))
    }

    /// What the instance of this key proves itself with: a text that stands nowhere else.
    pub(crate) fn secret(&self, key: RunnerKey) -> String {
        format!("hush-{}-{key}-hush", self.cluster)
    }

    /// The forms in which a secret could be seen.
    pub(crate) fn needles(&self, key: RunnerKey) -> [String; 2] {
        let secret = self.secret(key);
        let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        [secret, hex]
    }

    /// What a Controller is told of the instance of this key.
    pub(crate) fn asked(&self, runner: RunnerKey, secret: String) -> Asked {
        Asked {
            cluster: self.cluster.clone(),
            runner,
            language: self.language.clone(),
            generation: GENERATION,
            listening: self.controller.listening().to_vec(),
            dial: self.dial.clone(),
            secret,
        }
    }

    /// The boot document of a key.
    pub(crate) fn boot(&self, key: RunnerKey, secret: String) -> Secret {
        self.asked(key, secret).boot()
    }

    /// What to start: a probe under a new key.
    pub(crate) fn spec(&self) -> InstanceSpec {
        let key = self.key();
        self.asked(key, self.secret(key)).instance(&*self.fixture)
    }

    pub(crate) async fn create(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        self.platform.create_runner(spec).await
    }

    /// Starts a probe, and waits until it registers.
    pub(crate) async fn start(&self) -> Result<Live, Flaw> {
        self.start_on(&*self.platform, self.spec()).await
    }

    pub(crate) async fn start_on(&self, platform: &dyn Platform, spec: InstanceSpec) -> Result<Live, Flaw> {
        let instance = platform.create_runner(&spec).await?.instance;
        let probe = self.registered(spec.runner).await?;
        Ok(Live { spec, instance, probe })
    }

    /// Waits for the first process of this key.
    pub(crate) async fn registered(&self, key: RunnerKey) -> Result<Arc<Probe>, Flaw> {
        let first = || async { Ok(self.controller.probes(key).first().cloned()) };
        self.until(&format!("runner {key} registers"), first).await
    }

    /// How many processes were started under this key.
    pub(crate) fn starts(&self, key: RunnerKey) -> usize {
        self.controller.probes(key).len()
    }

    /// What the platform tells of this key.
    pub(crate) async fn status(&self, key: RunnerKey) -> Result<Option<InstanceStatus>, Flaw> {
        self.status_on(&*self.platform, key).await
    }

    pub(crate) async fn status_on(
        &self,
        platform: &dyn Platform,
        key: RunnerKey,
    ) -> Result<Option<InstanceStatus>, Flaw> {
        let mut ours = platform.observe(&self.cluster).await?;
        ours.retain(|status| status.instance.runner == key);
        match ours.len() {
            0 | 1 => Ok(ours.pop()),
            many => Err(Flaw::broken(format!("observe tells of {many} instances of runner {key}"))),
        }
    }

    /// Waits until an instance is told to run: its program may say hello a moment before its platform knows.
    pub(crate) async fn running_on(
        &self,
        platform: &dyn Platform,
        key: RunnerKey,
    ) -> Result<InstanceStatus, Flaw> {
        let running = || async {
            match self.status_on(platform, key).await? {
                None => Err(Flaw::broken(format!("runner {key} runs, and nothing is told of it"))),
                Some(status) => match status.state {
                    InstanceState::Pending => Ok(None),
                    InstanceState::Running => Ok(Some(status)),
                    other => Err(Flaw::broken(format!("runner {key} runs, and is told to be {other:?}"))),
                },
            }
        };
        self.until(&format!("runner {key} is seen to run"), running).await
    }

    /// Waits for the end of an instance.
    pub(crate) async fn ended(&self, key: RunnerKey) -> Result<Exit, Flaw> {
        self.ended_on(&*self.platform, key).await
    }

    pub(crate) async fn ended_on(&self, platform: &dyn Platform, key: RunnerKey) -> Result<Exit, Flaw> {
        let end = || async {
            Ok(match self.status_on(platform, key).await? {
                Some(InstanceStatus { state: InstanceState::Ended(exit), .. }) => Some(exit),
                _ => None,
            })
        };
        self.until(&format!("runner {key} is seen to have ended"), end).await
    }

    /// Waits until a process is no more.
    pub(crate) async fn gone(&self, probe: &Probe) -> Result<(), Flaw> {
        let what = format!("the process {probe:?} is gone");
        self.until(&what, || async { Ok(probe.is_gone().await.then_some(())) }).await
    }

    /// Waits for something that must happen.
    pub(crate) async fn until<T, F>(&self, what: &str, mut look: impl FnMut() -> F) -> Result<T, Flaw>
    where
        F: Future<Output = Result<Option<T>, Flaw>>,
    {
        let deadline = Instant::now() + self.times.patience;
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let waited = self.times.patience.as_secs_f64();
                return Err(Flaw::broken(format!("still not so {waited:.1} s later: {what}")));
            }
            sleep(self.times.look).await;
        }
    }

    /// Waits for something that must not happen, for as long as it could take.
    pub(crate) async fn never<F>(&self, what: &str, mut look: impl FnMut() -> F) -> Result<(), Flaw>
    where
        F: Future<Output = Result<bool, Flaw>>,
    {
        let deadline = Instant::now() + self.times.quiet;
        loop {
            if look().await? {
                return Err(Flaw::broken(what.to_owned()));
            }
            if Instant::now() > deadline {
                return Ok(());
            }
            sleep(self.times.look).await;
        }
    }

    /// Makes sure that exactly one process was ever started under this key.
    pub(crate) async fn one_start(&self, key: RunnerKey) -> Result<(), Flaw> {
        self.registered(key).await?;
        self.no_second_start(&[key]).await
    }

    /// Makes sure that no more than one process was ever started under each of these keys: a second one may say so late.
    pub(crate) async fn no_second_start(&self, keys: &[RunnerKey]) -> Result<(), Flaw> {
        let twice = || keys.iter().find(|key| self.starts(**key) > 1);
        self.never("an instance was started twice", || async { Ok(twice().is_some()) }).await.map_err(
            |flaw| twice().map_or(flaw, |key| Flaw::broken(format!("runner {key} was started twice"))),
        )
    }

    /// What the backend holds of the cluster, in order.
    pub(crate) async fn leftovers(&self) -> Result<Vec<String>, Flaw> {
        let looked = timeout(self.times.patience, self.fixture.leftovers(&self.cluster)).await;
        let found = looked.map_err(|_| Flaw::broken("a look at what the backend holds did not end"))??;
        let mut found =
            found.ok_or_else(|| Flaw::not_proven("the fixture cannot tell what the backend holds"))?;
        found.sort();
        Ok(found)
    }

    /// Waits until the backend holds just this. A look that fails says nothing: there is time for another one.
    pub(crate) async fn holds(&self, expected: &[String]) -> Verdict {
        let deadline = Instant::now() + self.times.patience;
        loop {
            let found = self.leftovers().await;
            let over = Instant::now() > deadline || matches!(found, Err(Flaw::NotProven(_)));
            match found {
                Ok(found) if found == expected => return Ok(()),
                Ok(mut found) if over => {
                    found.retain(|item| !expected.contains(item));
                    return Err(Flaw::broken(format!("left behind: {}", found.join(", "))));
                }
                Err(flaw) if over => return Err(flaw),
                _ => sleep(self.times.look).await,
            }
        }
    }
}

/// Makes a platform, in time.
pub(crate) async fn make(
    fixture: &dyn Fixture,
    within: Duration,
) -> Result<Arc<dyn Platform>, PlatformError> {
    timeout(within, fixture.platform()).await.unwrap_or_else(|_| {
        let message = format!("the platform was not made within {within:?}");
        Err(PlatformError::new(ErrorKind::Timeout, message))
    })
}
