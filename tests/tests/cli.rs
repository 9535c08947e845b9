//! How commands answer: in JSON one object for each, codes, streams, and which Controller they mean.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::processes::wait_for_end;
use tests::project::workspace;
use tests::{Answer, PATIENCE, Running, Sandbox, wait_until};

/// The one object that a text holds.
#[track_caller]
fn object(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_command_answers_with_one_object_and_every_error_is_one() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let run = |arguments: &[&str]| sandbox.run_at(&serve, &[arguments, &["--format", "json"]].concat());
    for arguments in [
        &["build", "examples/hello/clock"][..],
        &["deploy", "examples/hello/clock"],
        &["ps"],
        &["call", "clock.now"],
        &["schema", "get", "clock"],
        &["version"],
    ] {
        let answer = run(arguments).expect(0);
        assert!(object(&answer.stdout).is_object(), "{arguments:?}: {answer:?}");
        assert_eq!(answer.stderr, "", "{arguments:?}");
    }
    let nowhere = ["--controller", "http://127.0.0.1:1"];
    for (arguments, exit, code) in [
        (&["ps", "--nope"][..], 64, "usage"),
        (&["nope"], 64, "usage"),
        (&["call", "clock"], 64, "usage"),
        (&["call", "clock.now", "{"], 64, "invalid_json"),
        (&["call", "clock.noon"], 1, "not_found"),
        (&["schema", "get", "clok"], 1, "not_found"),
        (&["deploy", "docs"], 1, "failed"),
    ] {
        let answer = run(arguments).expect(exit);
        let error = object(&answer.stderr);
        assert_eq!(
            (error["code"].as_str(), answer.stdout.as_str()),
            (Some(code), ""),
            "{arguments:?}: {error}"
        );
        assert!(!error["message"].as_str().unwrap().is_empty(), "{error}");
    }
    let unreachable = sandbox.run(&[&nowhere[..], &["ps", "--format=json"]].concat()).expect(4);
    assert!(object(&unreachable.stderr)["hint"].as_str().unwrap().contains("ftl serve"));
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn replies_come_as_they_are_and_what_is_not_written_is_an_error() {
    let sandbox = Sandbox::new();
    let serve = with_counter(&sandbox);
    let large = sandbox.run_at(&serve, &["call", "counter.repeat", "900000"]).expect(0);
    assert_eq!(large.stdout.trim().len(), 900_000 + 2, "a text of that length");
    let too_large = sandbox.run_at(&serve, &["call", "counter.repeat", "1100000"]).expect(1);
    assert!(too_large.says("1100002 bytes, the limit is"), "{}", too_large.stderr);

    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let endpoint = serve.endpoint();
    let arguments: Vec<&str> = endpoint.iter().map(String::as_str).chain(["ps"]).collect();
    let output = sandbox.command(&arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "an answer that nobody got is no success");
    assert!(String::from_utf8(output.stderr).unwrap().contains("standard output cannot be written"));

    // Nobody reads what it says, and that must not matter.
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut nobody = sandbox.command(&[&arguments[..], &["--nope"]].concat());
    assert_eq!(nobody.stderr(full).stdout(Stdio::null()).status().unwrap().code(), Some(64));
    let _ = serve.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn whoever_follows_logs_ends_as_he_likes_and_holds_up_nobody() {
    let sandbox = Sandbox::new();
    let serve = with_counter(&sandbox);
    let say = |text: &str| {
        drop(sandbox.run_at(&serve, &["call", "counter.say", &json!(text).to_string()]).expect(0))
    };
    say("one");
    let endpoint = serve.endpoint();
    let arguments: Vec<&str> =
        endpoint.iter().map(String::as_str).chain(["logs", "counter", "--follow"]).collect();

    let follower = sandbox.start(&[&arguments[..], &["--format", "json"]].concat());
    let _ = follower.wait_for_json(|line| line["line"]["text"] == "one");
    say("two");
    let _ = follower.wait_for_json(|line| line["line"]["text"] == "two");
    let _ = follower.end(Signal::INT).expect(130);

    let mut reader =
        sandbox.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(reader.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with(" one\n"), "{line}");
    // It learns that nobody reads when it has something to write.
    wait_until("it ends", || {
        say("three");
        reader.try_wait().unwrap().is_some()
    });
    let output = reader.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));

    let follower = sandbox.start(&[&arguments[..], &["--format", "json"]].concat());
    let _ = follower.wait_for_json(|line| line["line"]["text"] == "three");
    let _ = serve.end(Signal::TERM).expect(0);
    // Only a Controller that still runs ends a stream in order: it did not wait until it could hold on no longer.
    let _ = follower.wait().expect(0);
    sandbox.finish();
}

/// A Controller that serves `counter`.
fn with_counter(sandbox: &Sandbox) -> Running {
    let serve = sandbox.serve("data");
    let _ = sandbox.run_at(&serve, &["deploy", "tests/modules/counter"]).expect(0);
    serve
}

/// Which of several Controllers answered: each has a token of its own, so a wrong one is refused.
#[track_caller]
fn answered_by(answer: &Answer, url: &str) {
    assert!(answer.says(&format!("no controller answers at {url}:")), "not {url}: {answer:?}");
}

#[test]
fn a_flag_goes_before_the_environment_a_live_dev_the_manifest_and_the_default() {
    let sandbox = Sandbox::new();
    let serve = sandbox.serve("data");
    let folder = sandbox.path("project/below");
    fs::create_dir_all(&folder).unwrap();
    let root = sandbox.path("project");
    let ps = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = sandbox.command(&[arguments, &["ps", "--format", "json"]].concat());
        Answer::of(command.current_dir(&folder).envs(environment.iter().copied()).output().unwrap())
    };
    // Port 1 to 3 have no Controller: the error names who was asked.
    let nowhere = |port: u16| format!("http://127.0.0.1:{port}");
    fs::write(root.join("ftl.toml"), format!("[controller]\nurl = \"{}\"\n", nowhere(3))).unwrap();
    answered_by(&ps(&[], &[]).expect(4), &nowhere(3));

    write_dev(&root, &serve);
    let found = ps(&[], &[]).expect(0);
    assert_eq!(found.json(), json!({"modules": []}), "a live dev goes before the manifest");
    answered_by(&ps(&[], &[("FTL_CONTROLLER", &nowhere(2))]).expect(4), &nowhere(2));
    let both = ps(&["--controller", &nowhere(1)], &[("FTL_CONTROLLER", &nowhere(2))]);
    answered_by(&both.expect(4), &nowhere(1));

    let _ = serve.end(Signal::TERM).expect(0);
    answered_by(&ps(&[], &[]).expect(4), &nowhere(3));
    fs::remove_file(root.join("ftl.toml")).unwrap();
    let default = ps(&[], &[]);
    assert!(default.code != 4 || default.says("http://127.0.0.1:8892"), "{default:?}");
    // No `dev` ran here to remove it.
    fs::remove_file(root.join(".ftl/dev.json")).unwrap();
    sandbox.finish();
}

/// What a running `dev` would leave for others to find this Controller.
fn write_dev(root: &Path, serve: &Running) {
    fs::create_dir(root.join(".ftl")).unwrap();
    let file = json!({"url": serve.url, "pid": serve.pid(), "token_file": serve.token_file});
    fs::write(root.join(".ftl/dev.json"), file.to_string()).unwrap();
}

#[test]
fn what_cargo_started_ends_with_the_dev_that_started_cargo() {
    let sandbox = Sandbox::new().with_shared_target();
    let folder = sandbox.path("project");
    workspace(&folder, &[("slow", "fn main() {}")]);
    let started = folder.join("slow/started");
    let sleeps = "fn main() { std::fs::write(\"started\", \"\").unwrap(); std::thread::sleep(std::time::Duration::from_secs(600)) }";
    fs::write(folder.join("slow/build.rs"), sleeps).unwrap();
    for (signal, code) in [(Signal::TERM, 0), (Signal::INT, 130)] {
        let dev = sandbox.start(&["dev", folder.to_str().unwrap()]);
        wait_until("it builds", || started.exists());
        fs::remove_file(&started).unwrap();
        let building = dev.look();
        let _ = dev.end(signal).expect(code);
        wait_for_end(&building, PATIENCE);
        let left: Vec<_> =
            fs::read_dir(folder.join(".ftl")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".gitignore"]);
    }
    sandbox.finish();
}

#[test]
fn a_platform_is_conformant_or_not_or_that_is_not_proven() {
    let sandbox = Sandbox::new();
    let answer = sandbox.run(&["platform", "verify", "memory", "--only", "exit"]).expect(0);
    assert!(answer.stdout.contains("refused as declared"), "{answer:?}");

    // Without a shell, nobody can make anything that is somebody else's.
    const CHECK: &str = "adopt::foreign_lookalike";
    let verify = ["platform", "verify", "local", "--only", CHECK];
    let bare = Sandbox::new().with("PATH", sandbox.path("nothing").to_str().unwrap());
    let answer = bare.run(&verify).expect(3);
    assert!(answer.stdout.contains(&format!("NOT PROVEN  {CHECK}")), "{answer:?}");
    let _ = bare.run(&[&verify[..], &["--allow-unproven", CHECK]].concat()).expect(0);
    let _ = sandbox.run(&verify).expect(0);

    let away = Sandbox::new().with("FTL_DOCKER_HOST", "unix:///nowhere/docker.sock");
    let answer = away.run(&["platform", "verify", "docker", "--only", "create::registers"]).expect(1);
    assert!(answer.stdout.contains("/nowhere/docker.sock"), "{answer:?}");
    for sandbox in [sandbox, bare, away] {
        sandbox.finish();
    }
}
