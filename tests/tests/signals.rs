//! Processes that are frozen, killed or asked to end from outside: what follows, and what must not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tests::processes::{name, replica, runs, send, wait_for_end};
use tests::{PATIENCE, Running, Sandbox, wait_until};

/// A Controller that serves `counter` and `clock`.
fn two_modules(sandbox: &Sandbox) -> Running {
    let serve = sandbox.serve("data");
    for module in ["tests/modules/counter", "examples/hello/clock"] {
        let _ = sandbox.run_at(&serve, &["deploy", module]).expect(0);
    }
    serve.look();
    serve
}

fn module(sandbox: &Sandbox, serve: &Running, name: &str) -> Value {
    let ps = sandbox.run_at(serve, &["ps", "--format", "json"]).expect(0).json();
    ps["modules"].as_array().unwrap().iter().find(|module| module["module"] == name).unwrap().clone()
}

fn answers(sandbox: &Sandbox, serve: &Running) -> bool {
    sandbox.run_at(serve, &["call", "counter.sleep", "0", "--timeout", "5"]).code == 0
}

fn unharmed(sandbox: &Sandbox, serve: &Running, module_name: &str) {
    let module = module(sandbox, serve, module_name);
    assert_eq!((&module["restarts"], &module["ready"]), (&0.into(), &1.into()), "{module}");
}

#[test]
fn what_a_deployment_started_ends_with_it() {
    let sandbox = Sandbox::new();
    let serve = two_modules(&sandbox);
    let sleeper = |serve: &Running| {
        wait_until("it serves", || answers(&sandbox, serve));
        let _ = sandbox.run_at(serve, &["call", "counter.fork"]).expect(0);
        serve.look().into_iter().find(|process| name(*process) == "sleep").unwrap()
    };
    for runner in [false, true] {
        let started = sleeper(&serve);
        let (its_runner, code) = replica(&serve.look(), "counter").unwrap();
        send(if runner { its_runner } else { code }, Signal::KILL);
        wait_for_end(&BTreeSet::from([its_runner, code, started]), PATIENCE);
    }
    let started = sleeper(&serve);
    let _ = serve.end(Signal::TERM).expect(0);
    assert!(runs(started), "its deployment outlives the Controller, and so does it");
    sandbox.down();
    wait_for_end(&BTreeSet::from([started]), PATIENCE);
    sandbox.finish();
}

#[test]
fn a_deployment_that_ignores_everything_is_ended_all_the_same() {
    let sandbox = Sandbox::new();
    let serve = two_modules(&sandbox);
    let (runner, code) = replica(&serve.look(), "counter").unwrap();
    send(code, Signal::STOP);
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.down();
    assert!(!runs(runner) && !runs(code), "it waits for their ends");
    sandbox.finish();
}

#[test]
fn a_deployment_that_is_stuck_is_refused_and_told_and_serves_again() {
    let sandbox = Sandbox::new();
    let serve = two_modules(&sandbox);
    let (_, code) = replica(&serve.look(), "counter").unwrap();
    send(code, Signal::STOP);
    // Until it counts as stuck, calls wait for it; then none is started.
    wait_until("it is refused", || {
        let answer = sandbox.run_at(&serve, &["call", "counter.sleep", "0", "--timeout", "1"]);
        assert_ne!(answer.code, 0, "it is frozen");
        answer.says("does not answer")
    });
    wait_until("it is told", || {
        sandbox
            .run_at(&serve, &["logs", "counter"])
            .expect(0)
            .stdout
            .contains("calls are refused until it does")
    });
    let _ = sandbox.run_at(&serve, &["call", "clock.now"]).expect(0);
    send(code, Signal::CONT);
    wait_until("it serves again", || answers(&sandbox, &serve));
    for name in ["counter", "clock"] {
        unharmed(&sandbox, &serve, name);
    }
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn a_runner_that_is_frozen_is_replaced() {
    let sandbox = Sandbox::new();
    let serve = two_modules(&sandbox);
    let (runner, code) = replica(&serve.look(), "counter").unwrap();
    send(runner, Signal::STOP);
    wait_until("it is replaced", || module(&sandbox, &serve, "counter")["restarts"] == 1);
    wait_until("the new one serves", || answers(&sandbox, &serve));
    wait_for_end(&BTreeSet::from([runner, code]), PATIENCE);
    let error = module(&sandbox, &serve, "counter")["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("silent"), "{error}");
    unharmed(&sandbox, &serve, "clock");
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn a_controller_that_was_frozen_finds_everything_as_it_was() {
    let sandbox = Sandbox::new();
    let serve = two_modules(&sandbox);
    // Where a replica is becomes known by and by.
    let replicas = || {
        let mut replicas = module(&sandbox, &serve, "counter")["replicas"].clone();
        for replica in replicas.as_array_mut().unwrap() {
            replica["place"] = Value::Null;
        }
        replicas
    };
    let before = (replicas(), serve.look());
    serve.signal(Signal::STOP);
    // Longer than a lease, and than its Runners believe in a silent peer.
    std::thread::sleep(Duration::from_secs(28));
    serve.signal(Signal::CONT);
    wait_until("it answers", || answers(&sandbox, &serve));
    wait_until("the replica is ready", || module(&sandbox, &serve, "counter")["ready"] == 1);
    let after = (replicas(), serve.look());
    assert_eq!(before, after, "no replica is replaced, no process ended");
    for name in ["counter", "clock"] {
        unharmed(&sandbox, &serve, name);
    }
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn a_runner_that_is_asked_to_end_from_outside_finishes_its_calls_and_counts_as_no_failure() {
    let sandbox = Sandbox::new();
    let serve = two_modules(&sandbox);
    let (runner, code) = replica(&serve.look(), "counter").unwrap();
    let endpoint = serve.endpoint();
    let arguments: Vec<&str> =
        endpoint.iter().map(String::as_str).chain(["call", "counter.sleep", "15000"]).collect();
    let mut running = sandbox.command(&arguments).stdout(std::process::Stdio::null()).spawn().unwrap();
    let logged = |serve: &Running| sandbox.run_at(serve, &["logs", "counter"]).expect(0).stdout;
    wait_until("the call runs", || logged(&serve).contains("sleeping 15000"));
    assert!(running.try_wait().unwrap().is_none(), "it still does");
    send(runner, Signal::TERM);
    wait_until("another one serves", || answers(&sandbox, &serve));
    assert!(running.wait().unwrap().success(), "the running call ends well");
    wait_for_end(&BTreeSet::from([runner, code]), PATIENCE);
    unharmed(&sandbox, &serve, "counter");
    assert_ne!(replica(&serve.look(), "counter").unwrap().1, code);
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn a_runner_that_is_asked_to_end_before_it_serves_counts_as_no_failure() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let endpoint = serve.endpoint();
    let deploy = ["deploy", "tests/modules/silent", "--timeout", "60"];
    let arguments: Vec<&str> = endpoint.iter().map(String::as_str).chain(deploy).collect();
    let mut deploying = sandbox.command(&arguments).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_until("it is started", || replica(&serve.look(), "silent").is_some());
    let (runner, code) = replica(&serve.look(), "silent").unwrap();
    serve.look();
    send(runner, Signal::TERM);
    wait_for_end(&BTreeSet::from([runner, code]), PATIENCE);
    wait_until("another one is started", || {
        replica(&serve.look(), "silent").is_some_and(|found| found.1 != code)
    });
    let silent = module(&sandbox, &serve, "silent");
    assert_eq!((&silent["restarts"], &silent["last_error"]), (&0.into(), &Value::Null), "{silent}");
    assert!(deploying.try_wait().unwrap().is_none(), "it still waits for the other one");
    deploying.kill().unwrap();
    deploying.wait().unwrap();
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}
