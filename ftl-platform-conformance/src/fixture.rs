//! What an author gives so that a backend can be checked.

use std::fmt;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use ftl_core::Platform;
use ftl_core::key::RunnerKey;
use ftl_core::name::ClusterId;
use ftl_core::platform::{InstanceRef, PlatformError, ProgramSource};

/// A backend to check: how to make its platform, what it can start, and its truth, not asked through the platform.
///
/// What a fixture has no means for it answers with `None`, and the checks that need it are *not proven*.
#[async_trait]
pub trait Fixture: fmt::Debug + Send + Sync + 'static {
    /// A new value over the same backend: what a Controller makes when it starts.
    ///
    /// # Errors
    /// When the backend cannot be used at all.
    async fn platform(&self) -> Result<Arc<dyn Platform>, PlatformError>;

    /// The [probe](crate::probe), in every form in which this backend takes programs.
    fn program(&self) -> Vec<ProgramSource>;

    /// All that the backend holds of a cluster — processes, containers, directories, networks — one line each.
    ///
    /// # Errors
    /// When this look failed; another one may not.
    async fn leftovers(&self, cluster: &ClusterId) -> Result<Option<Vec<String>>, PlatformError>;

    /// All that the backend shows of an instance to whoever may look at it: arguments, environment, labels, its directory.
    /// Of one that is not there it shows an empty text.
    ///
    /// # Errors
    /// When this look failed; another one may not.
    async fn raw(&self, instance: &InstanceRef) -> Result<Option<String>, PlatformError>;

    /// A command that runs [`host`](crate::host) over this backend, in a process of its own: a Controller that can be
    /// killed in the middle of its work.
    fn host(&self) -> Option<Command> {
        None
    }

    /// Puts something of somebody else's where this instance would be: of its name, and without its marks.
    async fn lookalike(&self, _cluster: &ClusterId, _runner: RunnerKey) -> Option<Box<dyn Lookalike>> {
        None
    }
}

/// Something of somebody else's that could be taken for an instance. Only the suite takes it away.
#[async_trait]
pub trait Lookalike: fmt::Debug + Send + Sync {
    /// Whether it is as it was made.
    async fn is_untouched(&self) -> bool;

    /// Takes it away.
    async fn remove(self: Box<Self>);
}
