//! The documents tell the truth: every command that they show runs, and everything that they name exists.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cargo_metadata::MetadataCommand;
use rustix::process::Signal;
use tests::Sandbox;
use tests::binary::root;
use tests::docker::Engine;

/// The prefix that stands before an `ftl` command in a document, so that it can be pasted.
const FTL: &str = "cargo run -q --bin ftl -- ";

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Every command of the console blocks of a document.
fn commands(name: &str) -> Vec<String> {
    let text = document(name);
    let mut blocks = text.split("```console\n").skip(1);
    let block = |rest: &str| rest.split_once("```").unwrap().0.to_owned();
    let lines: Vec<String> =
        blocks.by_ref().flat_map(|rest| block(rest).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().filter_map(|line| line.strip_prefix("$ ").map(str::to_owned)).collect()
}

/// Splits a command as a shell does, as far as documents need it.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (String::new(), false);
    for character in command.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            other => word.push(other),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// What `.ci/run` and this test run already do: a test that ran all tests would not end.
const RUN_ELSEWHERE: [&str; 4] = [
    "cargo test --workspace",
    "cargo test -p tests --test sequences",
    "cargo run --release -p benches --bin callpath",
    "cargo run --release -p benches --bin container",
];

#[test]
fn every_command_runs() {
    let sandbox = Sandbox::new();
    let mut running = sandbox.start(&["dev", "examples/hello", "--format", "json"]);
    running.wait_until_ready();
    let mut ran = 0;
    let engine = Engine::find("every_command_runs, as far as it needs Docker,");
    for name in ["README.md", "CONTRIBUTING.md", "docs/docker.md"] {
        for command in commands(name) {
            if command.contains("docker") && engine.is_none() {
                continue;
            }
            let Some(command) = command.strip_prefix(FTL) else {
                assert!(RUN_ELSEWHERE.contains(&command.as_str()), "{name}: nobody runs `{command}`");
                continue;
            };
            let words = words(command);
            let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
            if arguments == ["dev", "examples/hello"] {
                // It runs until ^C, and it is what the other commands here talk to.
                continue;
            }
            let endpoint = running.endpoint();
            if !["dev", "platform"].contains(&arguments[0]) {
                arguments.extend(endpoint.iter().map(String::as_str));
            }
            let answer = sandbox.run(&arguments);
            assert_eq!(answer.code, 0, "{name}: {command}: {answer:#?}");
            ran += 1;
        }
    }
    assert!(ran >= 6, "the documents lost their commands");
    let _ = running.end(Signal::TERM).expect(0);
    sandbox.finish();
}

#[test]
fn the_second_command_of_the_readme_is_what_ci_runs() {
    let ci = document(".ci/run");
    assert!(ci.lines().any(|line| line == "cargo test --workspace"));
    assert!(commands("README.md").iter().any(|command| command == "cargo test --workspace"));
}

/// Every file of source code of ours.
fn sources() -> String {
    let mut text = String::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if path.is_dir()
                && !name.starts_with('.')
                && name != "target"
                && path != Path::new(&root().join("tests"))
            {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    text
}

/// Whether a line of a list declares a type: `Name;` or `Name = …`.
fn declares(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest == ";" || rest.starts_with(" = \""))
}

#[test]
fn everything_that_the_architecture_names_exists() {
    let text = document("ARCHITECTURE.md");
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let crates: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let sources = sources();
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(|name| !name.contains('\n')).collect();
    let mut types = 0;
    for name in &named {
        if name.starts_with("ftl-") && !name.contains('/') {
            assert!(crates.contains(*name), "there is no crate `{name}`");
        } else if name.contains('/') {
            assert!(root().join(name).exists(), "there is no file `{name}`");
        } else if name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(char::is_alphanumeric)
        {
            let keyword = |kind: &&str| sources.contains(&format!("pub {kind} {name}"));
            // Names and counters are declared in a list, by a macro.
            let listed = || sources.lines().any(|line| declares(line.trim(), name));
            let declared = ["struct", "enum", "trait", "type"].iter().any(keyword) || listed();
            let is_message = sources.contains(&format!("\"{name}\""));
            assert!(declared || is_message, "there is no type and no message `{name}`");
            types += 1;
        }
    }
    for package in crates.iter().filter(|package| package.starts_with("ftl-")) {
        assert!(named.contains(&package.as_str()), "the architecture does not name `{package}`");
    }
    assert!(types >= 30, "{types}");
}

#[test]
fn every_message_of_the_diagrams_is_recorded() {
    let (text, sources) = (document("ARCHITECTURE.md"), sources());
    let messages: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.trim().split_once("->>")?.1.split_once(": "))
        .filter_map(|(_, message)| message.split([' ', ',']).next())
        .collect();
    assert!(messages.len() >= 13, "{messages:?}");
    for message in messages {
        assert!(sources.contains(&format!("\"{message}\"")), "`{message}` is never recorded");
    }
}
