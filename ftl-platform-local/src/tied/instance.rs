//! What is known of one tied instance, and what follows from it when the same key is asked for again.

use std::path::PathBuf;
use std::sync::Arc;

use ftl_core::digest::Digest;
use ftl_core::key::Epoch;
use ftl_core::output::Ring;
use ftl_core::platform::{
    Created, Exit, InstanceRef, InstanceSpec, InstanceState, InstanceStatus, PlatformError,
};
use ftl_core::runner::OutputLine;
use tokio::sync::watch;

use crate::program::{Deadline, Observer};

/// One instance, from its creation to its removal.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) reference: InstanceRef,
    pub(super) digest: Digest,
    pub(super) generation: Epoch,
    pub(super) directory: PathBuf,
    pub(super) output: Arc<Ring<OutputLine>>,
    /// What it is doing; its watcher is the only writer.
    pub(super) state: watch::Sender<InstanceState>,
    pub(super) deadline: Deadline,
}

impl Instance {
    pub(super) fn new(spec: &InstanceSpec, directory: PathBuf, log_bytes_kept: u64) -> Self {
        Self {
            reference: InstanceRef::new(spec.cluster.clone(), spec.runner, spec.runner.to_string()),
            digest: spec.digest(),
            generation: spec.generation,
            directory,
            output: Arc::new(Ring::new(log_bytes_kept)),
            state: watch::Sender::new(InstanceState::Pending),
            deadline: Deadline::none(),
        }
    }

    pub(super) fn status(&self) -> InstanceStatus {
        let state = self.state.borrow().clone();
        InstanceStatus::new(self.reference.clone(), self.digest, self.generation, state)
    }

    /// The answer to a second create under this key.
    pub(super) fn again(&self, spec: &InstanceSpec) -> Result<Created, PlatformError> {
        spec.check_again(self.generation, self.digest)?;
        Ok(Created::new(self.reference.clone(), true))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.borrow().is_ended()
    }

    pub(super) fn ended(&self, exit: Exit) {
        self.state.send_replace(InstanceState::Ended(exit));
    }
}

impl Observer for Instance {
    fn wrote(&self, line: OutputLine) {
        self.output.push(line);
    }

    fn asked(&self) {
        self.state.send_replace(InstanceState::Stopping);
    }
}
