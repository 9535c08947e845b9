//! What a Controller started outlives it, however it ends, and the next one adopts it: the same processes, no new deploy,
//! no lost call, and the exact ends of those that ended meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Mutex;

use ftl_core::Operator;
use ftl_core::controller::{ChangeState, Wanted};
use rustix::process::Signal;
use serde_json::Value;
use tests::changes::change;
use tests::load::{LANES, under_load};
use tests::processes::{Process, replica, replicas, runs, send, wait_for_end};
use tests::{PATIENCE, Running, Sandbox, block_on, wait_until};

/// How many replicas of `counter` there are.
const REPLICAS: u16 = 3;

/// A Controller that serves some replicas of `counter`.
fn counters(sandbox: &Sandbox) -> Running {
    let serve = sandbox.serve("data");
    let _ = sandbox.run_at(&serve, &["deploy", "tests/modules/counter"]).expect(0);
    block_on(async {
        let client = serve.client();
        let counter = client.status().await.unwrap().remove(0);
        let (deployment, platform) = (counter.deployment.clone(), counter.platform.clone());
        let status = change(&client, "more", Wanted { deployment, platform, replicas: REPLICAS }).await;
        assert_eq!(status.state, ChangeState::Committed);
    });
    serve
}

/// The Runners and the user code of all replicas.
fn processes(serve: &Running) -> BTreeSet<(Process, Process)> {
    replicas(&serve.look(), "counter").into_iter().collect()
}

fn counter(sandbox: &Sandbox, serve: &Running) -> Value {
    sandbox.run_at(serve, &["ps", "--format", "json"]).expect(0).json()["modules"][0].clone()
}

/// A sandbox in which all processes record what they say to each other.
fn recorded() -> Sandbox {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log.jsonl");
    sandbox.with("FTL_LOG", "off,ftl::sequence=trace").with("FTL_LOG_FILE", log.to_str().unwrap())
}

/// How often each of the messages was said that bring a replica to life.
fn said(sandbox: &Sandbox) -> [usize; 3] {
    let log = fs::read_to_string(sandbox.path("log.jsonl")).unwrap();
    // The last one may be being written.
    let (whole, _) = log.rsplit_once('\n').unwrap_or_default();
    let lines: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    ["CreateInstance", "Deploy", "GetDeployment"]
        .map(|message| lines.iter().filter(|line| line["fields"]["message"] == message).count())
}

/// Ends a Controller under load by this signal, starts the next one, and answers with it.
fn replace_under_load(sandbox: &Sandbox, serve: &Running, signal: Signal) -> Running {
    let file = sandbox.path("noted");
    fs::write(&file, "").unwrap();
    let next = Mutex::new(None);
    let tally = under_load(serve, &file, 20, || {
        wait_until("calls are made", || fs::metadata(&file).unwrap().len() >= 500);
        serve.signal(signal);
        *next.lock().unwrap() = Some(sandbox.serve_again("data", serve));
    });
    tally.assert_nothing_lost_or_doubled(&file);
    // What was under way, and for each lane one more that a process on its way out still let in.
    assert!(tally.may_have_run.len() <= 2 * LANES, "too many: {:?}", tally.may_have_run);
    next.into_inner().unwrap().unwrap()
}

fn survives(signal: Signal) {
    let sandbox = recorded();
    let serve = counters(&sandbox);
    let (before, said_before) = (processes(&serve), said(&sandbox));
    assert_eq!(before.len(), usize::from(REPLICAS));

    let next = replace_under_load(&sandbox, &serve, signal);
    // From its first word on, it fails no call: who comes before the Runners are back waits for them.
    let file = sandbox.path("noted after");
    fs::write(&file, "").unwrap();
    let tally = under_load(&next, &file, 50, || {});
    assert_eq!(tally.ok.len(), LANES * 50, "{tally:?}");
    tally.assert_nothing_lost_or_doubled(&file);

    wait_until("all are ready again", || counter(&sandbox, &next)["ready"] == REPLICAS);
    let counter = counter(&sandbox, &next);
    assert_eq!((&counter["restarts"], &counter["last_error"]), (&0.into(), &Value::Null), "{counter}");
    assert_eq!(processes(&next), before, "the same processes");
    assert_eq!(said(&sandbox), said_before, "nothing was created, and nothing deployed");
    drop(serve);
    let _ = next.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn replicas_outlive_a_controller_that_is_killed_under_load() {
    survives(Signal::KILL);
}

#[test]
fn replicas_outlive_a_controller_that_is_asked_to_end_under_load() {
    survives(Signal::TERM);
}

#[test]
fn who_ends_while_no_controller_is_there_is_replaced_for_what_it_was() {
    let sandbox = Sandbox::new();
    let serve = counters(&sandbox);
    let before = processes(&serve);
    let _ = serve.end(Signal::KILL);
    let (runner, code) = *before.first().unwrap();
    send(runner, Signal::USR1);
    wait_for_end(&BTreeSet::from([runner, code]), PATIENCE);

    let next = sandbox.serve("data");
    wait_until("it is replaced", || counter(&sandbox, &next)["ready"] == REPLICAS);
    let counter = counter(&sandbox, &next);
    assert_eq!(counter["restarts"], 1, "{counter}");
    let error = counter["last_error"].as_str().unwrap();
    assert!(error.contains(&format!("killed by signal {}", Signal::USR1.as_raw())), "{error}");
    let after = processes(&next);
    assert_eq!(after.intersection(&before).count(), usize::from(REPLICAS) - 1, "the others are untouched");
    let _ = next.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn whose_shim_is_killed_is_replaced_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let serve = counters(&sandbox);
    let before = processes(&serve);
    let (runner, code) = *before.first().unwrap();
    send(tests::processes::parent(runner).unwrap(), Signal::KILL);
    wait_for_end(&BTreeSet::from([runner, code]), PATIENCE);
    wait_until("it is replaced", || {
        counter(&sandbox, &serve)["restarts"] == 1 && counter(&sandbox, &serve)["ready"] == REPLICAS
    });
    let _ = sandbox.run_at(&serve, &["call", "counter.sleep", "0"]).expect(0);
    assert_eq!(processes(&serve).intersection(&before).count(), usize::from(REPLICAS) - 1);
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn a_controller_that_would_start_them_otherwise_adopts_them_all_the_same() {
    let sandbox = Sandbox::new();
    let serve = counters(&sandbox);
    let before = processes(&serve);
    let _ = serve.end(Signal::TERM).expect(0);
    // Runners are started with the environment of their Controller.
    let next = sandbox.serve_by("data", |ftl| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "FTL_LOG=warn exec \"$0\" \"$@\""]).arg(ftl);
        shell
    });
    let _ = sandbox.run_at(&next, &["call", "counter.sleep", "0"]).expect(0);
    // Who is ready has been let in, and is refused no more; who had been refused before would have been replaced.
    wait_until("all are adopted", || counter(&sandbox, &next)["ready"] == REPLICAS);
    let counter = counter(&sandbox, &next);
    assert_eq!((&counter["restarts"], &counter["last_error"]), (&0.into(), &Value::Null), "{counter}");
    assert_eq!(processes(&next), before);
    let _ = next.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn a_change_that_was_under_way_is_finished_by_the_next_controller() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let endpoint = serve.endpoint();
    let deploy = ["deploy", "tests/modules/silent", "--timeout", "60"];
    let arguments: Vec<&str> = endpoint.iter().map(String::as_str).chain(deploy).collect();
    let mut deploying = sandbox.command(&arguments).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_until("it is started", || replica(&serve.look(), "silent").is_some());
    let before = replica(&serve.look(), "silent").unwrap();
    serve.signal(Signal::KILL);
    let next = sandbox.serve_again("data", &serve);
    // It never answers, and the Runner that was started by the former Controller says so to this one.
    wait_until("it is told", || {
        let ps = sandbox.run_at(&next, &["ps", "--format", "json"]).expect(0).json();
        let error = ps["modules"][0]["last_error"].as_str().map(str::to_owned);
        error.is_some_and(|error| error.contains("did not answer a ping"))
    });
    wait_for_end(&BTreeSet::from([before.0, before.1]), PATIENCE);
    next.look();
    deploying.kill().unwrap();
    deploying.wait().unwrap();
    drop(serve);
    let _ = next.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn down_ends_everything_and_the_next_start_begins_anew() {
    let sandbox = Sandbox::new();
    let data = sandbox.path("data");
    let down = ["down", "--data", data.to_str().unwrap(), "--format", "json"];
    let nowhere = sandbox.run(&down).expect(1);
    assert!(nowhere.says("no Controller has kept its state in"), "{}", nowhere.stderr);
    assert!(!data.exists(), "looking makes nothing");

    let serve = counters(&sandbox);
    let refused = sandbox.run(&down).expect(1);
    assert!(refused.says(&format!("in use by process {}", serve.pid())), "{}", refused.stderr);
    let before = processes(&serve);
    let _ = serve.end(Signal::TERM).expect(0);

    // Other platforms may be there, with nothing to end.
    let ended = || {
        let said = sandbox.run(&down).expect(0).json();
        let mut platforms = said["platforms"].as_array().unwrap().iter();
        platforms.find(|platform| platform["platform"] == "local").unwrap()["ended"].clone()
    };
    assert_eq!(ended(), REPLICAS);
    let all: BTreeSet<Process> = before.iter().flat_map(|(runner, code)| [*runner, *code]).collect();
    assert!(!all.into_iter().any(runs), "it waits for their ends");
    assert_eq!(ended(), 0);

    let next = sandbox.serve("data");
    wait_until("it serves again", || counter(&sandbox, &next)["ready"] == REPLICAS);
    assert!(processes(&next).is_disjoint(&before));
    assert_eq!(counter(&sandbox, &next)["restarts"], 0, "nobody failed");
    let _ = next.end(Signal::TERM).expect(0);
    sandbox.finish();
}
