//! The Docker Engine as tests see it: asked by a client of their own, not through the platform.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Once;

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    KillContainerOptions, ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptions, RemoveVolumeOptions,
};

use crate::block_on;

/// Set to `1` where a missing engine is a failure.
const REQUIRE_VARIABLE: &str = "FTL_REQUIRE_DOCKER";
/// Before the process and the name of a cluster of a test.
const PREFIX: &str = "test-";

/// An engine that answers.
#[derive(Debug)]
pub struct Engine;

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    /// Its id, which it never shares.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
}

impl Engine {
    /// Whether one answers.
    #[must_use]
    pub fn answers() -> bool {
        block_on(async { client()?.ping().await.ok() }).is_some()
    }

    /// The engine; without one, a test says that it was skipped, or fails where that is demanded.
    #[must_use]
    #[expect(clippy::print_stdout, reason = "whoever reads the tests is to see that one did not run")]
    pub fn find(test: &str) -> Option<Self> {
        let answers = Self::answers();
        if !answers {
            let demanded = std::env::var(REQUIRE_VARIABLE).is_ok_and(|value| value == "1");
            assert!(!demanded, "{test} needs a Docker Engine, and none answers");
            println!("{test} was skipped: no Docker Engine answers");
        }
        answers.then(|| {
            static SWEPT: Once = Once::new();
            SWEPT.call_once(|| block_on(sweep_dead()));
            Self
        })
    }

    /// The name of a cluster that no other run has.
    #[must_use]
    pub fn cluster(name: &str) -> String {
        format!("{PREFIX}{}-{name}", std::process::id())
    }

    /// The containers of a cluster, in the order of their names.
    #[must_use]
    pub fn containers(&self, cluster: &str) -> Vec<Container> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&labelled(cluster)).build();
        let listed = block_on(async { client().unwrap().list_containers(Some(options)).await }).unwrap();
        let mut containers: Vec<Container> = listed
            .into_iter()
            .map(|container| Container {
                id: container.id.unwrap(),
                name: container.names.unwrap()[0].trim_start_matches('/').to_owned(),
                running: container.state.is_some_and(|state| state.to_string() == "running"),
            })
            .collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        containers
    }

    /// All that the engine tells of a container.
    #[must_use]
    pub fn inspect(&self, id: &str) -> ContainerInspectResponse {
        block_on(async { client().unwrap().inspect_container(id, None).await }).unwrap()
    }

    /// The address of this machine in the network of a cluster.
    #[must_use]
    pub fn gateway(&self, cluster: &str) -> std::net::IpAddr {
        let name = format!("ftl-{cluster}");
        let network = block_on(async { client().unwrap().inspect_network(&name, None).await }).unwrap();
        let config = network.ipam.unwrap().config.unwrap();
        config[0].gateway.as_ref().unwrap().parse().unwrap()
    }

    /// The volumes that there are, of everybody.
    #[must_use]
    pub fn volumes(&self) -> Vec<String> {
        self.volumes_with(&HashMap::new())
    }

    fn volumes_with(&self, filters: &HashMap<&'static str, Vec<String>>) -> Vec<String> {
        let options = ListVolumesOptionsBuilder::new().filters(filters).build();
        let listed = block_on(async { client().unwrap().list_volumes(Some(options)).await });
        listed.unwrap().volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect()
    }

    /// The tags of the runner's images.
    #[must_use]
    pub fn runner_images(&self) -> Vec<String> {
        let filters = HashMap::from([("reference", vec!["ftl-runner"])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let listed = block_on(async { client().unwrap().list_images(Some(options)).await }).unwrap();
        listed.into_iter().flat_map(|image| image.repo_tags).collect()
    }

    /// Kills a container and removes it, behind the platform's back.
    pub fn remove(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        block_on(async { client().unwrap().remove_container(id, Some(options)).await }).unwrap();
    }

    /// Removes an image by its tag. No container may use it.
    pub fn remove_image(&self, tag: &str) {
        let remove = async { client().unwrap().remove_image(tag, None::<RemoveImageOptions>, None).await };
        block_on(remove).unwrap();
    }

    /// All the tags of an image.
    #[must_use]
    pub fn tags(&self, image: &str) -> Vec<String> {
        block_on(async { client().unwrap().inspect_image(image).await })
            .unwrap()
            .repo_tags
            .unwrap_or_default()
    }

    /// Kills the containers of a cluster and removes its network, as `docker network prune` does then.
    pub fn kill_and_prune(&self, cluster: &str) {
        for container in self.containers(cluster) {
            let kill =
                async { client().unwrap().kill_container(&container.id, None::<KillContainerOptions>).await };
            block_on(kill).unwrap();
        }
        crate::wait_until("they are dead", || {
            self.containers(cluster).iter().all(|container| !container.running)
        });
        let network = format!("ftl-{cluster}");
        block_on(async { client().unwrap().remove_network(&network).await }).unwrap();
    }

    /// Asserts that a cluster has no container, no volume and no network.
    pub fn assert_nothing_of(&self, cluster: &str) {
        assert_eq!(self.containers(cluster), [], "containers are left");
        let options = ListNetworksOptionsBuilder::new().filters(&labelled(cluster)).build();
        let networks = block_on(async { client().unwrap().list_networks(Some(options)).await }).unwrap();
        assert!(networks.is_empty(), "networks are left: {networks:?}");
        assert_eq!(self.volumes_with(&labelled(cluster)), [""; 0], "volumes are left");
    }
}

fn client() -> Option<Docker> {
    Docker::connect_with_defaults().ok()
}

fn labelled(cluster: &str) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([("label", vec![format!("ftl.cluster={cluster}")])])
}

/// Removes what is left of tests whose process was killed. Another process may be at it, too.
async fn sweep_dead() {
    let docker = client().unwrap();
    let filters = HashMap::from([("label", vec!["ftl.managed-by=ftl".to_owned()])]);
    let containers = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    for container in docker.list_containers(Some(containers)).await.unwrap() {
        if is_of_dead_test(&container.labels.unwrap_or_default()) {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let _ = docker.remove_container(&container.id.unwrap(), Some(options)).await;
        }
    }
    let volumes = ListVolumesOptionsBuilder::new().filters(&filters).build();
    for volume in docker.list_volumes(Some(volumes)).await.unwrap().volumes.unwrap_or_default() {
        if is_of_dead_test(&volume.labels) {
            let _ = docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await;
        }
    }
    let networks = ListNetworksOptionsBuilder::new().filters(&filters).build();
    for network in docker.list_networks(Some(networks)).await.unwrap() {
        if is_of_dead_test(&network.labels.unwrap_or_default()) {
            let _ = docker.remove_network(&network.id.unwrap()).await;
        }
    }
}

fn is_of_dead_test(labels: &HashMap<String, String>) -> bool {
    let cluster = labels.get("ftl.cluster").and_then(|cluster| cluster.strip_prefix(PREFIX));
    let process = cluster.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists())
}
