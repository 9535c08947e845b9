//! How a tied Runner hears that whoever started it is no more: by its lifeline, and by the parent-death signal. Each is
//! tried without the other one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use ftl_core::Secret;
use ftl_core::boot::{BOOT_VARIABLE, Boot};
use ftl_core::key::{Epoch, RunnerKey};
use tests::binary::ftl;
use tests::processes::{descendants, runs, wait_for_end};
use tests::{PATIENCE, Sandbox, wait_until};

/// A command that becomes a Runner, or starts one, with a pipe for its standard input.
///
/// Its Controller lets nobody in: it would look for one for a quarter of an hour.
fn tied(sandbox: &Sandbox, mut command: Command, controller: &TcpListener) -> Command {
    let address = format!("tcp:{}", controller.local_addr().unwrap());
    let (cluster, language) = ("c".parse().unwrap(), "rust".parse().unwrap());
    let boot = Boot::new(cluster, RunnerKey(1), language, Epoch(1), vec![address], Secret::new([7; 32]));
    fs::write(sandbox.path("boot.json"), boot.to_document().expose()).unwrap();
    command
        .env("TMPDIR", sandbox.path("tmp"))
        .env(BOOT_VARIABLE, sandbox.path("boot.json"))
        .env("FTL_DIR", sandbox.path("home"))
        .env("FTL_LIFELINE", "stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn a_runner_ends_when_its_lifeline_closes_while_its_parent_lives() {
    let (sandbox, controller) = (Sandbox::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let mut command = Command::new(ftl());
    command.arg("runner");
    // This thread is its parent, and waits for it.
    let mut runner = tied(&sandbox, command, &controller).spawn().unwrap();
    let _dialled = controller.accept().unwrap();
    assert!(runner.try_wait().unwrap().is_none());
    drop(runner.stdin.take());
    wait_until("it ends", || runner.try_wait().unwrap().is_some());
    assert_eq!(runner.wait().unwrap().code(), Some(0), "in order");
    sandbox.finish();
}

#[test]
fn a_runner_ends_with_its_parent_while_its_lifeline_is_held() {
    let (sandbox, controller) = (Sandbox::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let mut command = Command::new("sh");
    // A shell gives what it starts aside nothing to read, unless it is told to.
    command.args(["-c", "exec 3<&0; \"$0\" runner <&3 & wait"]).arg(ftl());
    let mut parent = tied(&sandbox, command, &controller).spawn().unwrap();
    // Who dials has asked for the signal before.
    let dialled = controller.accept().unwrap();
    let runner = descendants(parent.id());
    assert_eq!(runner.len(), 1, "{runner:?}");
    let lifeline = parent.stdin.take();
    parent.kill().unwrap();
    parent.wait().unwrap();
    drop((dialled, controller));
    wait_for_end(&runner, PATIENCE);
    assert!(!runner.into_iter().any(runs));
    drop(lifeline);
    sandbox.finish();
}
