//! The Controller as one Runner sees it.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::MemoryController;
use crate::artefact::Manifest;
use crate::call::{Call, Reply, VerbService};
use crate::controller::ControllerError;
use crate::deployment::DeploymentInfo;
use crate::digest::Digest;
use crate::failure::{CallError, Code, Failure};
use crate::key::{DeploymentId, RunnerKey};
use crate::runner::{Order, OutputLine, Registered, Registration, Report, Runner, Supervisor};
use crate::sequence::{Actor, Event};

/// Made for one Runner: it can name neither another key nor another slot's deployment.
#[derive(Debug)]
pub(super) struct MemorySupervisor {
    key: RunnerKey,
    /// Weak, because the Controller holds its Runners.
    controller: Weak<MemoryController>,
}

impl MemorySupervisor {
    pub(super) fn new(key: RunnerKey, controller: Weak<MemoryController>) -> Self {
        Self { key, controller }
    }

    fn controller(&self) -> Result<Arc<MemoryController>, ControllerError> {
        self.controller.upgrade().ok_or(ControllerError::Gone)
    }

    /// The Controller, if this Runner may know of the deployment.
    fn controller_for(&self, id: &DeploymentId) -> Result<Arc<MemoryController>, ControllerError> {
        let controller = self.controller()?;
        if controller.deployment_of(self.key)? != *id {
            return Err(ControllerError::Denied(format!(
                "runner {} was not created for {}",
                self.key,
                id.short()
            )));
        }
        Ok(controller)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for MemorySupervisor {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let gone = |_| Failure::new(Code::Unavailable, "the Controller is gone").not_started(false);
        Event::new(Actor::Runner, Actor::Controller, "Call", "reply", &call.head.target.to_string()).record();
        self.controller().map_err(gone)?.carry(call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Supervisor for MemorySupervisor {
    async fn register_runner(
        &self,
        registration: Registration,
        runner: Arc<dyn Runner>,
    ) -> Result<Registered, ControllerError> {
        let controller = self.controller()?;
        let id = controller.deployment_of(self.key)?.short();
        Event::new(Actor::Runner, Actor::Controller, "RegisterRunner", "ack", &id).record();
        let order = controller.register(self.key, registration.instance, runner)?;
        Ok(Registered::new(order))
    }

    async fn get_deployment(&self, id: &DeploymentId) -> Result<DeploymentInfo, ControllerError> {
        Event::new(Actor::Runner, Actor::Controller, "GetDeployment", "schema", &id.short()).record();
        Ok(DeploymentInfo::of(&self.controller_for(id)?.spec(id)?))
    }

    async fn get_deployment_artefacts(&self, id: &DeploymentId) -> Result<Manifest, ControllerError> {
        Event::new(Actor::Runner, Actor::Controller, "GetDeploymentArtefacts", "artefacts", &id.short())
            .record();
        Ok(self.controller_for(id)?.spec(id)?.artefacts)
    }

    async fn read_artefact(&self, digest: Digest, offset: u64) -> Result<Bytes, ControllerError> {
        let controller = self.controller()?;
        let id = controller.deployment_of(self.key)?;
        if !controller.spec(&id)?.artefacts.digests().contains(&digest) {
            return Err(ControllerError::Denied(format!("{} has no such artefact", id.short())));
        }
        controller.range(digest, offset)
    }

    async fn deployed(&self, _order: Order, id: &DeploymentId) -> Result<(), ControllerError> {
        Event::new(Actor::Runner, Actor::Controller, "Deployed", "ack", &id.short()).record();
        self.controller_for(id)?.with_slot(self.key, |slot| slot.ready = true)
    }

    async fn report(&self, _order: Order, report: Report) -> Result<(), ControllerError> {
        self.controller()?.with_slot(self.key, |slot| match report {
            Report::Crashed(crash) => (slot.ready, slot.crash) = (false, Some(crash)),
            Report::Draining | Report::Drained => slot.ready = false,
            Report::Starting | Report::Ready => {}
        })
    }

    // Nothing is kept: output of one process cannot be told apart by module.
    async fn append_logs(&self, _order: Order, _lines: Vec<OutputLine>) -> Result<(), ControllerError> {
        self.controller().map(|_| ())
    }
}
