//! Engines that are away, too old, silent, late, or cut the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ftl_core::key::{Epoch, RunnerKey};
use ftl_core::platform::{
    Capability, Effect, ErrorKind, Health, InstanceRef, InstanceSpec, InstanceState, Platform, Probe,
    RemoveOptions,
};
use ftl_core::{PlatformExt, Secret};
use ftl_platform_docker::Docker;
use futures_util::StreamExt;
use tokio::net::UnixListener;
use tokio::time::{Instant, timeout};

use crate::bench::{Bench, WAIT, bench, options, program};
use crate::fake::{Fake, Fate, HASTY, Hold, held, proxy, young};

fn spec(key: u64) -> InstanceSpec {
    let source = ftl_core::platform::ProgramSource::Binary { path: program(), args: vec![] };
    let (cluster, language) = ("c".parse().unwrap(), "rust".parse().unwrap());
    InstanceSpec::new(cluster, RunnerKey(key), language, Epoch(1), vec![source], Secret::new(*b"x"))
}

#[tokio::test]
async fn an_engine_that_is_away_is_no_empty_one() {
    let mut options = options();
    options.host = Some("unix:///nowhere/docker.sock".into());
    let docker = Docker::new(options);
    assert!(docker.describe().can(Capability::Adopt), "constant, without an engine");
    let cluster = "c".parse().unwrap();
    let error = docker.observe(&cluster).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Effect::None));
    assert!(error.message.contains("no docker engine: there is no socket /nowhere/docker.sock"), "{error}");
    assert!(error.message.contains("(the configured host)"), "{error}");
    let error = docker.create_instance(&spec(1)).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Effect::None));
    let Health::Down { why } = docker.probe(Probe::Ping).await.unwrap() else { panic!() };
    assert!(why.contains("DOCKER_HOST"), "says what to do: {why}");
}

#[tokio::test]
async fn an_engine_that_ended_is_told_from_one_that_never_was() {
    let fake = Fake { directory: tempfile::tempdir().unwrap() };
    drop(UnixListener::bind(fake.socket()).unwrap());
    let error = fake.docker().observe(&"c".parse().unwrap()).await.unwrap_err();
    assert!(error.message.contains("has ended and left its socket"), "{error}");
}

#[tokio::test]
async fn who_may_not_use_an_engine_is_told_which_group_may() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let fake = Fake::start(|_| Fate::Cut);
    if chown(fake.socket(), Some(0), Some(0)).is_err() {
        println!("skipped: only root can be somebody else");
        return;
    }
    std::fs::set_permissions(fake.socket(), PermissionsExt::from_mode(0o660)).unwrap();
    std::fs::set_permissions(fake.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = fake.directory.path().join("program");
    std::fs::copy(program(), &copy).unwrap();
    let said = std::process::Command::new(copy)
        .args(crate::program::args())
        .env(crate::program::SCRIPT, format!("probe unix://{}", fake.socket().display()))
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("no permission to use the docker engine at"), "{said}");
    assert!(said.contains("add yourself to the group `root`"), "{said}");
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_refused() {
    let fake = Fake::start(|_| Fate::Answer(200, r#"{"ApiVersion":"1.40","Version":"19.03.8"}"#));
    let error = fake.docker().observe(&"c".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("version 19.03.8 speaks API 1.40, and 1.41 is needed"), "{error}");
}

#[tokio::test]
async fn what_never_came_back_may_have_happened() {
    let fake = Fake::start(young(Fate::Silence));
    let mut options = fake.options();
    options.timings.read = HASTY;
    let (docker, cluster) = (Docker::new(options), "c".parse().unwrap());
    let error = docker.observe(&cluster).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Timeout, Effect::None), "it only looks");
    assert!(matches!(docker.probe(Probe::Ping).await.unwrap(), Health::Down { .. }));

    let image = bench_image();
    for (fate, kind) in [(Fate::Silence, ErrorKind::Timeout), (Fate::Cut, ErrorKind::Unavailable)] {
        let fake = Fake::start(move |request| match request {
            request if request.starts_with("GET /containers/json") => Fate::Answer(200, "[]"),
            request if request.starts_with("GET /networks") => Fate::Answer(
                200,
                r#"[{"Name":"ftl-c","Id":"n","Labels":{"ftl.managed-by":"ftl","ftl.cluster":"c"}}]"#,
            ),
            request if request.starts_with("POST /containers/create") => fate.clone(),
            request => young(Fate::Answer(404, "{}"))(request),
        });
        let mut spec = spec(1);
        spec.program = vec![image.clone()];
        let error = fake.hasty().create_instance(&spec).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (kind, Effect::Unknown), "{error}");
    }
}

fn bench_image() -> ftl_core::platform::ProgramSource {
    ftl_core::platform::ProgramSource::Binary { path: program(), args: vec![] }
}

#[tokio::test]
async fn what_cannot_start_is_an_ended_instance_if_the_engine_keeps_the_reason() {
    let engine = |state: &'static str| {
        Fake::start(move |request| match request.split('?').next().unwrap_or_default() {
            "GET /containers/json" => Fate::Answer(200, "[]"),
            request if request.starts_with("GET /networks") => Fate::Answer(
                200,
                r#"[{"Name":"ftl-c","Id":"n","Labels":{"ftl.managed-by":"ftl","ftl.cluster":"c"}}]"#,
            ),
            "POST /containers/create" => Fate::Answer(201, r#"{"Id":"x","Warnings":[]}"#),
            "PUT /containers/x/archive" => Fate::Answer(200, ""),
            request if request.starts_with("POST /containers/x/start") => {
                Fate::Answer(400, r#"{"message":"no such thing"}"#)
            }
            request if request.starts_with("GET /containers/x/json") => Fate::Answer(200, state),
            request => young(Fate::Answer(404, ""))(request),
        })
    };
    let kept = engine(r#"{"Id":"x","State":{"Status":"created","Error":"no such thing","ExitCode":127}}"#);
    assert!(!kept.docker().create_instance(&spec(1)).await.unwrap().existed);
    let lost = engine(r#"{"Id":"x","State":{"Status":"created","Error":"","ExitCode":0}}"#);
    let error = lost.docker().create_instance(&spec(1)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.ends_with("ftl-c-runner-1: no such thing"), "{error}");
}

#[tokio::test]
async fn a_network_that_goes_before_the_start_leaves_nothing_half_made() {
    bench(async |bench| {
        bench.prepare().await;
        let (hold, fake) = held("/start");
        let (docker, spec) = (fake.patient(), bench.spec(1, "term stay"));
        let removed = async {
            hold.waits().await;
            bench.raw.remove_network(&format!("ftl-{}", bench.cluster)).await.unwrap();
            hold.release();
        };
        let (missing, ()) = tokio::join!(docker.create_instance(&spec), removed);
        assert_eq!(missing.unwrap_err().kind, ErrorKind::Missing);
        assert_eq!(bench.leftovers().await, Vec::<String>::new());
        bench.prepare().await;
        assert!(!bench.docker.create_instance(&spec).await.unwrap().existed);
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_is_full_is_told_as_such() {
    let fake = Fake::start(|request| match request {
        request if request.starts_with("GET /images/") => Fate::Answer(404, r#"{"message":"no such image"}"#),
        request if request.starts_with("POST /images/load") => {
            Fate::Answer(500, r#"{"message":"write /var/lib/docker/tmp/x: no space left on device"}"#)
        }
        request => young(Fate::Answer(404, "{}"))(request),
    });
    let mut cluster = ftl_core::platform::ClusterSpec::new("c".parse().unwrap(), Epoch(1), vec![]);
    cluster.programs = vec![bench_image()];
    let error = fake.docker().prepare(&cluster).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted);
    assert!(error.hint.unwrap().contains("disk is full"));
}

#[tokio::test]
async fn a_watch_of_a_frozen_engine_ends() {
    let frozen = Arc::new(AtomicBool::new(false));
    let fake = Fake::start({
        let frozen = frozen.clone();
        move |request| match request {
            request if request.contains("/_ping") && !frozen.load(Ordering::SeqCst) => {
                Fate::Answer(200, "OK")
            }
            request => young(Fate::Silence)(request),
        }
    });
    let mut watch = fake.docker().watch(&"c".parse().unwrap()).await.unwrap();
    use ftl_core::platform::Wake;
    assert_eq!(watch.next().await, Some(Wake::Subscribed));
    assert_eq!(watch.next().await, Some(Wake::Alive));
    frozen.store(true, Ordering::SeqCst);
    let end = async { while watch.next().await.is_some() {} };
    timeout(WAIT, end).await.unwrap();
}

#[tokio::test]
async fn whatever_is_lost_on_the_way_one_instance_runs_in_the_end() {
    for text in ["POST /containers/create", "/archive", "/start"] {
        for fate in [Fate::Cut, Fate::LoseAnswer] {
            let started = text == "/start" && matches!(fate, Fate::LoseAnswer);
            bench(async |bench| {
                bench.prepare().await;
                let fake = proxy(fate, text);
                let docker = fake.patient();
                let spec = bench.spec(1, "term stay");
                match docker.create_runner(&spec).await {
                    Err(lost) => assert_eq!(lost.effect, Effect::Unknown, "{text}: {lost}"),
                    // What was not started is half made, and not taken for created.
                    Ok(created) => assert!(created.existed && started, "{text}"),
                }
                let created = docker.create_runner(&spec).await.unwrap();
                assert_eq!(bench.status(1).await.unwrap().state, InstanceState::Running, "{text}");
                bench.line(&created.instance, "ready").await;
                assert_eq!(bench.docker.observe(&bench.cluster).await.unwrap().len(), 1);
                bench.docker.remove_instance(&created.instance, RemoveOptions::forced()).await.unwrap();
            })
            .await;
        }
    }
}

/// An instance whose create times out and is still on its way.
async fn late_create(bench: &Bench) -> (InstanceSpec, Arc<Hold>, Fake) {
    bench.prepare().await;
    let hold = Arc::<Hold>::default();
    let fake = proxy(Fate::Late(hold.clone()), "POST /containers/create");
    let spec = bench.spec(1, "term stay");
    let error = fake.hasty().create_instance(&spec).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Timeout, Effect::Unknown), "{error}");
    hold.waits().await;
    assert_eq!(bench.docker.observe(&bench.cluster).await.unwrap(), [], "nothing came of it so far");
    (spec, hold, fake)
}

async fn runs_once(bench: &Bench, instance: &InstanceRef) {
    bench.line(instance, "ready").await;
    let seen = bench.docker.observe(&bench.cluster).await.unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((&seen[0].instance, &seen[0].state), (instance, &InstanceState::Running));
    let network = format!("ftl-{}", bench.cluster);
    assert_eq!(bench.leftovers().await.iter().filter(|name| **name != network).count(), 2, "and its volume");
}

#[tokio::test]
async fn a_create_that_comes_late_is_completed_by_the_next_one() {
    bench(async |bench| {
        let (spec, hold, _fake) = late_create(bench).await;
        hold.deliver().await;
        let created = bench.docker.create_instance(&spec).await.unwrap();
        assert!(created.existed);
        runs_once(bench, &created.instance).await;
    })
    .await;
}

#[tokio::test]
async fn a_create_that_comes_after_the_next_one_doubles_nothing() {
    bench(async |bench| {
        let (spec, hold, _fake) = late_create(bench).await;
        let created = bench.docker.create_instance(&spec).await.unwrap();
        assert!(!created.existed);
        hold.deliver().await;
        runs_once(bench, &created.instance).await;
    })
    .await;
}

#[tokio::test]
async fn a_create_that_comes_when_nobody_wants_it_any_more_is_seen_and_removed() {
    bench(async |bench| {
        let (_spec, hold, _fake) = late_create(bench).await;
        let instance = InstanceRef::new(bench.cluster.clone(), RunnerKey(1), "");
        bench.docker.remove_instance(&instance, RemoveOptions::forced()).await.unwrap();
        hold.deliver().await;
        assert_eq!(bench.status(1).await.unwrap().state, InstanceState::Pending);
        bench.docker.remove_instance(&instance, RemoveOptions::forced()).await.unwrap();
        assert_eq!(bench.leftovers().await, [format!("ftl-{}", bench.cluster)], "only the network");
    })
    .await;
}

#[tokio::test]
async fn a_lost_stop_or_removal_is_repeated_without_harm() {
    bench(async |bench| {
        bench.prepare().await;
        let instance = bench.create(1, "term stay").await;
        bench.line(&instance, "ready").await;
        let lossy = |text| {
            let fake = proxy(Fate::LoseAnswer, text);
            (fake.patient(), fake)
        };
        let (docker, _fake) = lossy("/kill");
        let lost = docker.stop_instance(&instance, Duration::ZERO).await.unwrap_err();
        assert_eq!(lost.effect, Effect::Unknown);
        docker.stop_instance(&instance, Duration::ZERO).await.unwrap();
        assert!(bench.end_of(1).await.asked);
        let (docker, _fake) = lossy("DELETE /containers");
        let lost = docker.remove_instance(&instance, RemoveOptions::default()).await.unwrap_err();
        assert_eq!(lost.effect, Effect::Unknown);
        docker.remove_instance(&instance, RemoveOptions::default()).await.unwrap();
        assert_eq!(bench.status(1).await, None);
    })
    .await;
}

#[tokio::test]
async fn whoever_is_asked_to_end_before_the_start_does_not_run() {
    bench(async |bench| {
        bench.prepare().await;
        let (hold, fake) = held("/start");
        let (docker, spec) = (fake.patient(), bench.spec(1, "term stay"));
        let stopped = async {
            hold.waits().await;
            let status = bench.status(1).await.unwrap();
            assert_eq!(status.state, InstanceState::Pending);
            bench.docker.stop_instance(&status.instance, Duration::ZERO).await.unwrap();
            let InstanceState::Ended(exit) = bench.status(1).await.unwrap().state else { panic!() };
            assert!(exit.asked && exit.never_started, "{exit:?}");
            hold.release();
        };
        let (created, ()) = tokio::join!(docker.create_instance(&spec), stopped);
        created.unwrap();
        assert!(bench.end_of(1).await.asked, "it was started all the same, and then ended");
        assert!(!bench.inspect(&container(bench, 1)).await["State"]["Running"].as_bool().unwrap());
    })
    .await;
}

fn container(bench: &Bench, key: u64) -> String {
    format!("ftl-{}-runner-{key}", bench.cluster)
}

#[tokio::test]
async fn an_engine_that_comes_back_is_used_again() {
    bench(async |bench| {
        bench.prepare().await;
        let fake = Fake::start(|_| Fate::Pass);
        let docker = fake.patient();
        assert_eq!(docker.observe(&bench.cluster).await.unwrap(), []);
        let (socket, away) = (fake.socket(), fake.directory.path().join("away.sock"));
        std::fs::rename(&socket, &away).unwrap();
        let error = docker.observe(&bench.cluster).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("there is no socket"), "{error}");
        std::fs::rename(&away, &socket).unwrap();
        assert_eq!(docker.observe(&bench.cluster).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_dropped_create_is_carried_out() {
    bench(async |bench| {
        bench.prepare().await;
        let spec = bench.spec(1, "term stay");
        assert!(timeout(Duration::from_millis(5), bench.docker.create_instance(&spec)).await.is_err());
        let until = Instant::now() + WAIT;
        while bench.status(1).await.is_none_or(|status| status.state != InstanceState::Running) {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let instance = InstanceRef::new(bench.cluster.clone(), spec.runner, "");
        bench.docker.remove_instance(&instance, RemoveOptions::forced()).await.unwrap();
    })
    .await;
}
