//! What clusters left behind on an engine, found by label alone, and its removal.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::Docker;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};
use ftl_core::name::ClusterId;
use ftl_core::platform::{PlatformError, ReleaseOptions, Released};
use futures_util::StreamExt;

use crate::backend::Backend;
use crate::create::discard;
use crate::image;
use crate::instances::{self, Container};
use crate::marks::{self, Labels};
use crate::network;

/// How many containers are removed at once.
const REMOVALS_PARALLEL: usize = 4;

/// What a cluster has on the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// The cluster.
    pub cluster: ClusterId,
    /// Who asked for it, as `HOST:DATA DIRECTORY`: all that what is there says, usually the same.
    pub owners: BTreeSet<String>,
    /// Names of containers.
    pub containers: Vec<String>,
    /// Names of networks.
    pub networks: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
}

impl Leftover {
    fn of(cluster: ClusterId) -> Self {
        let (containers, networks, volumes) = (Vec::new(), Vec::new(), Vec::new());
        Self { cluster, owners: BTreeSet::new(), containers, networks, volumes }
    }
}

impl Backend {
    /// What every cluster has on the engine, ordered by cluster.
    pub(crate) async fn leftovers(&self) -> Result<Vec<Leftover>, PlatformError> {
        let mut found: BTreeMap<ClusterId, Leftover> = BTreeMap::new();
        for container in instances::list(&self.engine, &marks::all()).await? {
            let left = entry(&mut found, container.marks.cluster);
            left.containers.push(container.name);
            left.owners.extend(container.owner);
        }
        for network in network::list_ours(&self.engine, &marks::all()).await? {
            let labels = network.labels.unwrap_or_default();
            let (Some(cluster), Some(name)) = (cluster(&labels), network.name) else { continue };
            let left = entry(&mut found, cluster);
            left.networks.push(name);
            left.owners.extend(marks::owner(&labels).map(str::to_owned));
        }
        for (volume, labels) in self.volumes(&marks::all()).await? {
            if let Some(cluster) = cluster(&labels) {
                let left = entry(&mut found, cluster);
                left.volumes.push(volume);
                left.owners.extend(marks::owner(&labels).map(str::to_owned));
            }
        }
        Ok(found.into_values().collect())
    }

    /// Undoes `prepare`, and with `instances_too` removes all that carries the cluster's label.
    pub(crate) async fn release(
        &self,
        cluster: &ClusterId,
        options: ReleaseOptions,
    ) -> Result<Released, PlatformError> {
        let mut released = Released::nothing();
        let filters = marks::all_of(cluster);
        let containers = instances::list(&self.engine, &filters).await?;
        if options.instances_too {
            self.remove_all(containers, &mut released).await;
            for (volume, _) in self.volumes(&filters).await? {
                note(&mut released, format!("volume {volume}"), self.remove_volume(&volume).await);
            }
        } else if !containers.is_empty() {
            // The engine would give it up under stopped ones, which then never start.
            let count = containers.len();
            released.left.push(format!("network {}: {count} containers need it", network::name(cluster)));
            return Ok(released);
        }
        for network in network::list_ours(&self.engine, &filters).await? {
            let (id, name) = (network.id.unwrap_or_default(), network.name.unwrap_or_default());
            note(&mut released, format!("network {name}"), network::remove_left(&self.engine, &id).await);
        }
        Ok(released)
    }

    async fn remove_all(&self, containers: Vec<Container>, released: &mut Released) {
        let removals = futures_util::stream::iter(containers).map(|container| async move {
            let removed = discard(&self.engine, &container.id).await;
            (format!("container {}", container.name), removed)
        });
        let removed: Vec<_> = removals.buffered(REMOVALS_PARALLEL).collect().await;
        for (what, removed) in removed {
            note(released, what, removed);
        }
    }

    async fn volumes(
        &self,
        filters: &HashMap<&'static str, Vec<String>>,
    ) -> Result<Vec<(String, Labels)>, PlatformError> {
        let options = ListVolumesOptionsBuilder::new().filters(filters).build();
        let list = |client: Docker| {
            let options = Some(options.clone());
            async move { client.list_volumes(options).await }
        };
        let listed = self.engine.read("list volumes", list).await?.volumes.unwrap_or_default();
        Ok(listed.into_iter().map(|volume| (volume.name, volume.labels)).collect())
    }

    async fn remove_volume(&self, name: &str) -> Result<(), PlatformError> {
        let remove =
            |client: Docker| async move { client.remove_volume(name, None::<RemoveVolumeOptions>).await };
        match self.engine.change("remove a volume", remove).await {
            // It went with its container.
            Err(error) if error.kind == ftl_core::platform::ErrorKind::Missing => Ok(()),
            removed => removed,
        }
    }

    /// Tags of the runner's image that no container uses.
    pub(crate) async fn unused_images(&self) -> Result<Vec<String>, PlatformError> {
        image::unused(&self.engine).await
    }

    /// Removes them, and says which.
    pub(crate) async fn remove_unused_images(&self) -> Result<Vec<String>, PlatformError> {
        image::remove_unused(&self.engine).await
    }
}

fn entry(found: &mut BTreeMap<ClusterId, Leftover>, cluster: ClusterId) -> &mut Leftover {
    found.entry(cluster.clone()).or_insert_with(|| Leftover::of(cluster))
}

fn cluster(labels: &Labels) -> Option<ClusterId> {
    labels.get(marks::CLUSTER)?.parse().ok()
}

fn note(released: &mut Released, what: String, removed: Result<(), PlatformError>) {
    match removed {
        Ok(()) => released.removed.push(what),
        Err(error) => released.left.push(format!("{what}: {error}")),
    }
}
