//! How Runners on one platform reach this Controller: prepared before the first of them is created.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ftl_core::platform::{ClusterAccess, ClusterSpec, ErrorKind, Platform, PlatformError};
use ftl_wire::Listener;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::worker::in_time;

/// Opens further doors for Runners, on the data path's thread.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    open: Arc<Mutex<BTreeSet<SocketAddr>>>,
    listeners: mpsc::Sender<Listener>,
}

impl Doors {
    pub(crate) fn new(listeners: mpsc::Sender<Listener>) -> Self {
        Self { open: Arc::default(), listeners }
    }

    /// Listens at this address too; nothing happens if that is so already.
    fn open(&self, address: SocketAddr) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.contains(&address) {
            let listener = Listener::bind_tcp_at(address)?;
            self.listeners
                .try_send(listener)
                .map_err(|_| io::Error::other("the data path is not running"))?;
            open.insert(address);
        }
        Ok(())
    }
}

/// A platform, and the way from its Runners to here.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) platform: Arc<dyn Platform>,
    cluster: Arc<ClusterSpec>,
    doors: Doors,
    prepared: Arc<AsyncMutex<Option<ClusterAccess>>>,
    used: Arc<AtomicBool>,
}

impl Access {
    pub(super) fn new(platform: Arc<dyn Platform>, cluster: ClusterSpec, doors: Doors) -> Self {
        Self { platform, cluster: Arc::new(cluster), doors, prepared: Arc::default(), used: Arc::default() }
    }

    pub(super) fn cluster(&self) -> &ClusterSpec {
        &self.cluster
    }

    /// Whether anything was asked to run there.
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// What Runners are told to dial; prepares the platform if nobody has yet.
    pub(super) async fn controllers(&self) -> Result<Vec<String>, PlatformError> {
        // Held while it is prepared: whoever comes meanwhile waits for the same answer.
        let mut prepared = self.prepared.lock().await;
        if let Some(access) = &*prepared {
            return Ok(access.controllers.clone());
        }
        self.used.store(true, Ordering::Relaxed);
        let access = in_time("prepare", self.platform.prepare(&self.cluster)).await?;
        for address in &access.listen {
            self.doors.open(*address).map_err(|error| {
                let message = format!("the Controller cannot listen for runners on {address}");
                PlatformError::new(ErrorKind::Unavailable, message).with_source(error)
            })?;
        }
        Ok(prepared.insert(access).controllers.clone())
    }

    /// Something that was prepared is missing: the next creation prepares it again.
    pub(super) async fn forget(&self) {
        *self.prepared.lock().await = None;
    }
}
