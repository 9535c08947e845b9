//! What a Controller acknowledged is there after it was killed, and serves without a new deploy.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;
use tests::{PATIENCE, Sandbox};

#[test]
fn what_was_acknowledged_serves_after_kill_9() {
    let sandbox = Sandbox::new();
    let first = sandbox.serve("data");
    let deployed = sandbox.run_at(&first, &["deploy", "examples/hello", "--format", "json"]).expect(0).json();
    let _ = first.end(Signal::KILL);
    // Nothing is left but what was acknowledged.
    sandbox.down();
    assert!(fs::read_dir(sandbox.path("data/instances")).unwrap().next().is_none());

    let second = sandbox.serve("data");
    // The call waits until its module has a replica again.
    let answer = sandbox.run_at(&second, &["call", "greeter.hello", "{name: 'Ada'}"]).expect(0);
    assert!(answer.stdout.contains("Hello, Ada!"), "{answer:?}");
    let until = Instant::now() + PATIENCE;
    loop {
        let ps = sandbox.run_at(&second, &["ps", "--format", "json"]).expect(0).json();
        let modules = ps["modules"].as_array().unwrap();
        let same = modules.iter().zip(deployed["modules"].as_array().unwrap()).all(|(now, before)| {
            now["deployment"] == before["deployment"] && now["ready"] == before["ready"]
        });
        if same && modules.len() == 2 {
            assert!(modules.iter().all(|module| module["restarts"] == 0), "nobody failed: {ps}");
            break;
        }
        assert!(Instant::now() < until, "{ps}");
    }
    let again = sandbox.run_at(&second, &["deploy", "examples/hello", "--format", "json"]).expect(0).json();
    assert_eq!(again["uploaded_bytes"], 0, "the artefacts are there too");
    let _ = second.end(Signal::TERM).expect(0);
    sandbox.finish();
}

/// Every file below a directory.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { BTreeSet::from([path]) }).collect()
}

#[test]
fn one_data_directory_has_one_controller() {
    let sandbox = Sandbox::new();
    let first = sandbox.serve("data");
    let _ = sandbox.run_at(&first, &["deploy", "examples/hello/clock"]).expect(0);
    let instances = files(&sandbox.path("data/instances"));
    assert!(instances.iter().any(|file| file.ends_with("bin/clock")), "{instances:?}");
    let data = sandbox.path("data");
    let second =
        sandbox.run(&["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]).expect(1);
    assert!(second.says(&format!("in use by process {}", first.pid())), "{}", second.stderr);
    // What its instances write comes by and by.
    assert!(files(&sandbox.path("data/instances")).is_superset(&instances), "the first one's are untouched");

    let listen = first.url.strip_prefix("http://").unwrap();
    let other = sandbox.path("other");
    let third = sandbox.run(&["serve", "--data", other.to_str().unwrap(), "--listen", listen]).expect(1);
    let holder = format!("{listen} is in use by process {} (ftl)", first.pid());
    assert!(third.says(&holder), "{}", third.stderr);
    let _ = sandbox.run_at(&first, &["call", "clock.now"]).expect(0);
    let _ = first.end(Signal::TERM).expect(0);
    sandbox.finish();
}
