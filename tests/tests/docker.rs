//! Modules in containers: the main job, what the engine shows of it, and what is said when it cannot be.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::collections::{BTreeMap, BTreeSet};

use ftl_core::Operator;
use ftl_core::controller::{ChangeState, Wanted};
use serde_json::Value;
use tests::changes::change;
use tests::docker::{Container, Engine};
use tests::project::{TICKER, workspace};
use tests::proxy::Proxy;
use tests::{Running, Sandbox, block_on};

const HELLO: &str = "examples/hello";
const CALL: &str = "greeter.hello {name: \"Ada\"}";

#[test]
fn modules_run_in_containers_and_leave_one_image() {
    let Some(engine) = Engine::find("modules_run_in_containers_and_leave_one_image") else { return };
    let sandbox = Sandbox::new();
    // A file of this machine is none in a container: what runs there goes on without it.
    let log = sandbox.path("log.jsonl").to_str().unwrap().to_owned();
    let proxy = Proxy::start(&sandbox.path("engine.sock"));
    let sandbox = sandbox.with("FTL_LOG_FILE", log).with("FTL_DOCKER_HOST", proxy.host());
    let cluster = &Engine::cluster("main-job");
    let mut dev =
        sandbox.start(&["dev", HELLO, "--platform", "docker", "--cluster", cluster, "--format", "json"]);
    dev.wait_until_ready();
    let reply = sandbox.run_at(&dev, &["call", "greeter.hello", "{name: \"Ada\"}"]).expect(0);
    assert!(reply.stdout.starts_with("{\"message\":\"Hello, Ada! It is "), "{reply:?}");

    // A Runner may serve before the engine has answered that it was started, and says so.
    tests::wait_until("both run", || engine.containers(cluster).iter().all(|container| container.running));
    let containers = engine.containers(cluster);
    assert_eq!(containers.len(), 2, "{containers:?}");
    tests::wait_until("`ps` names the containers", || {
        let ps = sandbox.run_at(&dev, &["ps"]).expect(0).stdout;
        containers.iter().all(|container| ps.contains(&container.name))
    });
    for container in &containers {
        is_hardened(&engine, &container.id);
    }
    let image = engine.inspect(&containers[0].id).config.unwrap().image.unwrap();
    let volumes: Vec<String> = containers.iter().map(|container| volume(&engine, &container.id)).collect();

    assert_eq!(dev.end(rustix::process::Signal::INT).code, 130);
    engine.assert_nothing_of(cluster);
    let left = engine.volumes();
    assert!(volumes.iter().all(|volume| !left.contains(volume)), "{volumes:?}");
    // It stays, under the one name that was ever asked for, and was loaded at most once.
    assert_eq!(engine.tags(&image), [image.as_str()]);
    let requests = proxy.requests();
    let images: BTreeSet<&str> = requests
        .iter()
        .filter_map(|request| request.strip_prefix("GET /images/")?.strip_suffix("/json"))
        .collect();
    assert_eq!(images, [image.as_str()].into());
    assert!(requests.iter().filter(|request| request.starts_with("POST /images/load")).count() <= 1);
    sandbox.finish();
}

/// The one volume of a container.
fn volume(engine: &Engine, id: &str) -> String {
    let mounts = engine.inspect(id).mounts.unwrap();
    mounts.into_iter().find_map(|mount| mount.name).unwrap()
}

fn is_hardened(engine: &Engine, id: &str) {
    let inspected = engine.inspect(id);
    let (config, host) = (inspected.config.unwrap(), inspected.host_config.unwrap());
    assert_ne!(config.user.as_deref().unwrap_or("0").split(':').next(), Some("0"));
    assert_eq!(host.readonly_rootfs, Some(true));
    assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
    assert!(host.security_opt.unwrap().iter().any(|option| option.starts_with("no-new-privileges")));
    assert!(host.pids_limit.unwrap() > 0);
    assert!(host.port_bindings.unwrap_or_default().is_empty(), "no port is published");
    assert!(config.healthcheck.is_none(), "nobody looks into it by starting programs");
    assert_eq!(host.restart_policy.unwrap().name.unwrap().to_string(), "no");
}

#[test]
fn nothing_travels_twice_and_a_module_moves_alone() {
    let Some(engine) = Engine::find("nothing_travels_twice_and_a_module_moves_alone") else { return };
    let sandbox = Sandbox::new();
    let proxy = Proxy::start(&sandbox.path("engine.sock"));
    let sandbox = sandbox.with("FTL_DOCKER_HOST", proxy.host());
    let cluster = &Engine::cluster("moving");
    let mut dev =
        sandbox.start(&["dev", HELLO, "--platform", "docker", "--cluster", cluster, "--format", "json"]);
    dev.wait_until_ready();
    let running = |name: &str| {
        let containers = engine.containers(cluster);
        containers.into_iter().filter(|found| found.running && found.name.contains(name)).collect::<Vec<_>>()
    };
    // A container may serve before the engine says that it runs.
    tests::wait_until("both run", || running("").len() == 2);
    let (before, asked) = (engine.containers(cluster), proxy.changes());
    let again =
        sandbox.run_at(&dev, &["deploy", HELLO, "--platform", "docker", "--format", "json"]).expect(0);
    assert_eq!(again.json()["uploaded_bytes"], 0);
    assert_eq!(engine.containers(cluster), before, "nothing was touched");
    assert_eq!(proxy.changes(), asked, "the engine got nothing but questions");

    // One module local and one in a container call each other.
    place(&dev, "clock", "local");
    let reply = sandbox.run_at(&dev, &["call", "greeter.hello", "{name: \"Ada\"}"]).expect(0);
    assert!(reply.stdout.contains("Hello, Ada!"), "{reply:?}");
    tests::wait_until("clock has left its container", || running("clock").is_empty());
    assert_eq!(running("greeter").len(), 1);
    place(&dev, "greeter", "local");
    place(&dev, "clock", "docker");
    let reply = sandbox.run_at(&dev, &["call", "greeter.hello", "{name: \"Ada\"}"]).expect(0);
    assert!(reply.stdout.contains("Hello, Ada!"), "{reply:?}");

    // A container that somebody removes is replaced, and said so.
    tests::wait_until("clock runs in a container", || running("clock").len() == 1);
    let clock = running("clock").remove(0);
    engine.remove(&clock.id);
    tests::wait_until("another container runs", || running("clock").iter().any(|found| found.id != clock.id));
    assert_eq!(dev.end(rustix::process::Signal::TERM).code, 0);
    engine.assert_nothing_of(cluster);
    sandbox.finish();
}

/// Says where each module runs and what it may use.
const MANIFEST: &str = r#"
[modules.boxed]
platform = "docker"
memory = "96 MiB"
cpu = 0.5
pids = 50
"#;

#[test]
fn a_project_says_where_each_module_runs_and_what_it_may_use() {
    let Some(engine) = Engine::find("a_project_says_where_each_module_runs_and_what_it_may_use") else {
        return;
    };
    let sandbox = Sandbox::new().with_shared_target();
    let proxy = Proxy::start(&sandbox.path("engine.sock"));
    let sandbox = sandbox.with("FTL_DOCKER_HOST", proxy.host());
    let (folder, cluster) = (sandbox.path("placed"), &Engine::cluster("placed"));
    let ticking = |word: &str| TICKER.replace("tick() {}", &format!("tick() {{ eprintln!(\"it {word}\") }}"));
    workspace(&folder, &[("boxed", &ticking("ticks")), ("plain", TICKER)]);
    std::fs::write(folder.join("ftl.toml"), MANIFEST).unwrap();
    let project = folder.to_str().unwrap();
    let serve = sandbox.serve_with("data", &["--cluster", cluster]);
    let deploy = || sandbox.run_at(&serve, &["deploy", project, "--format", "json"]).expect(0).json();
    let _ = deploy();
    let boxed = only_container(&engine, cluster);
    is_limited(&engine, &boxed.id);
    let plain = replicas(&sandbox, &serve, "plain", "local");
    let _ = replicas(&sandbox, &serve, "boxed", "docker");

    // What it writes is told with the place where it runs.
    let _ = sandbox.run_at(&serve, &["call", "boxed.tick"]).expect(0);
    let from = format!("[docker/{}] it ticks", boxed.name);
    tests::wait_until("its line names its container", || {
        sandbox.run_at(&serve, &["logs", "boxed"]).expect(0).stdout.contains(&from)
    });

    // Of a module that was changed only its new files travel, and nobody else is touched.
    let (before, asked) = (artefacts(&sandbox, project), proxy.changes().len());
    std::fs::write(folder.join("boxed/src/main.rs"), ticking("tocks")).unwrap();
    let after = artefacts(&sandbox, project);
    let new: Vec<_> = after.iter().filter(|(digest, _)| !before.contains_key(*digest)).collect();
    assert_eq!(new.len(), 1, "its program: {new:?}");
    assert_eq!(deploy()["uploaded_bytes"], *new[0].1);
    tests::wait_until("the former one is gone", || engine.containers(cluster).len() == 1);
    assert_ne!(only_container(&engine, cluster), boxed);
    assert_eq!(replicas(&sandbox, &serve, "plain", "local"), plain);
    let changes = proxy.changes().split_off(asked);
    let made: Vec<_> =
        changes.iter().filter(|change| change.starts_with("POST /containers/create")).collect();
    assert!(made.len() == 1 && made[0].contains("-boxed-"), "{changes:?}");
    assert!(!changes.iter().any(|change| change.starts_with("POST /images")), "{changes:?}");
    let _ = serve.end(rustix::process::Signal::TERM).expect(0);
    sandbox.finish();
    engine.assert_nothing_of(cluster);
}

fn only_container(engine: &Engine, cluster: &str) -> Container {
    let mut containers = engine.containers(cluster);
    assert_eq!(containers.len(), 1, "{containers:?}");
    containers.remove(0)
}

fn is_limited(engine: &Engine, id: &str) {
    let host = engine.inspect(id).host_config.unwrap();
    assert_eq!((host.memory, host.memory_swap), (Some(96 << 20), Some(96 << 20)), "no swap besides");
    assert_eq!((host.nano_cpus, host.pids_limit), (Some(500_000_000), Some(50)));
    let log = host.log_config.unwrap();
    assert_eq!(log.typ.as_deref(), Some("json-file"));
    let rotated = [("max-size", "20m"), ("max-file", "2")].map(|(key, value)| (key.into(), value.into()));
    assert_eq!(log.config.unwrap(), rotated.into());
}

/// The replicas of a module, which runs on this platform.
fn replicas(sandbox: &Sandbox, serve: &Running, module: &str, platform: &str) -> Value {
    let ps = sandbox.run_at(serve, &["ps", "--format", "json"]).expect(0).json();
    let status = ps["modules"].as_array().unwrap().iter().find(|status| status["module"] == module).unwrap();
    assert_eq!(status["platform"], platform, "{status}");
    let keys = status["replicas"].as_array().unwrap().iter().map(|replica| replica["runner"].clone());
    keys.collect()
}

/// The size of each artefact of a project, by its digest.
fn artefacts(sandbox: &Sandbox, project: &str) -> BTreeMap<String, u64> {
    let built = sandbox.run(&["build", project, "--format", "json"]).expect(0).json();
    let modules = built["modules"].as_array().unwrap();
    let artefacts = modules.iter().flat_map(|module| module["artefacts"].as_array().unwrap());
    let one = |artefact: &Value| {
        (artefact["digest"].as_str().unwrap().to_owned(), artefact["size"].as_u64().unwrap())
    };
    artefacts.map(one).collect()
}

#[test]
fn a_start_that_fails_brings_the_last_words_out_of_the_container() {
    let Some(engine) = Engine::find("a_start_that_fails_brings_the_last_words_out_of_the_container") else {
        return;
    };
    let (sandbox, cluster) = (Sandbox::new(), &Engine::cluster("exits"));
    let arguments = ["dev", "tests/modules/exits", "--platform", "docker", "--cluster", cluster];
    let answer = sandbox.run(&[&arguments[..], &["--call", "exits.nothing"]].concat()).expect(1);
    for text in ["crash loop", "exits: crashed: exited with code 3", "there is no configuration"] {
        assert!(answer.says(text), "`{text}`: {}", answer.stderr);
    }
    engine.assert_nothing_of(cluster);
    sandbox.finish();
}

/// Moves a module to another platform and waits until it serves there.
fn place(running: &Running, module: &str, platform: &str) {
    let client = running.client();
    block_on(async {
        let modules = client.status().await.unwrap();
        let status = modules.iter().find(|status| status.module.as_str() == module).unwrap();
        let wanted = Wanted {
            deployment: status.deployment.clone(),
            platform: platform.parse().unwrap(),
            replicas: status.desired,
        };
        let changed = change(&client, &format!("move-{module}-{platform}"), wanted).await;
        assert_eq!(changed.state, ChangeState::Committed, "{:?}", changed.modules);
    });
}

#[test]
fn an_engine_that_is_not_there_is_told() {
    let sandbox = Sandbox::new().with("FTL_DOCKER_HOST", "unix:///nowhere/docker.sock");
    let answer =
        sandbox.run(&["dev", HELLO, "--platform", "docker", "--timeout", "3", "--call", CALL]).expect(124);
    assert!(answer.says("/nowhere/docker.sock"), "{answer:?}");
    let list = sandbox.run(&["platform", "list"]).expect(0);
    assert!(list.stdout.contains("down: "), "{list:?}");
    sandbox.finish();
}

#[test]
fn an_unknown_platform_names_the_known_ones() {
    let sandbox = Sandbox::new();
    let answer = sandbox.run(&["dev", HELLO, "--platform", "dokcer", "--call", CALL]).expect(1);
    assert!(
        answer.says("there is no platform `dokcer`, only local, docker; did you mean `docker`?"),
        "{answer:?}"
    );
    sandbox.finish();
}

#[test]
fn limits_that_the_engine_would_refuse_are_refused_when_planned() {
    let Some(engine) = Engine::find("limits_that_the_engine_would_refuse_are_refused_when_planned") else {
        return;
    };
    let sandbox = Sandbox::new().with_shared_target();
    let (folder, cluster) = (sandbox.path("limits"), &Engine::cluster("limits"));
    workspace(&folder, &[("small", TICKER)]);
    let serve = sandbox.serve_with("data", &["--cluster", cluster]);
    let deploy = |limit: &str| {
        std::fs::write(folder.join("ftl.toml"), format!("[modules.small]\n{limit}\n")).unwrap();
        let arguments = ["deploy", folder.to_str().unwrap(), "--platform", "docker", "--timeout", "10"];
        sandbox.run_at(&serve, &arguments).expect(1)
    };
    // Too little for any engine, and more than this one's machine has.
    let answer = deploy("memory = \"1 MiB\"");
    assert!(answer.says("`docker` cannot give 1048576 of memory"), "{answer:?}");
    let answer = deploy("cpu = 900.0");
    assert!(answer.says("`docker` cannot give 900000 of processor time"), "{answer:?}");
    assert!(answer.says("only 10 to"), "{answer:?}");
    assert!(engine.containers(cluster).is_empty());
    let _ = serve.end(rustix::process::Signal::TERM).expect(0);
    engine.assert_nothing_of(cluster);
    sandbox.finish();
}
