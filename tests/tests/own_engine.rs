//! What would end the work of others on the machine's own engine: a machine that goes down, an engine that is killed, and
//! one whose disk is full.
//!
//! It takes an engine of its own, in a network namespace of its own, and root. So it is run by hand:
//! `cargo test -p tests --test own_engine -- --ignored`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::docker::Engine;
use tests::load::under_load;
use tests::processes::descendants;
use tests::sink::Sink;
use tests::{Running, Sandbox, wait_until};

/// Says that this process is in the namespace already.
const INSIDE_VARIABLE: &str = "FTL_TEST_INSIDE";
/// How long everything may take to serve again.
const READY_MAX: Duration = Duration::from_secs(15);
const CLUSTER: &str = "test-reboot";
const HELLO: &str = "examples/hello";

#[test]
#[ignore = "starts an engine of its own, as root: run it by hand"]
fn everything_serves_again_after_a_reboot() {
    on_an_engine_of_its_own("everything_serves_again_after_a_reboot", reboot);
}

#[test]
#[ignore = "starts an engine of its own, as root: run it by hand"]
fn calls_go_on_while_the_engine_is_killed_and_starts_again() {
    on_an_engine_of_its_own("calls_go_on_while_the_engine_is_killed_and_starts_again", kill_the_engine);
}

#[test]
#[ignore = "starts an engine of its own, as root: run it by hand"]
fn a_full_disk_is_told_and_nothing_is_lost() {
    on_an_engine_of_its_own("a_full_disk_is_told_and_nothing_is_lost", fill_the_disk);
}

/// Runs a drill over a folder, in a network namespace where no other engine is.
fn on_an_engine_of_its_own(test: &str, drill: fn(&Path)) {
    match std::env::var_os(INSIDE_VARIABLE) {
        None => in_a_namespace(test),
        Some(folder) => drill(Path::new(&folder)),
    }
}

/// Runs this test again, in a network namespace that is removed afterwards.
fn in_a_namespace(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let namespace = format!("ftl-test-{}-{}", test.len(), std::process::id());
    let ip = |arguments: &[&str]| Command::new("ip").args(arguments).status().unwrap();
    assert!(ip(&["netns", "add", &namespace]).success(), "it takes root, and iproute2");
    assert!(ip(&["-n", &namespace, "link", "set", "lo", "up"]).success());
    // Not `ip netns exec`, which also takes the control groups away.
    let again = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env(INSIDE_VARIABLE, folder.path())
        .env("DOCKER_HOST", format!("unix://{}", socket(folder.path()).display()))
        .status();
    assert!(ip(&["netns", "delete", &namespace]).success());
    assert!(again.unwrap().success());
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("docker.sock")
}

/// An engine of our own.
struct Dockerd {
    child: Child,
    folder: PathBuf,
}

impl Dockerd {
    fn start(folder: &Path) -> Self {
        // Not the machine's own configuration, which has folders of its own. Containers outlive the engine's process.
        fs::write(folder.join("daemon.json"), r#"{"live-restore": true}"#).unwrap();
        let started = Self { child: Self::spawn(folder), folder: folder.to_owned() };
        started.wait_until_it_answers();
        started
    }

    fn spawn(folder: &Path) -> Child {
        let log = fs::File::create(folder.join("dockerd.log")).unwrap();
        Command::new("dockerd")
            .arg("--config-file")
            .arg(folder.join("daemon.json"))
            .arg("--host")
            .arg(format!("unix://{}", socket(folder).display()))
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn wait_until_it_answers(&self) {
        let said = || fs::read_to_string(self.folder.join("dockerd.log")).unwrap_or_default();
        wait_until("the engine answers", || {
            assert!(!said().contains("failed to start daemon"), "{}", said());
            Engine::answers()
        });
    }

    /// Kills the engine's process and no other, and starts it again.
    fn restart(&mut self) {
        self.child.kill().unwrap();
        let _ = self.child.wait();
        // Its containerd died with it. Where nobody buries such processes, a new engine would wait for the old one.
        for pid in ["pid", "exec/containerd/containerd.pid"] {
            let _ = fs::remove_file(self.folder.join(pid));
        }
        self.child = Self::spawn(&self.folder);
        self.wait_until_it_answers();
    }

    /// The engine, and all that it started: some of it is nobody's child any more, and names the engine's folder.
    fn processes(&self) -> BTreeSet<u32> {
        let folder = self.folder.join("exec").display().to_string();
        let mut found = BTreeSet::from([self.child.id()]);
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&folder) {
                found.insert(pid);
            }
        }
        let children: Vec<u32> =
            found.iter().flat_map(|pid| descendants(*pid)).map(|child| child.pid).collect();
        found.extend(children);
        found
    }
}

impl Drop for Dockerd {
    /// Kills it, and all that it started.
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
        }
        let _ = self.child.wait();
        // What a machine does not have when it starts: mounts, and files of `/run`.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let ours = self.folder.display().to_string();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for place in places.filter(|place| place.starts_with(&ours)) {
            let _ = Command::new("umount").args(["--lazy", place]).status();
        }
        let _ = fs::remove_dir_all(self.folder.join("exec"));
        let _ = fs::remove_file(self.folder.join("pid"));
        let _ = fs::remove_file(socket(&self.folder));
    }
}

fn ready(sandbox: &Sandbox, serve: &Running) -> bool {
    let ps = sandbox.run_at(serve, &["ps", "--format", "json"]).expect(0).json();
    ps["modules"].as_array().unwrap().iter().all(|module| module["ready"] == module["desired"])
}

fn reboot(folder: &Path) {
    let dockerd = Dockerd::start(folder);
    let engine = Engine::find("everything_serves_again_after_a_reboot").unwrap();
    let sandbox = Sandbox::new();
    let serve = sandbox.serve_with("data", &["--cluster", CLUSTER]);
    let _ = sandbox.run_at(&serve, &["deploy", HELLO, "--platform", "docker"]).expect(0);
    assert_eq!(engine.containers(CLUSTER).len(), 2);

    let _ = serve.end(Signal::KILL);
    drop(dockerd);
    let dockerd = Dockerd::start(folder);
    let start = Instant::now();
    let serve = sandbox.serve("data");
    wait_until("every module is ready", || ready(&sandbox, &serve));
    let took = start.elapsed();
    println!("ready {:.1} s after the Controller was started", took.as_secs_f64());
    assert!(took <= READY_MAX, "{took:?}");
    let reply = sandbox.run_at(&serve, &["call", "greeter.hello", "{name: \"Ada\"}"]).expect(0);
    assert!(serde_json::from_str::<Value>(&reply.stdout).is_ok(), "{reply:?}");
    wait_until("what went down is removed", || engine.containers(CLUSTER).len() == 2);
    assert!(engine.containers(CLUSTER).iter().all(|container| container.running));
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
    engine.assert_nothing_of(CLUSTER);
    drop(dockerd);
}

fn kill_the_engine(folder: &Path) {
    let mut dockerd = Dockerd::start(folder);
    let engine = Engine::find("calls_go_on_while_the_engine_is_killed_and_starts_again").unwrap();
    let sandbox = Sandbox::new();
    let cluster = "test-engine-killed";
    let serve = sandbox.serve_with("data", &["--cluster", cluster]);
    let _ = sandbox.run_at(&serve, &["deploy", "tests/modules/counter", "--platform", "docker"]).expect(0);
    let before = engine.containers(cluster);
    let sink = Sink::start(engine.gateway(cluster), &sandbox.path("noted"));
    let tally = under_load(&serve, Path::new(&sink.address()), 50, || dockerd.restart());
    assert!(tally.may_have_run.is_empty() && tally.not_started.is_empty(), "{tally:?}");
    tally.assert_nothing_lost_or_doubled(sink.file());
    wait_until("it is well again", || {
        let ps = sandbox.run_at(&serve, &["ps", "--format", "json"]).expect(0).json();
        ps["modules"][0]["platform_trouble"].is_null()
    });
    assert_eq!(engine.containers(cluster), before, "nothing was touched");
    // What is asked afterwards is done by the same connection's successor.
    let _ = sandbox.run_at(&serve, &["deploy", HELLO, "--platform", "docker"]).expect(0);
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
    engine.assert_nothing_of(cluster);
    drop(dockerd);
}

/// A disk of this size for the engine's data.
fn disk(folder: &Path, options: &str) {
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(data).status();
    assert!(mounted.unwrap().success());
}

fn fill_the_disk(folder: &Path) {
    // Not even the runner's image has room.
    disk(folder, "size=12m");
    let dockerd = Dockerd::start(folder);
    let engine = Engine::find("a_full_disk_is_told_and_nothing_is_lost").unwrap();
    let sandbox = Sandbox::new();
    let cluster = "test-full-disk";
    let serve = sandbox.serve_with("data", &["--cluster", cluster]);
    let deploy = ["deploy", HELLO, "--platform", "docker", "--timeout", "10"];
    let answer = sandbox.run_at(&serve, &deploy).expect(124);
    assert!(answer.says("no space left on device"), "{answer:?}");
    assert!(answer.says("the engine's disk is full"), "{answer:?}");
    assert!(engine.containers(cluster).is_empty() && engine.runner_images().is_empty());

    disk(folder, "remount,size=2g");
    let _ = sandbox.run_at(&serve, &deploy[..4]).expect(0);
    let reply = sandbox.run_at(&serve, &["call", "greeter.hello", "{name: \"Ada\"}"]).expect(0);
    assert!(serde_json::from_str::<Value>(&reply.stdout).is_ok(), "{reply:?}");
    assert_eq!(engine.containers(cluster).len(), 2);
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
    engine.assert_nothing_of(cluster);
    drop(dockerd);
}
