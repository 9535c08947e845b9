//! The durable store: an SQLite file behind sqlx, written by this process alone.
//!
//! What a method returned survives `kill -9` and power loss: the log is flushed before a transaction is acknowledged
//! (`synchronous = FULL`). Every transaction is done by the epoch that [`Store::open`] began, or not at all: when
//! another process has begun a newer one, each fails with [`StoreError::Fenced`] and this Controller must exit.
//!
//! Clones share one connection: there is one writer.

mod error;
mod rows;

use std::path::Path;

use ftl_core::deployment::DeploymentSpec;
use ftl_core::key::{DeploymentId, Epoch};
use ftl_core::name::ClusterId;
use sqlx::SqlitePool;

use crate::desired::{Applied, Desired, NewChange, Outcome, Startup, Transaction};
use crate::time::Time;
pub use error::StoreError;

/// The store; see the module.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    epoch: Epoch,
}

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
        todo!("{file:?} {cluster:?} {startup:?}")
    }

    /// T1: see [`Desired::apply`]. The deployments must be known.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn apply(&self, change: &NewChange) -> Result<Applied, StoreError> {
        todo!("{change:?} {:?} {:?}", self.pool, self.epoch)
    }

    /// T3 to T9: see [`Desired::write`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn write(&self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        todo!("{transaction:?}")
    }

    /// Everything desired, as it is stored now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn load(&self) -> Result<Desired, StoreError> {
        todo!()
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
        todo!("{spec:?} {at:?}")
    }

    /// What a deployment is, if it is known.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn deployment(&self, id: &DeploymentId) -> Result<Option<DeploymentSpec>, StoreError> {
        todo!("{id:?}")
    }

    /// The ids of all deployments, in their order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn deployments(&self) -> Result<Vec<DeploymentId>, StoreError> {
        todo!()
    }

    /// Remembers the addresses that Runners are told to dial: those that were adopted dial them again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep_addresses(&self, addresses: &[String]) -> Result<(), StoreError> {
        todo!("{addresses:?}")
    }

    /// Closes the file. What was acknowledged is safe without it.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
