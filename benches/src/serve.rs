//! `ftl serve`, as an operator runs it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The root of the workspace.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Builds the `ftl` command in release, and answers where it is.
#[must_use]
pub fn build() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["build", "--quiet", "--release", "--bin", "ftl", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success());
    let messages = String::from_utf8(built.stdout).unwrap();
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().unwrap()
}

/// A command that deploys the modules below a folder of this workspace, in release, to a Controller: where it answers, and
/// the file with its token.
#[must_use]
pub fn deploying(ftl: &Path, (url, token): (&str, &str), folder: &str) -> Command {
    let mut command = Command::new(ftl);
    command.current_dir(root()).args(["--controller", url, "--token-file", token]);
    command.args(["deploy", folder, "--release"]).stdout(Stdio::null());
    command
}

/// A Controller that records what is said. It ends, and everything that it started, when it is dropped.
#[derive(Debug)]
pub struct Serve {
    ftl: PathBuf,
    child: Child,
    directory: TempDir,
    /// Where it answers.
    pub url: String,
    /// The file with its token.
    pub token: String,
}

impl Serve {
    /// Starts `ftl serve` with these further arguments, on a free port.
    #[must_use]
    pub fn start(ftl: &Path, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(ftl)
            .args(["serve", "--listen", "127.0.0.1:0", "--format", "json", "--data"])
            .arg(directory.path().join("data"))
            .args(arguments)
            .env("FTL_LOG", "off,ftl::sequence=trace")
            .env("FTL_LOG_FILE", directory.path().join("log.jsonl"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        let (url, token) = (text("controller"), text("token_file"));
        Self { ftl: ftl.to_owned(), child, directory, url, token }
    }

    /// Deploys the modules below a folder of this workspace, in release, with these further arguments.
    pub fn deploy(&self, folder: &str, arguments: &[&str]) {
        let mut command = deploying(&self.ftl, (&self.url, &self.token), folder);
        assert!(command.args(arguments).status().unwrap().success(), "{folder} was not deployed");
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The messages that were recorded so far.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.directory.path().join("log.jsonl")).unwrap();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// When a message was recorded, in seconds of the day.
#[must_use]
pub fn seconds(message: &Value) -> f64 {
    // As `2026-11-24T07:00:00.123456Z`.
    let timestamp = message["timestamp"].as_str().unwrap();
    let clock = timestamp.split_once('T').unwrap().1.trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

impl Drop for Serve {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.child.wait();
        let data = self.directory.path().join("data");
        let down = Command::new(&self.ftl).args(["down", "--data"]).arg(data).stdout(Stdio::null()).status();
        let ended = down.is_ok_and(|status| status.success());
        assert!(ended || std::thread::panicking(), "what it started is left");
    }
}
