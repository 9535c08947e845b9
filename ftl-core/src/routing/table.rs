//! The route table: a full snapshot of all ready replicas, with a version that only grows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::{DeploymentId, Replica, TableVersion};
use crate::name::ModuleName;
use crate::schema::Module;

/// A replica that calls may be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Row {
    /// The module that it serves.
    pub module: ModuleName,
    /// The version of the module.
    pub deployment: DeploymentId,
    /// Which process. A call names it, and another process that receives the call answers "not started".
    pub replica: Replica,
}

/// Everything that can be routed to at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingTable {
    /// Which snapshot this is.
    pub version: TableVersion,
    /// The schema of every module that serves, with or without a ready replica.
    ///
    /// A module without rows is known: calls to it wait. A module that is not here is not found.
    pub modules: Vec<Arc<Module>>,
    /// All ready replicas.
    pub rows: Vec<Row>,
}

impl RoutingTable {
    /// Before anything was published.
    #[must_use]
    pub fn empty() -> Self {
        Self { version: TableVersion::NONE, modules: Vec::new(), rows: Vec::new() }
    }
}

/// A table that is not newer than the one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table {offered:?} is not newer than {current:?}")]
pub struct StaleTable {
    /// What is there.
    pub current: TableVersion,
    /// What came late.
    pub offered: TableVersion,
}
