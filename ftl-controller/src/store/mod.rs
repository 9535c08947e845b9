//! The durable store: an SQLite file behind sqlx, written by this process alone.
//!
//! What a method returned survives `kill -9` and power loss: the log is flushed before a transaction is acknowledged
//! (`synchronous = FULL`). Every transaction is done by the epoch that [`Store::open`] began, or not at all: when
//! another process has begun a newer one, each fails with [`StoreError::Fenced`] and this Controller must exit.
//!
//! The SQL is one text for SQLite and PostgreSQL. What it does is written once more, as pure functions over
//! [`Desired`], and a test holds the two against each other.

mod error;
mod load;
mod write;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ftl_core::deployment::DeploymentSpec;
use ftl_core::key::{DeploymentId, Epoch};
use ftl_core::name::{ClusterId, PlatformName};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqliteConnection, SqlitePool};

use crate::desired::{Applied, Desired, NewChange, Outcome, Startup, Transaction};
use crate::time::Time;
use error::Fault;
pub use error::StoreError;

/// How long another process may hold the file before a transaction fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The store; see the module. Clones share one connection: there is one writer.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    file: Arc<Path>,
    epoch: Epoch,
}

/// Addresses at which the Controller listens for the Runners of a platform, besides those at which it always does.
pub type KeptDoors = BTreeMap<PlatformName, Vec<SocketAddr>>;

/// An open store, with what it held.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Whose it is.
    pub cluster: ClusterId,
    /// The addresses that Runners were told to dial; empty at the first start. See [`Store::keep_addresses`].
    pub addresses: Vec<String>,
    /// Where the Controller listened for Runners besides. See [`Store::keep_doors`].
    pub doors: KeptDoors,
    /// What was desired, in the new epoch.
    pub desired: Desired,
}

impl Store {
    /// Opens the store in this file, or makes it, and begins a new epoch (T0): the first thing that a Controller does.
    ///
    /// `cluster` names the cluster at the first start; without it, one is drawn at random.
    ///
    /// # Errors
    /// When the file cannot be used, was written by a newer version, or belongs to another cluster.
    pub async fn open(
        file: &Path,
        cluster: Option<&ClusterId>,
        startup: &Startup,
    ) -> Result<Opened, StoreError> {
        Self::try_open(file, cluster, startup).await.map_err(|fault| fault.in_file(file))
    }

    async fn try_open(file: &Path, cluster: Option<&ClusterId>, startup: &Startup) -> Result<Opened, Fault> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        // When a commit fails, SQLite rolls back by itself and the driver fails to: it goes on counting a transaction,
        // and what it would call committed from then on is a savepoint in one that never ends. Such a connection is
        // closed and made anew. (The pool has asked it something first, so the rollback is behind it.)
        let is_whole = |connection: &mut SqliteConnection| !connection.is_in_transaction();
        let one = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(true)
            .before_acquire(move |connection, _| Box::pin(std::future::ready(Ok(is_whole(connection)))));
        let pool = one.connect_with(options).await?;
        let migrated = sqlx::migrate!().run(&pool).await;
        migrated.map_err(|error| Fault::of_migration(error, file))?;

        let mut transaction = pool.begin().await?;
        write::start(&mut transaction, startup).await?;
        let cluster = write::cluster(&mut transaction, cluster).await?;
        let addresses = load::addresses(&mut transaction).await?;
        let doors = load::doors(&mut transaction).await?;
        let desired = load::desired(&mut transaction).await?;
        transaction.commit().await?;
        let store = Self { pool, file: Arc::from(file), epoch: desired.epoch };
        Ok(Opened { store, cluster, addresses, doors, desired })
    }

    /// T1: see [`Desired::apply`].
    ///
    /// # Errors
    /// [`StoreError::UnknownDeployment`] when a deployment was never created; see [`StoreError`].
    pub async fn apply(&self, change: &NewChange) -> Result<Applied, StoreError> {
        self.located(async {
            let mut transaction = self.begin().await?;
            let applied = write::apply(&mut transaction, change).await?;
            transaction.commit().await?;
            Ok(applied)
        })
        .await
    }

    /// T3 to T9: see [`Desired::write`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn write(&self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        self.located(async {
            let mut connection = self.begin().await?;
            let outcome = write::write(&mut connection, transaction).await?;
            connection.commit().await?;
            Ok(outcome)
        })
        .await
    }

    /// Everything desired, as it is stored now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn load(&self) -> Result<Desired, StoreError> {
        self.located(async { load::desired(&mut *self.pool.begin().await?).await }).await
    }

    /// Records a deployment. Starts nothing; once more changes nothing. That its artefacts are here is the caller's
    /// to know.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn create_deployment(
        &self,
        spec: &DeploymentSpec,
        at: Time,
    ) -> Result<DeploymentId, StoreError> {
        self.located(async {
            let mut transaction = self.begin().await?;
            let id = write::create_deployment(&mut transaction, spec, at).await?;
            transaction.commit().await?;
            Ok(id)
        })
        .await
    }

    /// What a deployment is, if it is known.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn deployment(&self, id: &DeploymentId) -> Result<Option<DeploymentSpec>, StoreError> {
        self.located(async { load::deployment(&mut *self.pool.acquire().await?, id).await }).await
    }

    /// The ids of all deployments, in the order of their texts.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn deployments(&self) -> Result<Vec<DeploymentId>, StoreError> {
        self.located(async { load::deployments(&mut *self.pool.acquire().await?).await }).await
    }

    /// Remembers where Runners of a platform come in, so that adopted ones do while their platform cannot be asked.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep_doors(&self, doors: &KeptDoors) -> Result<(), StoreError> {
        self.located(async {
            let mut transaction = self.begin().await?;
            write::keep_doors(&mut transaction, doors).await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Remembers the addresses that Runners are told to dial: those that were adopted dial them again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep_addresses(&self, addresses: &[String]) -> Result<(), StoreError> {
        self.located(async {
            let mut transaction = self.begin().await?;
            write::keep_addresses(&mut transaction, addresses).await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Closes the file. What was acknowledged is safe without it.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.file.to_path_buf()
    }

    /// A transaction of this epoch.
    ///
    /// Its first statement writes, so that it holds the only write lock from then on, and every premise that is read
    /// after it stays true until the commit.
    async fn begin(&self) -> Result<sqlx::Transaction<'static, Sqlite>, Fault> {
        let mut transaction = self.pool.begin().await?;
        write::fence(&mut transaction, self.epoch).await?;
        Ok(transaction)
    }

    async fn located<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, StoreError> {
        work.await.map_err(|fault| fault.in_file(&self.file))
    }
}
