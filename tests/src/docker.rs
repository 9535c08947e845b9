//! The Docker Engine as tests see it: asked by a client of their own, not through the platform.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptions,
    RemoveContainerOptionsBuilder, RemoveImageOptions,
};

use crate::block_on;

/// Set to `1` where a missing engine is a failure.
const REQUIRE_VARIABLE: &str = "FTL_REQUIRE_DOCKER";

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
        answers.then_some(Self)
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
        let listed = block_on(async { client().unwrap().list_volumes(None::<ListVolumesOptions>).await });
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

    /// Asserts that a cluster has no container and no network.
    pub fn assert_nothing_of(&self, cluster: &str) {
        assert_eq!(self.containers(cluster), [], "containers are left");
        let options = ListNetworksOptionsBuilder::new().filters(&labelled(cluster)).build();
        let networks = block_on(async { client().unwrap().list_networks(Some(options)).await }).unwrap();
        assert!(networks.is_empty(), "networks are left: {networks:?}");
    }
}

fn client() -> Option<Docker> {
    Docker::connect_with_defaults().ok()
}

fn labelled(cluster: &str) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([("label", vec![format!("ftl.cluster={cluster}")])])
}
