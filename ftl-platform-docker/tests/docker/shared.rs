//! What instances share: image, network, access, and what a cluster leaves.

use std::collections::HashMap;

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::{
    InspectNetworkOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
};
use ftl_core::platform::{ErrorKind, Health, Platform, PlatformExt, Probe, ReleaseOptions};
use ftl_platform_docker::Docker;
use futures_util::future::join_all;

use crate::bench::{Bench, OWNER, Own, bench, options};
use crate::fake::{Fake, Fate, held};

async fn make_network(bench: &Bench, name: &str) -> String {
    let request = NetworkCreateRequest { name: name.into(), ..NetworkCreateRequest::default() };
    bench.raw.create_network(request).await.unwrap().id
}

async fn networks(bench: &Bench, name: &str) -> usize {
    let filters = HashMap::from([("name", vec![name.to_owned()])]);
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let found = bench.raw.list_networks(Some(options)).await.unwrap();
    found.iter().filter(|network| network.name.as_deref() == Some(name)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_prepare_there_is_one_network() {
    bench(async |bench| {
        let others: Vec<_> = (0..4).map(|_| Docker::new(options())).collect();
        let spec = bench.cluster_spec();
        let access: Vec<_> = join_all(others.iter().map(|docker| docker.prepare(&spec))).await;
        let name = format!("ftl-{}", bench.cluster);
        assert_eq!(networks(bench, &name).await, 1);
        let access: Vec<_> = access.into_iter().map(Result::unwrap).collect();
        assert!(access.iter().all(|each| *each == access[0]), "{access:?}");
        assert_eq!(bench.prepare().await, access[0]);
        // The Controller can listen there: the gateway is an address of this machine.
        let listen = access[0].listen[0];
        assert_eq!(access[0].controllers, [format!("tcp:{listen}")]);
        assert_eq!(listen.port(), 4711);
        drop(std::net::TcpListener::bind((listen.ip(), 0)).unwrap());

        let left = bench.docker.leftovers().await.unwrap();
        let mine = left.iter().find(|left| left.cluster == bench.cluster).unwrap();
        assert_eq!((&mine.owners, &mine.networks), (&[OWNER.to_owned()].into(), &vec![name]));
    })
    .await;
}

#[tokio::test]
async fn a_network_of_somebody_else_is_left_alone() {
    bench(async |bench| {
        let name = format!("ftl-{}", bench.cluster);
        let id = make_network(bench, &name).await;
        let refused = bench.docker.prepare(&bench.cluster_spec()).await;
        let create = bench.docker.create_runner(&bench.spec(1, "exit 0")).await;
        let swept = bench.docker.sweep(&bench.cluster).await;
        let still_there = bench.raw.inspect_network(&id, None::<InspectNetworkOptions>).await;
        bench.raw.remove_network(&id).await.unwrap();
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert!(refused.message.contains(&name), "{refused}");
        assert_eq!(create.unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(swept.unwrap().removed, Vec::<String>::new());
        still_there.unwrap();
    })
    .await;
}

#[tokio::test]
async fn networks_are_joined_and_never_made() {
    bench(async |bench| {
        bench.prepare().await;
        let name = format!("shop-{}", bench.cluster);
        let mut spec = bench.spec(1, "show /proc/net/dev; term stay");
        spec.needs.networks = vec![name.parse().unwrap()];
        let missing = bench.docker.create_runner(&spec).await.unwrap_err();
        assert_eq!(missing.kind, ErrorKind::Missing);
        assert!(missing.message.contains(&name), "{missing}");
        assert_eq!(networks(bench, &name).await, 0);
        assert_eq!(bench.docker.observe(&bench.cluster).await.unwrap(), []);

        let id = make_network(bench, &name).await;
        let created = bench.docker.create_runner(&spec).await;
        let joined = match &created {
            Ok(created) => {
                bench.inspect(&created.instance.native).await["NetworkSettings"]["Networks"].clone()
            }
            Err(_) => serde_json::Value::Null,
        };
        let swept = bench.docker.sweep(&bench.cluster).await;
        let still_there = bench.raw.inspect_network(&id, None::<InspectNetworkOptions>).await;
        bench.raw.remove_network(&id).await.unwrap();
        created.unwrap();
        let joined: Vec<_> = joined.as_object().unwrap().keys().cloned().collect();
        assert_eq!(joined, [format!("ftl-{}", bench.cluster), name]);
        assert_eq!(swept.unwrap().left, Vec::<String>::new());
        still_there.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_network_that_was_removed_is_missed_in_words() {
    bench(async |bench| {
        bench.prepare().await;
        let released = bench.docker.release(&bench.cluster, ReleaseOptions::default()).await.unwrap();
        assert_eq!(released.removed, [format!("network ftl-{}", bench.cluster)]);
        let missing = bench.docker.create_runner(&bench.spec(1, "exit 0")).await.unwrap_err();
        assert_eq!(missing.kind, ErrorKind::Missing);
        bench.prepare().await;
        bench.create(1, "exit 0").await;
        bench.end_of(1).await;
        let kept = bench.docker.release(&bench.cluster, ReleaseOptions::default()).await.unwrap();
        assert!(kept.removed.is_empty() && kept.left[0].contains("1 containers need it"), "{kept:?}");
        let all = bench.docker.release(&bench.cluster, ReleaseOptions::with_instances()).await.unwrap();
        assert_eq!((all.removed.len(), all.left.len()), (2, 0), "{all:?}");
    })
    .await;
}

#[tokio::test]
async fn a_canary_sings_whoever_sweeps_and_leaves_nothing() {
    bench(async |bench| {
        let directory = tempfile::tempdir().unwrap();
        let own = Own::of(bench, &bench.docker, directory.path()).await;
        let (hold, fake) = held("POST /containers/create");
        let docker = fake.patient();
        own.prepare(bench, &docker).await;
        let swept = async {
            hold.waits().await;
            own.remove_image(bench).await;
            hold.release();
        };
        let (health, ()) = tokio::join!(docker.probe(Probe::Canary), swept);
        assert_eq!(health.unwrap(), Health::Ok);
        assert_eq!(docker.probe(Probe::Canary).await.unwrap(), Health::Ok);
        // Those of other processes may sing in this moment.
        let filters = HashMap::from([("name", vec![format!("ftl-canary-{}-", std::process::id())])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        assert_eq!(bench.raw.list_containers(Some(options)).await.unwrap().len(), 0);
    })
    .await;
}

/// An engine that lists these images, and no others, as ours: a test may remove nobody else's.
fn only(images: serde_json::Value) -> Fake {
    let images: &'static str = images.to_string().leak();
    Fake::start(move |request| match request.starts_with("GET /images/json") {
        true => Fate::Answer(200, images),
        false => Fate::Pass,
    })
}

#[tokio::test]
async fn images_that_nobody_uses_are_removed_and_others_are_not() {
    bench(async |bench| {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let used = Own::of(bench, &bench.docker, directories[0].path()).await;
        let unused = Own::of(bench, &bench.docker, directories[1].path()).await;
        bench.docker.create_runner(&used.spec(bench, 2, "exit 0")).await.unwrap();
        // An ended container uses it as well.
        bench.end_of(2).await;
        let mut listed = Vec::new();
        for own in [&used, &unused] {
            let id = bench.raw.inspect_image(own.image()).await.unwrap().id;
            let image = serde_json::json!({
                "Id": id, "RepoTags": [own.image()], "ParentId": "", "RepoDigests": [], "Created": 0,
                "Size": 0, "SharedSize": 0, "Labels": {}, "Containers": 0,
            });
            listed.push(image);
        }
        let docker = only(listed.into());
        let docker = docker.patient();
        assert_eq!(docker.unused_images().await.unwrap(), [unused.image()]);
        assert_eq!(docker.remove_unused_images().await.unwrap(), [unused.image()]);
        bench.raw.inspect_image(used.image()).await.unwrap();
        bench.raw.inspect_image(unused.image()).await.unwrap_err();
        assert_eq!(docker.remove_unused_images().await.unwrap(), [""; 0], "it is gone already");
    })
    .await;
}

#[tokio::test]
async fn a_cluster_whose_network_is_gone_still_says_whose_it_is() {
    bench(async |bench| {
        bench.prepare().await;
        bench.create(1, "exit 0").await;
        bench.end_of(1).await;
        // As `docker network prune` does: no container runs in it.
        bench.raw.remove_network(&format!("ftl-{}", bench.cluster)).await.unwrap();
        let left = bench.docker.leftovers().await.unwrap();
        let mine = left.iter().find(|left| left.cluster == bench.cluster).unwrap();
        assert_eq!((mine.containers.len(), mine.networks.len(), mine.volumes.len()), (1, 0, 1));
        assert_eq!(mine.owners, [OWNER.to_owned()].into());
        // Its volume says so, too.
        let volume = bench.raw.inspect_volume(&mine.volumes[0]).await.unwrap();
        assert_eq!(volume.labels["ftl.owner"], OWNER);
    })
    .await;
}

#[tokio::test]
async fn images_that_are_used_are_not_offered_for_removal() {
    bench(async |bench| {
        bench.prepare().await;
        let instance = bench.create(1, "sleep 600").await;
        let image = bench.inspect(&instance.native).await["Config"]["Image"].as_str().unwrap().to_owned();
        assert!(image.starts_with("ftl-runner:"), "{image}");
        assert!(!bench.docker.unused_images().await.unwrap().contains(&image));
        assert!(
            bench
                .raw
                .inspect_image(&image)
                .await
                .unwrap()
                .config
                .unwrap()
                .labels
                .unwrap()
                .contains_key("ftl.image.hash")
        );
    })
    .await;
}
