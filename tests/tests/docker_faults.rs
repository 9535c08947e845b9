//! Containers outlive their Controller, and service outlives the engine.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use ftl_core::Operator;
use ftl_core::controller::{ChangeSpec, ChangeState, Wanted};
use rustix::process::Signal;
use serde_json::Value;
use tests::changes::change;
use tests::docker::{Container, Engine};
use tests::load::{LANES, under_load};
use tests::proxy::{Mode, Proxy};
use tests::sink::Sink;
use tests::{Running, Sandbox, block_on, wait_until};

/// How many containers a Controller is to find again.
const CONTAINERS: u16 = 10;

/// A Controller of a cluster of this name, with `counter` in a container.
fn counting(sandbox: &Sandbox, cluster: &str) -> Running {
    let serve = sandbox.serve_with("data", &["--cluster", cluster]);
    let _ = sandbox.run_at(&serve, &["deploy", "tests/modules/counter", "--platform", "docker"]).expect(0);
    serve
}

fn wanted(serve: &Running, replicas: u16) -> Wanted {
    let counter = block_on(async { serve.client().status().await.unwrap().remove(0) });
    Wanted { deployment: counter.deployment, platform: counter.platform, replicas }
}

/// Asks for so many, and does not wait for them.
fn ask(serve: &Running, request: &str, replicas: u16) {
    let request = request.to_lowercase().parse().unwrap();
    let asked = ChangeSpec::new(request, vec![wanted(serve, replicas)]);
    let _ = block_on(async { serve.client().apply(asked).await }).unwrap();
}

fn scale(serve: &Running, replicas: u16) {
    let wanted = wanted(serve, replicas);
    let status = block_on(async { change(&serve.client(), &format!("to-{replicas}"), wanted).await });
    assert_eq!(status.state, ChangeState::Committed);
}

fn counter(sandbox: &Sandbox, serve: &Running) -> Value {
    sandbox.run_at(serve, &["ps", "--format", "json"]).expect(0).json()["modules"][0].clone()
}

fn running(engine: &Engine, cluster: &str) -> Vec<Container> {
    engine.containers(cluster).into_iter().filter(|container| container.running).collect()
}

#[test]
fn a_controller_that_is_killed_finds_its_containers_again() {
    let Some(engine) = Engine::find("a_controller_that_is_killed_finds_its_containers_again") else { return };
    let sandbox = Sandbox::new();
    let cluster = &Engine::cluster("adoption");
    let serve = counting(&sandbox, cluster);
    scale(&serve, CONTAINERS);
    // A container may serve before the engine says that it runs.
    wait_until("all run", || running(&engine, cluster).len() == usize::from(CONTAINERS));
    let before = running(&engine, cluster);

    let sink = Sink::start(engine.gateway(cluster), &sandbox.path("noted"));
    let to = sink.address();
    let next = Mutex::new(None);
    let tally = under_load(&serve, Path::new(&to), 20, || {
        wait_until("calls are made", || fs::metadata(sink.file()).unwrap().len() >= 500);
        serve.signal(Signal::KILL);
        *next.lock().unwrap() = Some(sandbox.serve_again("data", &serve));
    });
    tally.assert_nothing_lost_or_doubled(sink.file());
    assert!(tally.may_have_run.len() <= 2 * LANES, "too many: {:?}", tally.may_have_run);

    // From its first word on, the next one fails no call.
    let next: Running = next.into_inner().unwrap().unwrap();
    fs::write(sink.file(), "").unwrap();
    let tally = under_load(&next, Path::new(&to), 50, || {});
    assert_eq!(tally.ok.len(), LANES * 50, "{tally:?}");
    tally.assert_nothing_lost_or_doubled(sink.file());
    wait_until("all are ready again", || counter(&sandbox, &next)["ready"] == CONTAINERS);
    let found = counter(&sandbox, &next);
    assert_eq!(found["restarts"], 0, "{found}");
    assert_eq!(running(&engine, cluster), before, "the same containers");
    drop(serve);
    let _ = next.end(Signal::TERM).expect(0);
    assert_eq!(running(&engine, cluster), before, "they go on without it");
    sandbox.finish();
    engine.assert_nothing_of(cluster);
}

#[test]
fn a_controller_that_starts_while_the_engine_is_away_has_its_containers_back() {
    let name = "a_controller_that_starts_while_the_engine_is_away_has_its_containers_back";
    let Some(engine) = Engine::find(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&folder.path().join("engine.sock"));
    let sandbox = Sandbox::new().with("FTL_DOCKER_HOST", proxy.host());
    let cluster = &Engine::cluster("away");
    let serve = counting(&sandbox, cluster);
    wait_until("it runs", || running(&engine, cluster).len() == 1);
    let before = running(&engine, cluster);

    let outage = proxy.set(Mode::Cut);
    serve.signal(Signal::KILL);
    let next = sandbox.serve_again("data", &serve);
    let call = ["call", "counter.sleep", "0", "--timeout", "5"];
    wait_until("it is called", || sandbox.run_at(&next, &call).code == 0);
    wait_until("it is said that the engine does not work", || {
        counter(&sandbox, &next)["platform_trouble"].is_object()
    });
    drop(outage);
    wait_until("it is well again", || counter(&sandbox, &next)["platform_trouble"].is_null());
    assert_eq!(counter(&sandbox, &next)["restarts"], 0);
    assert_eq!(running(&engine, cluster), before, "the same container");
    drop(serve);
    let _ = next.end(Signal::TERM).expect(0);
    sandbox.finish();
    engine.assert_nothing_of(cluster);
}

/// Creates that reach the engine when nobody wants them any more.
fn late_creates_are_not_left(sandbox: &Sandbox, serve: &Running, proxy: &Proxy) {
    let outage = proxy.set(Mode::Late);
    ask(serve, "late", 5);
    wait_until("creates are on their way", || proxy.late() >= 2);
    ask(serve, "and-back", 3);
    wait_until("they are not wanted", || counter(sandbox, serve)["desired"] == 3);
    drop(outage);
    let answers = proxy.deliver();
    assert!(answers.contains(&201), "a container was made: {answers:?}");
}

#[test]
fn calls_go_on_while_the_engine_is_frozen_or_away() {
    let Some(engine) = Engine::find("calls_go_on_while_the_engine_is_frozen_or_away") else { return };
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&folder.path().join("engine.sock"));
    let sandbox = Sandbox::new().with("FTL_DOCKER_HOST", proxy.host());
    let cluster = &Engine::cluster("outage");
    let serve = counting(&sandbox, cluster);
    let sink = Sink::start(engine.gateway(cluster), &sandbox.path("noted"));
    let tally = under_load(&serve, Path::new(&sink.address()), 50, || {
        for (mode, replicas) in [(Mode::Frozen, 2), (Mode::Cut, 3)] {
            let outage = proxy.set(mode);
            wait_until("it is said that the engine does not work", || {
                counter(&sandbox, &serve)["platform_trouble"].is_object()
            });
            // Asked for while nothing can be done; what was under way then may happen late.
            ask(&serve, &format!("while-{mode:?}"), replicas);
            drop(outage);
            wait_until("it is done", || counter(&sandbox, &serve)["ready"] == replicas);
            wait_until("it is well again", || counter(&sandbox, &serve)["platform_trouble"].is_null());
        }
        late_creates_are_not_left(&sandbox, &serve, &proxy);
    });
    assert!(tally.may_have_run.is_empty() && tally.not_started.is_empty(), "{tally:?}");
    tally.assert_nothing_lost_or_doubled(sink.file());
    wait_until("as many run as are wanted, and no others are there", || {
        engine.containers(cluster).len() == 3 && running(&engine, cluster).len() == 3
    });
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
    engine.assert_nothing_of(cluster);
}
