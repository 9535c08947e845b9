//! The binary under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The root of this workspace.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

/// The `ftl` binary of this tree, built if it is not there.
#[must_use]
pub fn ftl() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build(&[]))
}

/// Builds `ftl`, with these options besides.
///
/// Exactly this selection: another one would compile its dependencies anew, with other features.
fn build(options: &[&str]) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["build", "--quiet", "--bin", "ftl", "--message-format=json"])
        .args(options)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "ftl does not build");
    let messages = String::from_utf8(built.stdout).unwrap();
    let mut executable = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_ftl = message["target"]["name"] == "ftl";
        message["executable"].as_str().filter(|_| is_ftl).map(PathBuf::from)
    });
    executable.next_back().expect("cargo names the binary")
}
