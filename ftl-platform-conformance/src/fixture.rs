//! What an author gives so that a backend can be checked.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ftl_core::Platform;
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
    async fn leftovers(&self, cluster: &ClusterId) -> Option<Vec<String>>;

    /// All that the backend shows of an instance to whoever may look at it: arguments, environment, labels, its directory.
    async fn raw(&self, instance: &InstanceRef) -> Option<String>;
}
