//! A Controller that keeps everything in memory, and carries out a change while it is asked for it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::lock;
use crate::artefact::ARTEFACT_READ_BYTES_MAX;
use crate::boot::Boot;
use crate::call::{Call, Reply, VerbService};
use crate::controller::{
    BoxStream, ChangeSpec, ChangeState, ChangeStatus, Controller, ControllerError, LogLine, LogQuery,
    ModuleStatus, Operator, REPLICAS_MAX, ReplicaStatus, Wanted,
};
use crate::deployment::{DeploymentInfo, DeploymentSpec};
use crate::digest::Digest;
use crate::failure::{CallError, Failure};
use crate::key::{ChangeId, DeploymentId, Epoch, Instance, Replica, RunnerKey, Session, TableVersion};
use crate::name::{ChangeRequest, ClusterId, ModuleName, RequestId};
use crate::platform::{InstanceRef, InstanceSpec, Platform, PlatformExt, ProgramSource, RemoveOptions};
use crate::routing::{Counted, Router, RoutingTable, Row};
use crate::runner::{Crash, Order, Runner};
use crate::schema::Module;
use crate::secret::Secret;
use crate::sequence::{Actor, Event};

/// The one life of this Controller.
const EPOCH: Epoch = Epoch(1);
/// How long a replica that is replaced may take to finish its calls.
const GRACE: Duration = Duration::from_secs(30);

/// The reference Controller. Its Runners reach it through a supervisor of their own.
pub struct MemoryController {
    cluster: ClusterId,
    program: String,
    platforms: Vec<Arc<dyn Platform>>,
    router: Router<Counted<Arc<dyn Runner>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    artefacts: HashMap<Digest, Bytes>,
    deployments: HashMap<DeploymentId, DeploymentSpec>,
    requests: HashMap<ChangeRequest, (ChangeSpec, ChangeId)>,
    changes: BTreeMap<ChangeId, ChangeState>,
    serving: BTreeMap<ModuleName, Wanted>,
    slots: BTreeMap<RunnerKey, Slot>,
    keys: u64,
    tables: u64,
}

/// One replica.
#[derive(Clone)]
pub(super) struct Slot {
    wanted: Wanted,
    runner: Option<(Arc<dyn Runner>, Instance)>,
    pub(super) ready: bool,
    pub(super) crash: Option<Crash>,
}

impl MemoryController {
    /// A Controller over these platforms, whose Runners are the program registered as `program`.
    #[must_use]
    pub fn new(cluster: ClusterId, program: &str, platforms: Vec<Arc<dyn Platform>>) -> Self {
        let program = program.to_owned();
        Self { cluster, program, platforms, router: Router::new(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The slot of a Runner, to look at and to change.
    pub(super) fn with_slot<T>(
        &self,
        key: RunnerKey,
        change: impl FnOnce(&mut Slot) -> T,
    ) -> Result<T, ControllerError> {
        self.state().slots.get_mut(&key).map(change).ok_or(ControllerError::Gone)
    }

    pub(super) fn register(
        &self,
        key: RunnerKey,
        instance: Instance,
        runner: Arc<dyn Runner>,
    ) -> Result<Order, ControllerError> {
        self.with_slot(key, |slot| slot.runner = Some((runner, instance)))?;
        Ok(Order { epoch: EPOCH, session: Session(key.0) })
    }

    pub(super) fn spec(&self, id: &DeploymentId) -> Result<DeploymentSpec, ControllerError> {
        self.state().deployments.get(id).cloned().ok_or_else(|| ControllerError::NotFound {
            what: "deployment".to_owned(),
            name: id.short(),
            hint: None,
        })
    }

    /// The deployment that a Runner was created for.
    pub(super) fn deployment_of(&self, key: RunnerKey) -> Result<DeploymentId, ControllerError> {
        self.with_slot(key, |slot| slot.wanted.deployment.clone())
    }

    pub(super) fn range(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError> {
        let state = self.state();
        let bytes =
            state.artefacts.get(&digest).ok_or_else(|| ControllerError::MissingArtefacts(vec![digest]))?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let to = bytes.len().min(from.saturating_add(ARTEFACT_READ_BYTES_MAX));
        Ok(bytes.slice(from..to))
    }

    pub(super) async fn carry(&self, call: Call) -> Result<Reply, CallError> {
        self.router.call(call).await
    }

    /// Brings every module of a change to what is wanted, then switches all of them at once.
    async fn roll(&self, change: &ChangeSpec) -> Result<(), String> {
        let mut started = Vec::new();
        for wanted in &change.wanted {
            for _ in self.slots_of(wanted).len()..usize::from(wanted.replicas) {
                let key = self.add_slot(wanted);
                started.push(key);
                if let Err(reason) = self.start(key, wanted).await {
                    self.end(started).await;
                    return Err(format!("{}: {reason}", wanted.deployment.module()));
                }
            }
        }
        for wanted in &change.wanted {
            self.state().serving.insert(wanted.deployment.module().clone(), wanted.clone());
        }
        self.publish();
        let surplus = self.surplus();
        self.drain(&surplus).await;
        self.end(surplus).await;
        Ok(())
    }

    fn slots_of(&self, wanted: &Wanted) -> Vec<RunnerKey> {
        let state = self.state();
        let same = |slot: &Slot| {
            slot.wanted.deployment == wanted.deployment
                && slot.wanted.platform == wanted.platform
                && slot.ready
        };
        state.slots.iter().filter(|(_, slot)| same(slot)).map(|(key, _)| *key).collect()
    }

    fn add_slot(&self, wanted: &Wanted) -> RunnerKey {
        let mut state = self.state();
        state.keys += 1;
        let key = RunnerKey(state.keys);
        state.slots.insert(key, Slot { wanted: wanted.clone(), runner: None, ready: false, crash: None });
        key
    }

    async fn start(&self, key: RunnerKey, wanted: &Wanted) -> Result<(), String> {
        let platform = self.platforms.iter().find(|platform| platform.describe().name == wanted.platform);
        let platform = platform.ok_or_else(|| format!("there is no platform `{}`", wanted.platform))?;
        let language = self.spec(&wanted.deployment).map_err(|error| error.to_string())?.language;
        let here = vec!["memory".to_owned()];
        // In one process nobody has to prove who he is.
        let secret = Secret::new(*b"memory");
        let boot = Boot::new(self.cluster.clone(), key, language.clone(), EPOCH, here, secret).to_document();
        let program = vec![ProgramSource::Registered(self.program.clone())];
        let mut spec = InstanceSpec::new(self.cluster.clone(), key, language, EPOCH, program, boot);
        spec.labels.insert("deployment".to_owned(), wanted.deployment.to_string());
        platform.create_runner(&spec).await.map_err(|error| error.to_string())?;
        let registered = self.with_slot(key, |slot| slot.runner.clone()).ok().flatten();
        let (runner, _) = registered.ok_or("its runner did not register")?;
        let order = Order { epoch: EPOCH, session: Session(key.0) };
        runner.deploy(order, &wanted.deployment).await.map_err(|failure| failure.to_string())?;
        let outcome = self.with_slot(key, |slot| (slot.ready, slot.crash.clone()));
        match outcome.map_err(|error| error.to_string())? {
            (true, _) => Ok(()),
            (false, crash) => {
                Err(crash.map_or_else(|| "it did not become ready".to_owned(), |crash| crash.reason))
            }
        }
    }

    /// **UpdateRoutingTable**: every ready replica of what serves.
    fn publish(&self) {
        let mut state = self.state();
        state.tables += 1;
        let version = TableVersion { epoch: EPOCH, seq: state.tables };
        let serves = |slot: &Slot| {
            state.serving.get(slot.wanted.deployment.module()).is_some_and(|wanted| {
                wanted.deployment == slot.wanted.deployment && wanted.platform == slot.wanted.platform
            })
        };
        let ready = state.slots.iter().filter(|(_, slot)| slot.ready && serves(slot));
        let (mut rows, mut ways) = (Vec::new(), HashMap::new());
        for (key, slot) in ready {
            let Some((runner, instance)) = &slot.runner else { continue };
            let deployment = slot.wanted.deployment.clone();
            let replica = Replica { runner: *key, instance: *instance };
            rows.push(Row { module: deployment.module().clone(), deployment, replica });
            ways.insert(*key, Counted::new(runner.clone()));
        }
        let modules = state.serving.values().filter_map(|wanted| state.deployments.get(&wanted.deployment));
        let modules = modules.map(|spec| Arc::new(spec.schema.clone())).collect();
        Event::new(Actor::Controller, Actor::Controller, "UpdateRoutingTable", "", &version.seq.to_string())
            .record();
        let table = RoutingTable { version, modules, rows };
        let updated = self.router.update_routing_table(table, |row| ways.get(&row.replica.runner).cloned());
        debug_assert!(updated.is_ok(), "this is the only writer, and its versions grow");
    }

    /// Replicas that nobody wants: of a former version, or more than were asked for.
    fn surplus(&self) -> Vec<RunnerKey> {
        let mut state = self.state();
        let mut left: HashMap<ModuleName, u16> =
            state.serving.iter().map(|(module, wanted)| (module.clone(), wanted.replicas)).collect();
        let State { slots, serving, .. } = &mut *state;
        let mut surplus = Vec::new();
        for (key, slot) in slots.iter() {
            let module = slot.wanted.deployment.module();
            let same = serving.get(module).is_some_and(|wanted| {
                wanted.deployment == slot.wanted.deployment && wanted.platform == slot.wanted.platform
            });
            match left.get_mut(module) {
                Some(left) if same && *left > 0 => *left -= 1,
                _ => surplus.push(*key),
            }
        }
        surplus
    }

    async fn drain(&self, keys: &[RunnerKey]) {
        for key in keys {
            if let Ok(Some((runner, _))) = self.with_slot(*key, |slot| slot.runner.clone()) {
                let order = Order { epoch: EPOCH, session: Session(key.0) };
                // What cannot be drained is ended all the same.
                let _ = runner.drain(order, GRACE).await;
            }
        }
    }

    async fn end(&self, keys: Vec<RunnerKey>) {
        for key in keys {
            let slot = self.state().slots.remove(&key);
            let Some(slot) = slot else { continue };
            let platform =
                self.platforms.iter().find(|platform| platform.describe().name == slot.wanted.platform);
            let Some(platform) = platform else { continue };
            let instance = InstanceRef::new(self.cluster.clone(), key, key.to_string());
            let _ = platform.stop_instance(&instance, GRACE).await;
            let _ = platform.remove_instance(&instance, RemoveOptions::forced()).await;
        }
    }

    fn check(&self, change: &ChangeSpec) -> Result<(), ControllerError> {
        for wanted in &change.wanted {
            self.spec(&wanted.deployment)?;
            let module = wanted.deployment.module();
            let invalid =
                |message: String| ControllerError::Invalid { field: format!("wanted.{module}"), message };
            if !(1..=REPLICAS_MAX).contains(&wanted.replicas) {
                return Err(invalid(format!("{} replicas: 1 to {REPLICAS_MAX} can be had", wanted.replicas)));
            }
            if change.wanted.iter().filter(|other| other.deployment.module() == module).count() > 1 {
                return Err(invalid("it stands twice in one change".to_owned()));
            }
        }
        Ok(())
    }

    fn module_status(&self, wanted: &Wanted) -> ModuleStatus {
        let state = self.state();
        let mut status = ModuleStatus::new(wanted);
        let of_it = state.slots.iter().filter(|(_, slot)| slot.wanted.deployment == wanted.deployment);
        for (key, slot) in of_it {
            status.ready += u16::from(slot.ready);
            status.replicas.push(ReplicaStatus::new(*key, if slot.ready { "ready" } else { "starting" }));
        }
        status
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for MemoryController {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        Event::new(Actor::Client, Actor::Controller, "Call", "reply", &call.head.target.to_string()).record();
        self.carry(call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Controller for MemoryController {
    async fn get_artefact_diffs(&self, digests: &[Digest]) -> Result<Vec<Digest>, ControllerError> {
        let id = digests.len().to_string();
        Event::new(Actor::Client, Actor::Controller, "GetArtefactDiffs", "missing_digests", &id).record();
        let state = self.state();
        Ok(digests.iter().copied().filter(|digest| !state.artefacts.contains_key(digest)).collect())
    }

    async fn upload_artefact(
        &self,
        digest: Digest,
        size: u64,
        mut body: BoxStream<io::Result<Bytes>>,
    ) -> Result<Digest, ControllerError> {
        Event::new(Actor::Client, Actor::Controller, "UploadArtefact", "digest", &digest.short()).record();
        let mut bytes = Vec::new();
        while let Some(Ok(chunk)) = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            bytes.extend_from_slice(&chunk);
        }
        if bytes.len() as u64 != size {
            return Err(ControllerError::Truncated { expected: size, found: bytes.len() as u64 });
        }
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(ControllerError::Corrupt { expected: digest, found });
        }
        self.state().artefacts.insert(digest, bytes.into());
        Ok(digest)
    }

    async fn create_deployment(&self, spec: DeploymentSpec) -> Result<DeploymentId, ControllerError> {
        let id = spec.id();
        Event::new(Actor::Client, Actor::Controller, "CreateDeployment", "id", spec.schema.name.as_str())
            .record();
        let mut state = self.state();
        let digests = spec.artefacts.digests();
        let missing: Vec<Digest> =
            digests.into_iter().filter(|digest| !state.artefacts.contains_key(digest)).collect();
        if !missing.is_empty() {
            return Err(ControllerError::MissingArtefacts(missing));
        }
        state.deployments.insert(id.clone(), spec);
        Ok(id)
    }

    async fn get_deployment(&self, id: &DeploymentId) -> Result<DeploymentInfo, ControllerError> {
        self.spec(id).map(|spec| DeploymentInfo::of(&spec))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Operator for MemoryController {
    async fn apply(&self, change: ChangeSpec) -> Result<ChangeId, ControllerError> {
        let modules: Vec<&str> =
            change.wanted.iter().map(|wanted| wanted.deployment.module().as_str()).collect();
        Event::new(Actor::Client, Actor::Controller, "Apply", "id", &modules.join(" ")).record();
        self.check(&change)?;
        let id = {
            let mut state = self.state();
            if let Some((known, id)) = state.requests.get(&change.request) {
                let same = *known == change;
                return if same {
                    Ok(*id)
                } else {
                    Err(ControllerError::Conflict(change.request.to_string()))
                };
            }
            let id = ChangeId(state.changes.len() as u64 + 1);
            state.requests.insert(change.request.clone(), (change.clone(), id));
            state.changes.insert(id, ChangeState::Rolling);
            id
        };
        let end = match self.roll(&change).await {
            Ok(()) => ChangeState::Committed,
            Err(reason) => ChangeState::Failed { reason },
        };
        self.state().changes.insert(id, end);
        Ok(id)
    }

    // Everything has happened by the time anybody can ask, so nothing newer is ever waited for.
    async fn change_status(&self, id: ChangeId, _newer_than: u64) -> Result<ChangeStatus, ControllerError> {
        let found = {
            let state = self.state();
            let spec = state.requests.values().find(|(_, known)| *known == id).map(|(spec, _)| spec.clone());
            state.changes.get(&id).cloned().zip(spec)
        };
        let Some((change, spec)) = found else {
            let (what, name) = ("change".to_owned(), id.to_string());
            return Err(ControllerError::NotFound { what, name, hint: None });
        };
        let modules = spec.wanted.iter().map(|wanted| self.module_status(wanted)).collect();
        Ok(ChangeStatus::new(id, 1, change, modules))
    }

    async fn status(&self) -> Result<Vec<ModuleStatus>, ControllerError> {
        let serving: Vec<Wanted> = self.state().serving.values().cloned().collect();
        Ok(serving.iter().map(|wanted| self.module_status(wanted)).collect())
    }

    async fn schemas(&self) -> Result<Vec<Module>, ControllerError> {
        let state = self.state();
        let specs = state.serving.values().filter_map(|wanted| state.deployments.get(&wanted.deployment));
        Ok(specs.map(|spec| spec.schema.clone()).collect())
    }

    async fn logs(
        &self,
        _query: LogQuery,
    ) -> Result<BoxStream<Result<LogLine, ControllerError>>, ControllerError> {
        Err(ControllerError::Denied("output of one process cannot be told apart by module".to_owned()))
    }
}

impl fmt::Debug for MemoryController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryController").field("router", &self.router).finish_non_exhaustive()
    }
}

/// The id of calls that a [`System`](super::System) makes for its user.
pub(super) fn request_id() -> Result<RequestId, ControllerError> {
    "memory".parse().map_err(|error| ControllerError::Denied(format!("{error}")))
}
