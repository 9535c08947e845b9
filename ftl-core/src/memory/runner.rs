//! A Runner that finds its user code in a [`Library`] of this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{UserCode, lock};
use crate::artefact::Manifest;
use crate::call::{Call, Reply, VerbService};
use crate::controller::ControllerError;
use crate::deployment::{Deployment, DeploymentInfo};
use crate::digest::Hasher;
use crate::failure::{CallError, Code, Failure};
use crate::key::{DeploymentId, RunnerKey};
use crate::name::ModuleName;
use crate::runner::{Crash, Order, Report, Runner, Supervisor};
use crate::schema::CallEdges;
use crate::sequence::{Actor, Event};

/// How long user code may take to answer its first ping.
const ALIVE: Duration = Duration::from_secs(20);

/// The user code that Runners of this process can start.
#[derive(Clone, Debug, Default)]
pub struct Library(Arc<Mutex<HashMap<ModuleName, UserCode>>>);

impl Library {
    /// Makes a module's user code known, in place of what was known of it.
    pub fn install(&self, code: UserCode) {
        lock(&self.0).insert(code.schema().name.clone(), code);
    }

    fn find(&self, module: &ModuleName) -> Option<UserCode> {
        lock(&self.0).get(module).cloned()
    }
}

/// A Runner whose Deployment is served in this process.
#[derive(Debug)]
pub struct MemoryRunner {
    key: RunnerKey,
    library: Library,
    supervisor: Arc<dyn Supervisor>,
    /// Set once: a Runner belongs to one deployment.
    code: OnceLock<Arc<UserCode>>,
    draining: Mutex<bool>,
}

impl MemoryRunner {
    /// A Runner that follows this Controller.
    #[must_use]
    pub fn new(key: RunnerKey, library: Library, supervisor: Arc<dyn Supervisor>) -> Self {
        Self { key, library, supervisor, code: OnceLock::new(), draining: Mutex::new(false) }
    }

    /// Fetches, verifies and starts.
    async fn bring_up(&self, order: Order, id: &DeploymentId) -> Result<(), Crash> {
        let unanswered = |error: ControllerError| Crash::new(format!("the Controller did not help: {error}"));
        let info = self.supervisor.get_deployment(id).await.map_err(unanswered)?;
        let manifest = self.supervisor.get_deployment_artefacts(id).await.map_err(unanswered)?;
        self.verify(&manifest).await?;
        let code = Arc::new(self.start(&info)?);
        Event::new(Actor::Runner, Actor::Deployment, "Ping", "ack", &id.short()).record();
        code.ping(Instant::now() + ALIVE).await.map_err(|failure| Crash::new(failure.to_string()))?;
        // A second Deploy of the same deployment finds it running.
        let _ = self.code.set(code);
        self.supervisor.deployed(order, id).await.map_err(unanswered)
    }

    /// Reads every artefact by ranges; a wrong byte ends it here.
    async fn verify(&self, manifest: &Manifest) -> Result<(), Crash> {
        for artefact in manifest.artefacts() {
            let (mut hasher, mut offset) = (Hasher::default(), 0);
            loop {
                let range = self.supervisor.read_artefact(artefact.digest, offset).await;
                let range =
                    range.map_err(|error| Crash::new(format!("artefact `{}`: {error}", artefact.path)))?;
                if range.is_empty() {
                    break;
                }
                offset += range.len() as u64;
                hasher.update(&range);
            }
            if hasher.finish() != artefact.digest || offset != artefact.size {
                return Err(Crash::new(format!("artefact `{}` is corrupt", artefact.path)));
            }
        }
        Ok(())
    }

    fn start(&self, info: &DeploymentInfo) -> Result<UserCode, Crash> {
        let module = info.module();
        let Some(code) = self.library.find(module) else {
            return Err(Crash::new(format!("no user code of module `{module}` is installed")));
        };
        let (promised, found) = (info.schema.hash(), code.schema().hash());
        if promised != found {
            let (promised, found) = (promised.short(), found.short());
            return Err(Crash::new(format!("the user code serves schema {found}, promised was {promised}")));
        }
        let up = Up { edges: info.schema.call_edges(), supervisor: self.supervisor.clone() };
        Ok(code.start(Arc::new(up)))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for MemoryRunner {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        Event::new(Actor::Controller, Actor::Runner, "Call", "reply", &call.head.target.to_string()).record();
        let refused = |why: String| Failure::new(Code::Unavailable, why).not_started(true);
        if *lock(&self.draining) {
            return Err(refused(format!("runner {} is draining", self.key)).into());
        }
        match self.code.get() {
            Some(code) => code.call(call).await,
            None => Err(refused(format!("nothing is deployed on runner {}", self.key)).into()),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Runner for MemoryRunner {
    // The outcome is reported before this returns: there are no tasks here that could report it later.
    async fn deploy(&self, order: Order, id: &DeploymentId) -> Result<(), Failure> {
        Event::new(Actor::Controller, Actor::Runner, "Deploy", "ack", &id.short()).record();
        if let Err(crash) = self.bring_up(order, id).await {
            let _ = self.supervisor.report(order, Report::Crashed(crash)).await;
        }
        Ok(())
    }

    async fn drain(&self, order: Order, grace: Duration) -> Result<(), Failure> {
        *lock(&self.draining) = true;
        if let Some(code) = self.code.get() {
            code.drain(Instant::now() + grace).await?;
        }
        let _ = self.supervisor.report(order, Report::Drained).await;
        Ok(())
    }
}

/// The way up for user code: the calls that its schema declares, and nothing else.
#[derive(Debug)]
struct Up {
    edges: CallEdges,
    supervisor: Arc<dyn Supervisor>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Up {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        self.supervisor.ping(deadline).await
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let (target, caller) =
            (call.head.target.to_string(), call.head.caller.as_ref().map(ToString::to_string));
        self.edges.check(&target, caller.as_deref())?;
        Event::new(Actor::Deployment, Actor::Runner, "Call", "reply", &target).record();
        self.supervisor.call(call).await
    }
}
