//! A Controller whose data directory takes no more bytes says so, keeps serving, loses nothing, and goes on afterwards.
//!
//! The limit on the size of files stands for the disk: at it, every write of the one process fails, and nothing else does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;
use tests::processes::{replica, send};
use tests::{Running, Sandbox, wait_until};

/// Lets a process write files up to this size only.
fn limit(serve: &Running, bytes: Option<u64>) {
    let hard = getrlimit(Resource::Fsize).maximum;
    let limit = Rlimit { current: bytes.or(hard), maximum: hard };
    prlimit(Pid::from_raw(serve.pid().cast_signed()), Resource::Fsize, limit).unwrap();
}

fn modules(sandbox: &Sandbox, serve: &Running) -> Vec<Value> {
    let ps = sandbox.run_at(serve, &["ps", "--format", "json"]).expect(0).json();
    ps["modules"].as_array().unwrap().clone()
}

#[test]
fn a_full_disk_is_told_and_ends_nothing() {
    let sandbox = Sandbox::new();
    // At the limit a write fails only if the signal that comes with it is ignored; a disk sends none.
    let serve = sandbox.serve_by("data", |ftl| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(ftl);
        shell
    });
    let _ = sandbox.run_at(&serve, &["deploy", "tests/modules/counter"]).expect(0);
    let _ = sandbox.run_at(&serve, &["deploy", "examples/hello/clock"]).expect(0);
    let before = modules(&sandbox, &serve);

    limit(&serve, Some(0));
    let refused = sandbox.run_at(&serve, &["deploy", "examples/hello", "--timeout", "5"]).expect(1);
    assert!(refused.says("store failed"), "{}", refused.stderr);
    let _ = sandbox.run_at(&serve, &["call", "clock.now"]).expect(0);
    // What must be decided cannot be, and that is told.
    let (_, code) = replica(&serve.look(), "counter").unwrap();
    send(code, Signal::KILL);
    wait_until("it is told", || {
        let all = modules(&sandbox, &serve);
        let errors = all.iter().filter_map(|module| module["last_error"].as_str());
        errors.into_iter().any(|error| error.contains("is its disk full"))
    });
    let _ = sandbox.run_at(&serve, &["call", "clock.now"]).expect(0);

    limit(&serve, None);
    wait_until("it is replaced", || {
        let all = modules(&sandbox, &serve);
        all.iter()
            .any(|module| module["module"] == "counter" && module["ready"] == 1 && module["restarts"] == 1)
    });
    let _ = sandbox.run_at(&serve, &["call", "counter.sleep", "0"]).expect(0);
    let _ = sandbox.run_at(&serve, &["deploy", "examples/hello"]).expect(0);
    let _ = serve.end(Signal::KILL);

    let again = sandbox.serve("data");
    wait_until("everything is back", || {
        let all = modules(&sandbox, &again);
        all.len() == 3 && all.iter().all(|module| module["ready"] == 1)
    });
    for module in before {
        let same =
            |now: &Value| now["module"] == module["module"] && now["deployment"] == module["deployment"];
        assert!(modules(&sandbox, &again).iter().any(same), "{module}");
    }
    let _ = again.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("file");
    std::fs::write(&file, "").unwrap();
    let data = file.join("data");
    let answer =
        sandbox.run(&["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]).expect(1);
    assert!(answer.says(data.to_str().unwrap()) && answer.says("Not a directory"), "{}", answer.stderr);
    sandbox.finish();
}
