//! What can go wrong in the store.

use std::error::Error;
use std::path::{Path, PathBuf};

use ftl_core::name::ClusterId;
use sqlx::migrate::MigrateError;

/// Why the store did not do what it was asked. Nothing was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A newer Controller has begun its epoch in this store: exit, and touch nothing.
    #[error("a newer Controller has taken over this store; this one must exit")]
    Fenced,
    /// The store belongs to another cluster.
    #[error(
        "the store belongs to the cluster `{found}`, not to `{asked}`; leave the name out or take another data directory"
    )]
    OtherCluster {
        /// Whose it is.
        found: ClusterId,
        /// Whom it was opened for.
        asked: ClusterId,
    },
    /// A deployment that was never created.
    #[error("the change names a deployment that is not known; create it first")]
    UnknownDeployment,
    /// A newer version has changed the layout of the store.
    #[error("the store {} has layout {layout}, which only a newer version of ftl knows; upgrade this one", file.display())]
    Newer {
        /// The store.
        file: PathBuf,
        /// The layout that this version does not know.
        layout: i64,
    },
    /// A stored value is none that this version writes.
    #[error("the store holds a {what} that cannot be read; restore it from a backup, or report this")]
    Unreadable {
        /// What kind of value.
        what: &'static str,
        /// Why it cannot be read.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database failed.
    #[error("the store {} failed; is its disk full, or its directory not writable?", file.display())]
    Database {
        /// The store.
        file: PathBuf,
        /// The database's own error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// An error on its way out of a query: the database's gets the name of the file at the edge.
#[derive(Debug)]
pub(super) enum Fault {
    Known(StoreError),
    Database(sqlx::Error),
}

impl Fault {
    /// A stored value of this kind cannot be read.
    pub(super) fn unreadable(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Known(StoreError::Unreadable { what, source: source.into() })
    }

    pub(super) fn of_migration(error: MigrateError, file: &Path) -> Self {
        match error {
            MigrateError::VersionMissing(layout) => {
                Self::Known(StoreError::Newer { file: file.into(), layout })
            }
            other => Self::Database(sqlx::Error::Migrate(Box::new(other))),
        }
    }

    pub(super) fn in_file(self, file: &Path) -> StoreError {
        match self {
            Self::Known(error) => error,
            Self::Database(source) => StoreError::Database { file: file.into(), source: Box::new(source) },
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Known(error)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        // The only foreign keys that can be wrong are those of deployments: the others are set by the store itself.
        if error.as_database_error().is_some_and(|error| error.is_foreign_key_violation()) {
            return Self::Known(StoreError::UnknownDeployment);
        }
        Self::Database(error)
    }
}
