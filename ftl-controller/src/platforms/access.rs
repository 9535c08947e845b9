//! How Runners on one platform reach this Controller: prepared before the first of them is created.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ftl_core::name::PlatformName;
use ftl_core::platform::{ClusterAccess, ClusterSpec, ErrorKind, Platform, PlatformError};
use ftl_wire::Listener;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::worker::in_time;
use crate::store::{KeptDoors, Store};

/// How long a platform may take to be prepared: an engine that is slow is sent an image.
const PREPARE_MAX: Duration = Duration::from_secs(600);

/// Opens further doors for Runners, on the data path's thread.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    open: Arc<Mutex<BTreeSet<SocketAddr>>>,
    kept: Arc<AsyncMutex<KeptDoors>>,
    listeners: mpsc::Sender<Listener>,
    store: Store,
}

impl Doors {
    /// Opens those that a former life kept: adopted Runners dial them, whether or not their platform can be asked now.
    pub(crate) fn new(listeners: mpsc::Sender<Listener>, store: Store, kept: KeptDoors) -> Self {
        let addresses: Vec<SocketAddr> = kept.values().flatten().copied().collect();
        let doors = Self { open: Arc::default(), kept: Arc::new(AsyncMutex::new(kept)), listeners, store };
        for address in addresses {
            if let Err(error) = doors.listen(address) {
                tracing::info!(%address, %error, "not open before its platform is prepared");
            }
        }
        doors
    }

    /// Listens at these addresses too; nothing happens where that is so already.
    async fn open(&self, platform: &PlatformName, addresses: &[SocketAddr]) -> Result<(), PlatformError> {
        for address in addresses {
            self.listen(*address).map_err(|error| {
                let message = format!("the Controller cannot listen for runners on {address}");
                PlatformError::new(ErrorKind::Unavailable, message).with_source(error)
            })?;
        }
        let mut kept = self.kept.lock().await;
        if kept.get(platform).map_or(&[][..], Vec::as_slice) != addresses {
            kept.insert(platform.clone(), addresses.to_vec());
            // The door is open all the same; it is only not known to a later life.
            if let Err(error) = self.store.keep_doors(&kept).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a door is not remembered");
            }
        }
        Ok(())
    }

    fn listen(&self, address: SocketAddr) -> io::Result<()> {
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

/// What was prepared, or is being prepared: by a task of its own, which is not given up with the creation that waits for it.
#[derive(Debug, Default)]
struct Prepared {
    access: Option<ClusterAccess>,
    under_way: JoinSet<Result<ClusterAccess, PlatformError>>,
}

/// A platform, and the way from its Runners to here.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) platform: Arc<dyn Platform>,
    cluster: Arc<ClusterSpec>,
    doors: Doors,
    prepared: Arc<AsyncMutex<Prepared>>,
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

    /// What Runners are told to dial; prepares the platform if nobody has yet. Who gives up leaves it under way.
    pub(super) async fn controllers(&self) -> Result<Vec<String>, PlatformError> {
        self.used.store(true, Ordering::Relaxed);
        in_time("prepare", self.prepare()).await
    }

    async fn prepare(&self) -> Result<Vec<String>, PlatformError> {
        // Held while it is prepared: whoever comes meanwhile waits for the same answer.
        let mut prepared = self.prepared.lock().await;
        let Prepared { access, under_way } = &mut *prepared;
        if let Some(access) = access {
            return Ok(access.controllers.clone());
        }
        if under_way.is_empty() {
            under_way.spawn(prepare(self.platform.clone(), self.cluster.clone()));
        }
        let answered = match under_way.join_next().await {
            Some(Ok(answered)) => answered?,
            Some(Err(_)) | None => {
                let message = "the preparation of the platform ended early";
                return Err(PlatformError::new(ErrorKind::Internal, message).with_unknown_effect());
            }
        };
        self.doors.open(&self.platform.describe().name, &answered.listen).await?;
        Ok(access.insert(answered).controllers.clone())
    }

    /// Something that was prepared is missing: the next creation prepares it again.
    pub(super) async fn forget(&self) {
        self.prepared.lock().await.access = None;
    }
}

async fn prepare(
    platform: Arc<dyn Platform>,
    cluster: Arc<ClusterSpec>,
) -> Result<ClusterAccess, PlatformError> {
    timeout(PREPARE_MAX, platform.prepare(&cluster)).await.unwrap_or_else(|_| {
        let message = format!("the platform was not prepared within {PREPARE_MAX:?}");
        Err(PlatformError::new(ErrorKind::Timeout, message).with_unknown_effect())
    })
}
