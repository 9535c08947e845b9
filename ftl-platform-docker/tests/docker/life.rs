//! Create, observe, remove.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use ftl_core::Secret;
use ftl_core::key::Epoch;
use ftl_core::platform::{
    ErrorKind, InstanceState, Platform, PlatformExt, ProgramSource, ReleaseOptions, RemoveOptions,
};
use ftl_platform_docker::Docker;
use futures_util::future::join_all;

use crate::bench::{Bench, Own, bench, options};
use crate::fake::{Fake, Fate};

#[tokio::test]
async fn a_key_is_one_instance() {
    bench(async |bench| {
        bench.prepare().await;
        let mut spec = bench.spec(41, "out started; sleep 600");
        spec.labels.insert("module".into(), "shop_cart".into());
        let created = bench.docker.create_runner(&spec).await.unwrap();
        assert!(!created.existed);
        let status = bench.status(41).await.unwrap();
        assert_eq!((status.state, status.digest), (InstanceState::Running, spec.digest()));
        assert_eq!((status.generation, &status.instance), (Epoch(5), &created.instance));
        assert_eq!(status.place.unwrap(), format!("ftl-{}-shop_cart-41", bench.cluster));

        let mut again = spec.clone();
        (again.boot, again.generation) = (Secret::new(*b"other"), Epoch(6));
        let found = Docker::new(options()).create_runner(&again).await.unwrap();
        assert_eq!((found.existed, found.instance), (true, created.instance.clone()));
        let mut late = spec.clone();
        late.generation = Epoch(4);
        assert_eq!(bench.docker.create_runner(&late).await.unwrap_err().kind, ErrorKind::Stale);
        let mut other = spec.clone();
        other.labels.insert("module".into(), "other".into());
        assert_eq!(bench.docker.create_runner(&other).await.unwrap_err().kind, ErrorKind::Conflict);

        let id = &created.instance.native;
        let shown = bench.inspect(id).await;
        assert_eq!(shown["HostConfig"]["RestartPolicy"]["Name"], "no");
        assert_eq!(shown["Config"]["Hostname"], "shop-cart-41");
        for (label, value) in
            [("ftl.module", "shop_cart"), ("ftl.language", "rust"), ("ftl.managed-by", "ftl")]
        {
            assert_eq!(shown["Config"]["Labels"][label], value);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_creates_one_makes_it() {
    bench(async |bench| {
        bench.prepare().await;
        let spec = bench.spec(8, "out started; sleep 600");
        let other = Docker::new(options());
        let creates = (0..8).map(|number| if number % 2 == 0 { &bench.docker } else { &other });
        let created = join_all(creates.map(|docker| docker.create_runner(&spec))).await;
        let created: Vec<_> = created.into_iter().map(Result::unwrap).collect();
        assert_eq!(created.iter().filter(|created| !created.existed).count(), 1);
        assert!(created.iter().all(|each| each.instance == created[0].instance));
        let instance = &created[0].instance;
        bench.line(instance, "started").await;
        assert_eq!(bench.lines(instance).await.iter().filter(|line| *line == "started").count(), 1);
        assert_eq!(bench.docker.observe(&bench.cluster).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_ended_instance_stays_ended_until_it_is_removed() {
    bench(async |bench| {
        bench.prepare().await;
        let first = bench.create(1, "out once").await;
        bench.end_of(1).await;
        let again = bench.docker.create_runner(&bench.spec(1, "out once")).await.unwrap();
        assert_eq!((again.existed, &again.instance), (true, &first));
        assert!(bench.status(1).await.unwrap().ended());
        assert_eq!(bench.lines(&first).await.iter().filter(|line| *line == "once").count(), 1);

        for _ in 0..2 {
            bench.docker.remove_instance(&first, RemoveOptions::default()).await.unwrap();
        }
        assert_eq!(bench.status(1).await, None);
        let anew = bench.docker.create_runner(&bench.spec(1, "out once")).await.unwrap();
        assert!(!anew.existed && anew.instance.native != first.native);
    })
    .await;
}

#[tokio::test]
async fn what_runs_is_removed_only_by_force() {
    bench(async |bench| {
        bench.prepare().await;
        let instance = bench.create(1, "term stay").await;
        bench.line(&instance, "ready").await;
        let refused = bench.docker.remove_instance(&instance, RemoveOptions::default()).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        let [one, two] =
            [RemoveOptions::forced(); 2].map(|forced| bench.docker.remove_instance(&instance, forced));
        let (one, two) = tokio::join!(one, two);
        one.unwrap();
        two.unwrap();
        assert_eq!(bench.leftovers().await, [format!("ftl-{}", bench.cluster)], "only the network");
    })
    .await;
}

#[tokio::test]
async fn a_container_of_somebody_else_is_left_alone() {
    bench(async |bench| {
        bench.prepare().await;
        let mine = bench.create(1, "sleep 600").await;
        let image = bench.inspect(&mine.native).await["Config"]["Image"].as_str().unwrap().to_owned();
        let name = format!("ftl-{}-runner-7", bench.cluster);
        // Nobody's, and one of another cluster.
        let mut labels = ftl_labels(bench, &mine.native).await;
        labels.insert("ftl.cluster".into(), format!("other-{}", bench.cluster));
        for labels in [HashMap::new(), labels] {
            let (image, labels) = (Some(image.clone()), Some(labels));
            let body = ContainerCreateBody { image, labels, ..ContainerCreateBody::default() };
            let options = CreateContainerOptionsBuilder::new().name(&name).build();
            let foreign = bench.raw.create_container(Some(options), body).await.unwrap().id;
            let refused = bench.docker.create_runner(&bench.spec(7, "exit 0")).await;
            let seen = bench.docker.observe(&bench.cluster).await.unwrap().len();
            let released = bench.docker.release(&bench.cluster, ReleaseOptions::default()).await.unwrap();
            let still_there = bench.inspect(&foreign).await["State"]["Status"].clone();
            let forced = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            bench.raw.remove_container(&foreign, Some(forced)).await.unwrap();
            let refused = refused.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Conflict);
            assert!(
                refused.message.contains(&name) && refused.message.contains("no instance of this cluster"),
                "{refused}"
            );
            assert_eq!((seen, still_there.as_str()), (1, Some("created")));
            assert_eq!(released.removed, Vec::<String>::new());
        }
    })
    .await;
}

async fn ftl_labels(bench: &Bench, container: &str) -> HashMap<String, String> {
    let labels = bench.inspect(container).await["Config"]["Labels"].clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    labels.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_loaded_once_and_again_when_it_was_removed() {
    bench(async |bench| {
        let loads = Arc::new(AtomicUsize::new(0));
        let fake = Fake::start({
            let loads = loads.clone();
            move |request| {
                loads.fetch_add(request.starts_with("POST /images/load").into(), Ordering::SeqCst);
                Fate::Pass
            }
        });
        let (docker, directory) = (fake.patient(), tempfile::tempdir().unwrap());
        let own = Own::of(bench, &docker, directory.path()).await;
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        own.remove_image(bench).await;
        let specs: Vec<_> = (1..=8).map(|key| own.spec(bench, key, "exit 3")).collect();
        for created in join_all(specs.iter().map(|spec| docker.create_runner(spec))).await {
            assert!(!created.unwrap().existed);
        }
        for key in 1..=8 {
            assert_eq!(bench.end_of(key).await.code, Some(3));
        }
        assert_eq!(loads.load(Ordering::SeqCst), 2, "of eight that miss it one loads it");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_run_is_refused_in_words() {
    bench(async |bench| {
        bench.prepare().await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let mut spec = bench.spec(1, "");
        spec.program = vec![ProgramSource::Binary { path: path.clone(), args: vec![] }];
        let refused = bench.docker.create_runner(&spec).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Missing);
        assert!(refused.message.contains("program cannot be read"), "{refused}");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        let refused = bench.docker.create_runner(&spec).await.unwrap_err();
        assert!(refused.message.ends_with("is not executable"), "{refused}");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let refused = bench.docker.create_runner(&spec).await.unwrap_err();
        assert!(refused.message.contains("is no executable of Linux"), "{refused}");

        let mut spec = bench.spec(2, "");
        spec.needs.limits.memory_bytes = Some(1 << 20);
        assert_eq!(bench.docker.create_runner(&spec).await.unwrap_err().kind, ErrorKind::Unsupported);
        assert_eq!(
            bench.docker.create_instance(&spec).await.unwrap_err().kind,
            ErrorKind::Invalid,
            "by the engine"
        );
        assert_eq!(bench.docker.observe(&bench.cluster).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_program_that_was_not_prepared_is_loaded_by_its_first_create() {
    bench(async |bench| {
        let mut cluster = bench.cluster_spec();
        cluster.programs.clear();
        bench.docker.prepare(&cluster).await.unwrap();
        bench.create(1, "exit 0").await;
        assert_eq!(bench.end_of(1).await.code, Some(0));
    })
    .await;
}
