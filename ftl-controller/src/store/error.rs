//! What can go wrong in the store.

use std::error::Error;
use std::path::PathBuf;

use ftl_core::name::ClusterId;

/// Why the store did not do what it was asked. Nothing was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A newer Controller has begun its epoch in this store: exit, and touch nothing.
    #[error("a newer Controller has taken over this store; this one must exit")]
    Fenced,
    /// The store belongs to another cluster.
    #[error("the store {} belongs to the cluster `{found}`, not to `{asked}`; leave the name out or take another data directory", file.display())]
    OtherCluster {
        /// The store.
        file: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whom it was opened for.
        asked: ClusterId,
    },
    /// A deployment that was never created.
    #[error("a deployment of the change is not known; create it first")]
    UnknownDeployment,
    /// A stored value is none that this version writes.
    #[error("the store holds {what} that this version cannot read; was it written by a newer one?")]
    Unreadable {
        /// What kind of value.
        what: &'static str,
        /// Why it cannot be read.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database failed.
    #[error("the store {} failed; is its disk full or its file locked?", file.display())]
    Database {
        /// The store.
        file: PathBuf,
        /// The database's own error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}
