//! A Controller with one module in containers, as an operator runs it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ftl_client::Client;
use ftl_core::Operator;
use ftl_core::controller::{ChangeSpec, ChangeState, Wanted};
use tempfile::TempDir;

/// The name of its cluster.
pub(crate) const CLUSTER: &str = "bench";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A Controller whose module runs in containers.
#[derive(Debug)]
pub(crate) struct System {
    ftl: PathBuf,
    child: Child,
    directory: TempDir,
    client: Client,
}

impl System {
    /// Builds, serves, and deploys one replica of `heavy`: what is shared is there afterwards.
    pub(crate) async fn start() -> Self {
        let ftl = build();
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(&ftl)
            .args(["serve", "--cluster", CLUSTER, "--listen", "127.0.0.1:0", "--format", "json", "--data"])
            .arg(directory.path().join("data"))
            .env("FTL_LOG", "off,ftl::sequence=trace")
            .env("FTL_LOG_FILE", directory.path().join("log.jsonl"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        let (url, token) = (text("controller"), text("token_file"));
        let deployed = Command::new(&ftl)
            .current_dir(root())
            .args(["--controller", &url, "--token-file", &token, "deploy", "benches/modules/heavy"])
            .args(["--release", "--platform", "docker"])
            .stdout(Stdio::null())
            .status();
        assert!(deployed.unwrap().success(), "heavy was not deployed");
        let client = Client::new(&url, std::fs::read_to_string(token).unwrap().trim()).unwrap();
        Self { ftl, child, directory, client }
    }

    /// Adds a replica, and answers how long it took from `CreateRunner` to `Deployed`.
    pub(crate) async fn add_replica(&self) -> Duration {
        let module = self.client.status().await.unwrap().swap_remove(0);
        let replicas = module.desired + 1;
        let wanted = Wanted { deployment: module.deployment, platform: module.platform, replicas };
        let request = format!("replicas-{replicas}").parse().unwrap();
        let change = self.client.apply(ChangeSpec::new(request, vec![wanted])).await.unwrap();
        let mut seen = 0;
        loop {
            let status = self.client.change_status(change, seen).await.unwrap();
            match status.state {
                ChangeState::Rolling => seen = status.seen,
                ChangeState::Committed => break,
                failed => panic!("{failed:?}"),
            }
        }
        let log = std::fs::read_to_string(self.directory.path().join("log.jsonl")).unwrap();
        Duration::from_secs_f64(last(&log, "Deployed") - last(&log, "CreateRunner"))
    }

    /// Ends the Controller and all its containers.
    pub(crate) fn end(mut self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        let data = self.directory.path().join("data");
        let down = Command::new(&self.ftl).arg("down").arg("--data").arg(data).stdout(Stdio::null()).status();
        assert!(down.unwrap().success(), "containers are left");
    }
}

/// When a message was last recorded, in seconds of the day.
fn last(log: &str, message: &str) -> f64 {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let last = lines.rfind(|line| line["fields"]["message"] == message).unwrap();
    let timestamp = last["timestamp"].as_str().unwrap().to_owned();
    let clock = timestamp.split_once('T').unwrap().1.trim_end_matches('Z').to_owned();
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

/// Builds the `ftl` command in release, and answers where it is.
fn build() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["build", "--quiet", "--release", "--bin", "ftl", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success());
    let messages = String::from_utf8(built.stdout).unwrap();
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().unwrap()
}
