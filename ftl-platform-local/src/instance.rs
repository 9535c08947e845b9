//! What is known of one instance, and what follows from it when the same key is asked for again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::digest::Digest;
use ftl_core::key::Epoch;
use ftl_core::platform::{
    Created, ErrorKind, Exit, InstanceRef, InstanceSpec, InstanceState, InstanceStatus, PlatformError,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::output::Output;

/// One instance, from its creation to its removal.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) reference: InstanceRef,
    pub(crate) digest: Digest,
    pub(crate) generation: Epoch,
    pub(crate) directory: PathBuf,
    pub(crate) output: Arc<Output>,
    /// What it is doing; its watcher is the only writer.
    pub(crate) state: watch::Sender<InstanceState>,
    /// When it is to be killed, once it was asked to end.
    pub(crate) kill_at: watch::Sender<Option<Instant>>,
}

impl Instance {
    pub(crate) fn new(spec: &InstanceSpec, directory: PathBuf, log_bytes_kept: u64) -> Self {
        Self {
            reference: InstanceRef::new(spec.cluster.clone(), spec.runner, spec.runner.to_string()),
            digest: spec.digest(),
            generation: spec.generation,
            directory,
            output: Arc::new(Output::new(log_bytes_kept)),
            state: watch::Sender::new(InstanceState::Pending),
            kill_at: watch::Sender::new(None),
        }
    }

    pub(crate) fn status(&self) -> InstanceStatus {
        let state = self.state.borrow().clone();
        InstanceStatus::new(self.reference.clone(), self.digest, self.generation, state)
    }

    /// The answer to a second create under this key.
    pub(crate) fn again(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        if spec.generation < self.generation {
            let message = format!("runner {} was made by generation {}", spec.runner, self.generation);
            return Err(PlatformError::new(ErrorKind::Stale, message));
        }
        if spec.digest() != self.digest {
            let message = format!("runner {} exists with another specification", spec.runner);
            return Err(PlatformError::new(ErrorKind::Conflict, message));
        }
        Ok(Created::new(self.reference.clone(), true))
    }

    /// Asks it to end, and to be killed after `grace`. A later call may only shorten.
    pub(crate) fn stop(&self, grace: Duration) {
        let at = Instant::now() + grace;
        self.kill_at.send_if_modified(|kill_at| {
            let sooner = kill_at.is_none_or(|earlier| at < earlier);
            if sooner {
                *kill_at = Some(at);
            }
            sooner
        });
    }

    pub(crate) fn ended(&self) -> bool {
        matches!(*self.state.borrow(), InstanceState::Ended(_))
    }

    /// Says that its program never ran, and why.
    pub(crate) fn never_started(&self, message: String) {
        let mut exit = Exit::new(false);
        exit.never_started = true;
        exit.message = Some(message);
        self.state.send_replace(InstanceState::Ended(exit));
    }
}
