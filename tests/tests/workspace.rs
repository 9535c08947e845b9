//! The shape of the workspace: arrows between crates only point down, and what every user compiles stays small.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use tests::binary::root;

/// Level and name of every crate, bottom to top; a crate may only depend on crates of lower levels.
const LEVELS: [(u8, &str); 13] = [
    (0, "ftl-core"),
    (1, "ftl-wire"),
    (1, "ftl-client"),
    (1, "ftl-platform-local"),
    (1, "ftl-platform-docker"),
    (2, "ftl-platform-conformance"),
    (2, "ftl-sdk-macros"),
    (2, "ftl-controller"),
    (2, "ftl-runner"),
    (3, "ftl-sdk"),
    (4, "ftl-cli"),
    (5, "tests"),
    (5, "benches"),
];

/// Packages that must never reach a user module: HTTP, TLS, databases, container engines.
const HEAVY: [&str; 7] = ["axum", "hyper", "reqwest", "rustls", "sqlx", "bollard", "clap"];

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap()
}

/// The level of modules: what users write, over the SDK.
const MODULES: u8 = 4;

fn level(name: &str) -> Option<u8> {
    LEVELS.iter().find(|(_, known)| *known == name).map(|(level, _)| *level)
}

fn ours(package: &Package) -> impl Iterator<Item = (&str, DependencyKind)> {
    let mine = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    mine.map(|dependency| (dependency.name.as_str(), dependency.kind))
}

#[test]
fn arrows_point_down() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let is_module = level(&package.name).is_none();
        assert!(!is_module || !package.name.starts_with("ftl-"), "{} has no level in LEVELS", package.name);
        let own = level(&package.name).unwrap_or(MODULES);
        for (name, kind) in ours(package).filter(|(_, kind)| *kind != DependencyKind::Development) {
            let other = level(name).unwrap_or(MODULES);
            let among_modules = is_module && level(name).is_none();
            assert!(
                other < own || among_modules,
                "{} (level {own}) must not depend on {name} (level {other}, {kind:?})",
                package.name
            );
        }
    }
    let known: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    assert!(LEVELS.iter().all(|(_, name)| known.contains(name)), "{known:?}");
}

#[test]
fn only_the_command_names_concrete_platforms() {
    for package in metadata().workspace_packages() {
        let concrete = |name: &str| name.starts_with("ftl-platform-") && name != "ftl-platform-conformance";
        let normal = ours(package).filter(|(_, kind)| *kind != DependencyKind::Development);
        let names: Vec<&str> = normal.map(|(name, _)| name).filter(|name| concrete(name)).collect();
        let may = ["ftl-cli", "tests", "benches"].contains(&package.name.as_str());
        assert!(names.is_empty() || may, "{} names {names:?}", package.name);
    }
}

#[test]
fn the_contract_has_few_dependencies() {
    let metadata = metadata();
    let direct = |name: &str| {
        let package = metadata.packages.iter().find(|package| package.name == name).unwrap();
        package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal).count()
    };
    assert!(direct("ftl-core") <= 15, "ftl-core has {}", direct("ftl-core"));
    assert!(direct("ftl-sdk-macros") <= 5, "ftl-sdk-macros has {}", direct("ftl-sdk-macros"));
}

/// The lines of the sections that list dependencies.
fn dependencies_of(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let of_section = |line: &&str| {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        }
        inside
    };
    manifest.lines().filter(of_section).collect()
}

#[test]
fn versions_and_lints_stand_once() {
    for package in metadata().workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}", package.manifest_path);
        assert!(manifest.contains("publish.workspace = true"), "{}", package.manifest_path);
        let own_version = dependencies_of(&manifest).into_iter().find(|line| {
            let value = line.split_once('=').map(|(_, value)| value.trim());
            value.is_some_and(|value| value.starts_with('"') || value.contains("version ="))
        });
        assert_eq!(own_version, None, "{}: versions belong into the root manifest", package.manifest_path);
    }
}

/// Every package that is compiled for a package of ours, by `cargo tree`.
fn compiled_for(package: &str) -> BTreeMap<String, String> {
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
        .args([
            "tree",
            "--locked",
            "-p",
            package,
            "-e",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let pairs = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    pairs.map(|(name, version)| (format!("{name} {version}"), name)).collect()
}

#[test]
fn a_user_module_compiles_few_packages() {
    let packages = compiled_for("ftl-sdk");
    assert!(packages.len() <= 56, "{} packages: {:#?}", packages.len(), packages.keys());
    let heavy: Vec<_> = packages.values().filter(|name| HEAVY.contains(&name.as_str())).collect();
    assert!(heavy.is_empty(), "{heavy:?}");
}

#[test]
fn one_provider_of_cryptography() {
    let packages = compiled_for("ftl-cli");
    let others: Vec<_> =
        packages.values().filter(|name| ["aws-lc-sys", "openssl-sys"].contains(&name.as_str())).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn libraries_begin_with_a_guide() {
    for package in metadata().workspace_packages() {
        for target in &package.targets {
            let is_library = target.kind.iter().any(|kind| kind.to_string() == "lib");
            let source = std::fs::read_to_string(&target.src_path).unwrap();
            assert!(source.starts_with("//!"), "{} does not say what it is for", target.src_path);
            let function = source.lines().find(|line| begins_function(line));
            // The library of a module is the module.
            let is_guide = is_library && level(&package.name).is_some();
            assert!(!(is_guide && function.is_some()), "{}: {function:?}", target.src_path);
        }
    }
}

/// Whether a function begins in this line, whoever may call it and whatever else it is.
fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let is_before = |word: &&str| {
        word.starts_with("pub")
            || word.ends_with(')')
            || ["const", "async", "unsafe", "extern", "\"C\""].contains(word)
    };
    words.find(|word| !is_before(word)) == Some("fn")
}

#[test]
fn functions_are_seen_however_they_begin() {
    for line in [
        "fn a() {",
        "pub fn a<T>(",
        "    pub(crate) async fn a() {",
        "pub(in crate::a) const fn a()",
        "unsafe extern \"C\" fn a()",
    ] {
        assert!(begins_function(line), "{line}");
    }
    for line in ["pub use a::fn_b;", "//! fn a()", "pub const A: fn() = b;", "type A = fn(u8);", "mod fns;"] {
        assert!(!begins_function(line), "{line}");
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut silent = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            // Cases of the compiler's answers are what a user would write.
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "ui" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !begins_with_doc(&path) {
                silent.push(path);
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

fn begins_with_doc(path: &Path) -> bool {
    std::fs::read_to_string(path).unwrap().starts_with("//!")
}
