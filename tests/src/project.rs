//! Projects of their own, for tests that change or break what is built.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::root;

/// The `main.rs` of a module with as little as a module can have: a verb `tick`.
pub const TICKER: &str = r#"
//! Ticks.
ftl::module! {
    /// Ticks.
    verbs: [tick]
}

/// Ticks.
#[ftl::verb]
pub async fn tick() {}

fn main() -> std::process::ExitCode {
    ftl::serve(MODULE)
}
"#;

/// Where projects of their own are built: one place for all, so that the SDK is compiled once for all of them.
#[must_use]
pub fn target() -> PathBuf {
    root().join("target/broken")
}

/// Writes a workspace of these packages, each a name and its `main.rs`, that depend on the SDK of this tree.
pub fn workspace(folder: &Path, packages: &[(&str, &str)]) {
    let members: Vec<&str> = packages.iter().map(|(name, _)| *name).collect();
    let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n");
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    for (name, main) in packages {
        let package = folder.join(name);
        fs::create_dir_all(package.join("src")).unwrap();
        let sdk = root().join("ftl-sdk");
        let manifest = format!(
            "[package]\nname = {name:?}\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\nftl-sdk = {{ path = {sdk:?} }}\n"
        );
        fs::write(package.join("Cargo.toml"), manifest).unwrap();
        fs::write(package.join("src/main.rs"), main).unwrap();
    }
}
