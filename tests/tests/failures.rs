//! Honest failure: whatever breaks, the command says what, in time, and nobody else is harmed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ftl_core::Operator;
use ftl_core::controller::{ChangeState, Wanted};
use rustix::process::Signal;
use tests::changes::change;
use tests::load::under_load;
use tests::processes::{replica, send};
use tests::{PATIENCE, Running, Sandbox, comes_within, wait_until};

/// How long a Runner may be silent before its replica is replaced for that.
const LEASE: Duration = Duration::from_secs(10);

#[test]
fn a_deployment_that_exits_at_its_start_is_a_crash_loop_with_its_last_words() {
    let sandbox = Sandbox::new();
    let start = Instant::now();
    let answer = sandbox.run(&["dev", "tests/modules/exits", "--call", "exits.nothing"]).expect(1);
    for text in ["crash loop", "exits: crashed: exited with code 3", "there is no configuration", "help:"] {
        assert!(answer.says(text), "`{text}`: {}", answer.stderr);
    }
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    sandbox.finish();
}

#[test]
fn a_deployment_that_never_answers_is_named_within_the_deadline() {
    let sandbox = Sandbox::new();
    let arguments = ["dev", "tests/modules/silent", "--timeout", "45", "--call", "silent.nothing"];
    let answer = sandbox.run(&arguments).expect(124);
    for text in [
        "not ready within 45s",
        "silent: crashed: did not answer a ping within 20s",
        "waiting for the database",
    ] {
        assert!(answer.says(text), "`{text}`: {}", answer.stderr);
    }
    sandbox.finish();
}

#[test]
fn a_gigabyte_on_standard_error_is_bounded_and_its_end_is_told() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let _ = sandbox.run_at(&serve, &["deploy", "tests/modules/flood"]).expect(0);
    let answer = sandbox.run_at(&serve, &["call", "flood.pour", "--timeout", "300"]).expect(1);
    assert!(answer.says("the verb may have run"), "{}", answer.stderr);
    let ended = || {
        let ps = sandbox.run_at(&serve, &["ps", "--format", "json"]).expect(0).json();
        ps["modules"][0]["last_error"].as_str().map(str::to_owned)
    };
    wait_until("its end is told", || ended().is_some());
    let ended = ended().unwrap();
    assert!(ended.starts_with("crashed: exited with code 9\n"), "{ended}");
    assert!(ended.ends_with("that was a gigabyte"), "{ended}");
    assert!(ended.len() < 1 << 20, "{} bytes are shown", ended.len());
    let logs = sandbox.run_at(&serve, &["logs", "flood", "--tail", "100000", "--format", "json"]).expect(0);
    assert!(logs.stdout.len() < 16 << 20, "{} bytes were kept", logs.stdout.len());
    let lost = logs.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let lost: u64 = lost.filter_map(|line| line["line"]["lost_bytes"].as_u64()).sum();
    assert!(lost > 0, "what was lost is counted");
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_corrupt_artefact_never_runs_and_is_named() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let _ = sandbox.run_at(&serve, &["deploy", "examples/hello"]).expect(0);
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.down();
    // One byte of every artefact rots while nobody looks.
    for artefact in files(&sandbox.path("data/artefacts")) {
        let mut bytes = fs::read(&artefact).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&artefact, bytes).unwrap();
    }
    let serve = sandbox.serve("data");
    let until = Instant::now() + PATIENCE;
    let error = loop {
        let ps = sandbox.run_at(&serve, &["ps", "--format", "json"]).expect(0).json();
        assert_eq!(ps["modules"][0]["ready"], 0, "it must not run: {ps}");
        if let Some(error) = ps["modules"][0]["last_error"].as_str() {
            break error.to_owned();
        }
        assert!(Instant::now() < until, "{ps}");
    };
    assert!(error.contains("artefact `bin/clock` is corrupt: it should have the digest"), "{error}");
    // The next deploy notices, uploads anew, and all is well.
    let healed = sandbox.run_at(&serve, &["deploy", "examples/hello", "--format", "json"]).expect(0).json();
    assert!(healed["uploaded_bytes"].as_u64().unwrap() > 0, "{healed}");
    let _ = sandbox.run_at(&serve, &["call", "greeter.hello", "{name: 'Ada'}"]).expect(0);
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

/// Deploys `counter` and `clock`, then asks for two replicas of `counter`.
fn two_counters(sandbox: &Sandbox) -> Running {
    let serve = sandbox.serve("data");
    let _ = sandbox.run_at(&serve, &["deploy", "examples/hello/clock"]).expect(0);
    let _ = sandbox.run_at(&serve, &["deploy", "tests/modules/counter"]).expect(0);
    let client = serve.client();
    tests::block_on(async {
        let modules = client.status().await.unwrap();
        let counter = modules.iter().find(|module| module.module.as_str() == "counter").unwrap();
        let (deployment, platform) = (counter.deployment.clone(), counter.platform.clone());
        let status = change(&client, "two", Wanted { deployment, platform, replicas: 2 }).await;
        assert_eq!(status.state, ChangeState::Committed);
    });
    serve.look();
    serve
}

/// Kills one process of `counter`: its user code, or the runner around it. Waits until that was noticed by its end, so
/// long before its lease is over that it was not its silence.
fn kill_one(serve: &Running, runner: bool, restarts: u32) {
    let (its_runner, code) = replica(&serve.look(), "counter").unwrap();
    send(if runner { its_runner } else { code }, Signal::KILL);
    let client = serve.client();
    let noticed = comes_within(LEASE / 2, || {
        let modules = tests::block_on(client.status()).unwrap();
        modules.iter().any(|module| module.module.as_str() == "counter" && module.restarts == restarts)
    });
    assert!(noticed, "runner: {runner}");
}

/// Waits until `counter` is whole again, and answers with its status.
fn wait_until_whole(sandbox: &Sandbox, serve: &Running, restarts: u64) -> serde_json::Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let ps = sandbox.run_at(serve, &["ps", "--format", "json"]).expect(0).json();
        let modules = ps["modules"].as_array().unwrap();
        let counter = modules.iter().find(|module| module["module"] == "counter").unwrap();
        if counter["ready"] == 2 && counter["restarts"].as_u64() >= Some(restarts) {
            let clock = modules.iter().find(|module| module["module"] == "clock").unwrap();
            assert_eq!(clock["restarts"], 0, "other modules are unharmed: {ps}");
            return counter.clone();
        }
        assert!(Instant::now() < until, "{ps}");
    }
}

#[test]
fn a_replica_that_is_killed_under_load_is_replaced_and_nothing_runs_twice() {
    let sandbox = Sandbox::new();
    let serve = two_counters(&sandbox);
    for (round, runner) in [(1_u32, false), (2, true)] {
        let file = sandbox.path(&format!("noted-{round}"));
        fs::write(&file, "").unwrap();
        let tally = under_load(&serve, &file, 100, || {
            wait_until("calls are made", || fs::metadata(&file).unwrap().len() >= 500);
            kill_one(&serve, runner, round);
        });
        tally.assert_nothing_lost_or_doubled(&file);
        assert!(tally.may_have_run.len() <= 16, "only what was under way: {:?}", tally.may_have_run);
        assert!(tally.ok.len() >= 8 * 100 - 16, "{} of 800 succeeded", tally.ok.len());
        let counter = wait_until_whole(&sandbox, &serve, round.into());
        let error = counter["last_error"].as_str().unwrap();
        assert!(error.contains("killed by signal 9"), "{error}");
        serve.look();
    }
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}
