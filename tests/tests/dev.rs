//! `ftl dev`: the main job, and that nothing is left of it however it ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tests::binary::root;
use tests::processes::{Process, name, wait_for_end};
use tests::project::{TICKER, workspace};
use tests::{Running, Sandbox, wait_until};

const HELLO: &str = "examples/hello";
const ADA: &str = r#"{name: "Ada"}"#;
/// How long children may outlive an `ftl` that was killed.
const ORPHANS: Duration = Duration::from_secs(1);

fn dev(sandbox: &Sandbox) -> Running {
    dev_of(sandbox, Path::new(HELLO))
}

fn dev_of(sandbox: &Sandbox, project: &Path) -> Running {
    let mut running = sandbox.start(&["dev", project.to_str().unwrap(), "--format", "json"]);
    running.wait_until_ready();
    running
}

/// A project of its own with one module of this name, which is the folder's too.
fn ticking(sandbox: &Sandbox, module: &str) -> PathBuf {
    let folder = sandbox.path(module);
    workspace(&folder, &[(module, TICKER)]);
    build(sandbox, &folder, &[]);
    folder
}

/// Builds a project before `dev` does: how long the first time takes is nobody's promise.
fn build(sandbox: &Sandbox, folder: &Path, options: &[&str]) {
    let _ = sandbox.run(&[&["build", folder.to_str().unwrap()], options].concat()).expect(0);
}

/// A sandbox for projects of their own.
fn with_projects() -> Sandbox {
    Sandbox::new().with_shared_target()
}

fn names(processes: &BTreeSet<Process>) -> Vec<String> {
    let mut names: Vec<String> = processes.iter().map(|process| name(*process)).collect();
    names.sort();
    names
}

fn folder_of(running: &Running) -> PathBuf {
    root().join(format!(".ftl/dev-{}", running.pid()))
}

#[test]
fn calls_are_made_in_order_and_everything_ends() {
    let sandbox = Sandbox::new();
    let two = ["dev", HELLO, "--call", "clock.now", "--call", "greeter.hello {name: 'Ada'}"];
    let answer = sandbox.run(&two).expect(0);
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "data and nothing else: {answer:#?}");
    assert!(lines[0].starts_with(r#"{"time":""#) && lines[1].starts_with(r#"{"message":"Hello, Ada!"#));
    for text in ["· controller http://127.0.0.1:", "· project hello", "1 replica", "clock-", "ready "] {
        assert!(answer.says(text), "`{text}`: {}", answer.stderr);
    }
    assert_eq!(sandbox.running(), BTreeSet::new(), "it waits for what it started");
    sandbox.finish();
}

#[test]
fn the_first_call_that_fails_ends_it_with_its_code() {
    let sandbox = Sandbox::new();
    let calls = ["--call", "greeter.hello {name: ''}", "--call", "clock.now"];
    let answer = sandbox.run(&[&["dev", HELLO], &calls[..]].concat()).expect(6);
    assert_eq!(answer.stdout.trim(), r#""EmptyName""#, "the verb's own error is data");
    assert!(answer.says("`greeter.hello` returned its error"), "{}", answer.stderr);
    assert_eq!(sandbox.running(), BTreeSet::new(), "it waits for what it started");
    sandbox.finish();
}

#[test]
fn a_running_dev_is_called_from_another_terminal() {
    let sandbox = Sandbox::new();
    let running = dev(&sandbox);
    let answer = sandbox.run_at(&running, &["call", "greeter.hello", ADA]).expect(0);
    assert!(answer.stdout.starts_with(r#"{"message":"Hello, Ada! It is "#), "{answer:?}");
    assert_eq!((answer.stdout.lines().count(), answer.stderr.as_str()), (1, ""), "nothing else");

    let ps = sandbox.run_at(&running, &["ps", "--format", "json"]).expect(0).json();
    let modules = ps["modules"].as_array().unwrap();
    assert_eq!(modules.len(), 2);
    for module in modules {
        assert_eq!((module["desired"].as_u64(), module["ready"].as_u64()), (Some(1), Some(1)), "{module}");
        assert_eq!(
            (module["restarts"].as_u64(), module["last_error"].is_null()),
            (Some(0), true),
            "{module}"
        );
    }
    let schema = sandbox.run_at(&running, &["schema", "get", "greeter"]).expect(0);
    insta::assert_snapshot!("greeter_schema", schema.stdout);
    assert_eq!(names(&running.look()), ["clock", "ftl", "ftl", "greeter"]);

    let answer = running.end(Signal::INT).expect(130);
    assert!(!answer.says("error"), "{}", answer.stderr);
    sandbox.finish();
}

#[test]
fn nothing_is_left_after_it_was_asked_to_end() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 0)] {
        let sandbox = Sandbox::new();
        let running = dev(&sandbox);
        let (children, folder) = (running.look(), folder_of(&running));
        assert!(folder.is_dir() && children.len() == 4);
        let _ = running.end(signal).expect(code);
        assert_eq!(sandbox.running(), BTreeSet::new(), "it waits for what it started");
        assert!(!folder.exists(), "{signal:?}");
        sandbox.finish();
    }
}

#[test]
fn nothing_runs_on_after_it_was_killed_and_the_next_start_tidies_up() {
    let sandbox = with_projects();
    // Of its own, because any other `dev` in the workspace would tidy up, too.
    let project = ticking(&sandbox, "killed");
    let running = dev_of(&sandbox, &project);
    let (children, folder) = (running.look(), project.join(format!(".ftl/dev-{}", running.pid())));
    assert_eq!(names(&children), ["ftl", "killed"]);
    running.signal(Signal::KILL);
    wait_for_end(&children, ORPHANS);
    let _ = running.wait().expect(-1);
    assert!(folder.exists(), "nobody was there to remove it");
    let _ = sandbox.run(&["dev", project.to_str().unwrap(), "--call", "killed.tick"]).expect(0);
    assert!(!folder.exists(), "the next start removes it");
    sandbox.finish();
}

/// What `dev` left in this project for others to find it.
fn announced(project: &Path) -> Option<u64> {
    let text = std::fs::read(project.join(".ftl/dev.json")).ok()?;
    serde_json::from_slice::<serde_json::Value>(&text).unwrap()["pid"].as_u64()
}

#[test]
fn two_projects_work_side_by_side() {
    let sandbox = with_projects();
    let projects = ["one", "two"].map(|module| (module, ticking(&sandbox, module)));
    let [one, two] = projects.each_ref().map(|(_, project)| dev_of(&sandbox, project));
    assert_ne!(one.url, two.url);
    for ((module, project), running) in projects.iter().zip([&one, &two]) {
        assert_eq!(announced(project), Some(running.pid().into()));
        // Each command finds that of its own project.
        let _ = sandbox.run_in(project, &["call", &format!("{module}.tick")]).expect(0);
    }
    let _ = one.end(Signal::TERM).expect(0);
    assert_eq!(announced(&projects[0].1), None);
    let _ = sandbox.run_in(&projects[1].1, &["call", "two.tick"]).expect(0);
    let _ = two.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn two_of_one_project_work_side_by_side() {
    let sandbox = with_projects();
    let project = ticking(&sandbox, "shared");
    let (one, two) = (dev_of(&sandbox, &project), dev_of(&sandbox, &project));
    assert_ne!(one.url, two.url);
    for running in [&one, &two] {
        let _ = sandbox.run_at(running, &["call", "shared.tick"]).expect(0);
    }
    assert_eq!(announced(&project), Some(one.pid().into()), "the first one is found");
    let _ = one.end(Signal::TERM).expect(0);
    wait_until("the other one is found", || announced(&project) == Some(two.pid().into()));
    let _ = sandbox.run_in(&project, &["call", "shared.tick"]).expect(0);
    let _ = two.end(Signal::TERM).expect(0);
    sandbox.finish();
}

/// A copy of the example in a workspace of its own, so that its files can be edited and its `.ftl` is its own.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    fn new(sandbox: &Sandbox) -> Self {
        let folder = sandbox.path("project");
        for module in ["clock", "greeter"] {
            copy(&root().join(HELLO).join(module), &folder.join(module));
        }
        let sdk = root().join("ftl-sdk");
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let package = between(&manifest, "[workspace.package]", "[");
        let thiserror = manifest.lines().find(|line| line.starts_with("thiserror =")).unwrap();
        let tokio = manifest.lines().find(|line| line.starts_with("tokio =")).unwrap();
        let text = format!(
            "[workspace]\nresolver = \"3\"\nmembers = [\"clock\", \"greeter\"]\n\n[workspace.package]{package}\n\
             [workspace.dependencies]\nftl-sdk = {{ path = {sdk:?} }}\n{thiserror}\n{tokio}\n\n[workspace.lints]\n"
        );
        std::fs::write(folder.join("Cargo.toml"), text).unwrap();
        std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        Self { folder }
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap().1;
    rest.split_once(to).map_or(rest, |(found, _)| found)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn an_edit_is_deployed_into_a_running_dev_and_touches_nobody_else() {
    // Of its own, because these binaries have the names of the example's.
    let target = root().join("target/edited");
    let sandbox = Sandbox::new().with("CARGO_TARGET_DIR", target.to_str().unwrap());
    let project = Copy::new(&sandbox);
    let folder = project.folder.to_str().unwrap().to_owned();
    // With optimisations, because only then does the linker drop every trace of what `greeter` does not use of `clock`.
    build(&sandbox, &project.folder, &["--release"]);
    let mut running = sandbox.start(&["dev", &folder, "--release", "--format", "json"]);
    running.wait_until_ready();

    // In the project's folder, a command finds the running `dev` by itself.
    let again =
        sandbox.run_in(&project.folder, &["deploy", "--release", "--format", "json"]).expect(0).json();
    assert_eq!(again["uploaded_bytes"], 0, "deployed unchanged: {again}");
    let before = deployments(&again);

    let source = project.folder.join("clock/src/lib.rs");
    let text = std::fs::read_to_string(&source).unwrap();
    let edited =
        text.replace("NowReply { time: time.to_string() }", "NowReply { time: format!(\"{time} sharp\") }");
    assert_ne!(edited, text, "the example changed: change this test");
    std::fs::write(&source, edited).unwrap();
    let greeter_before = replicas(&sandbox, &project.folder, "greeter");
    let after =
        sandbox.run_in(&project.folder, &["deploy", "--release", "--format", "json"]).expect(0).json();
    assert!(after["uploaded_bytes"].as_u64().unwrap() > 0);
    let after = deployments(&after);
    assert_ne!(before[0], after[0], "clock is another deployment");
    assert_eq!(before[1], after[1], "greeter keeps its digest");
    assert_eq!(replicas(&sandbox, &project.folder, "greeter"), greeter_before, "and is not touched");

    let event = running.wait_for_json(|object| object["event"] == "deployed");
    assert_eq!(event["module"]["module"], "clock", "dev says so: {event}");
    let answer = sandbox.run_in(&project.folder, &["call", "greeter.hello", ADA]).expect(0);
    assert!(answer.stdout.contains("sharp"), "{answer:?}");
    let _ = running.end(Signal::TERM).expect(0);
    assert!(!project.folder.join(".ftl/dev.json").exists());
    sandbox.finish();
}

fn deployments(deployed: &serde_json::Value) -> Vec<String> {
    let modules = deployed["modules"].as_array().unwrap();
    modules.iter().map(|module| module["deployment"].as_str().unwrap().to_owned()).collect()
}

fn replicas(sandbox: &Sandbox, folder: &Path, module: &str) -> serde_json::Value {
    let ps = sandbox.run_in(folder, &["ps", "--format", "json"]).expect(0).json();
    let modules = ps["modules"].as_array().unwrap().clone();
    modules.into_iter().find(|status| status["module"] == module).unwrap()["replicas"].clone()
}
