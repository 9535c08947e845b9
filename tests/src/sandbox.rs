//! A place of its own for each test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ftl_core::name::TargetTriple;
use serde_json::Value;
use tempfile::TempDir;

use crate::binary::{ftl, root};
use crate::processes::{Process, started_with, wait_for_end};
use crate::project::target;
use crate::running::Running;
use crate::{comes_within, wait_until};

/// How long a process may take to be gone after whoever owned it has ended.
const GONE: Duration = Duration::from_secs(30);

/// A place of its own: home, temporary directory, data directory, and an environment without surprises.
#[derive(Debug)]
pub struct Sandbox {
    directory: TempDir,
    seen: Arc<Mutex<BTreeSet<Process>>>,
    /// The numbers of all that was started here: a `dev` names its directory after its own.
    started: Mutex<Vec<u32>>,
    environment: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Answer {
    /// Of a command that was run.
    #[must_use]
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The same, after it was held against the code that is expected.
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// The one object on standard output.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Whether standard error holds this text.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        self.stderr.contains(text)
    }
}

impl Sandbox {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("ftl-test-").tempdir().unwrap();
        for folder in ["home", "tmp"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
        }
        Self { directory, seen: Arc::default(), started: Mutex::default(), environment: Vec::new() }
    }

    /// The same, in which projects are built at [the one place for all of them](target).
    #[must_use]
    pub fn with_shared_target(self) -> Self {
        self.with("CARGO_TARGET_DIR", target().to_str().unwrap())
    }

    /// The same, with a variable for every command.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `ftl` with these arguments, to be started in the root of the workspace.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ftl());
        command.args(arguments);
        self.at_home(command)
    }

    fn at_home(&self, mut command: Command) -> Command {
        command
            .current_dir(root())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env_remove("XDG_STATE_HOME")
            .env_remove("FTL_CONTROLLER")
            .env_remove("FTL_TOKEN_FILE")
            .env_remove("FTL_LOG")
            .env_remove("FTL_LOG_FILE")
            .env_remove("CARGO")
            .envs(self.cargo_home())
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Cargo and rustup keep theirs in the real home.
    fn cargo_home(&self) -> Vec<(&'static str, PathBuf)> {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let of = |name: &'static str, folder: &str| {
            (name, std::env::var_os(name).map_or_else(|| home.join(folder), PathBuf::from))
        };
        vec![of("CARGO_HOME", ".cargo"), of("RUSTUP_HOME", ".rustup")]
    }

    /// Runs `ftl` to its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Answer {
        self.run_in(root(), arguments)
    }

    /// Runs `ftl` to its end, in this folder.
    #[must_use]
    pub fn run_in(&self, folder: &Path, arguments: &[&str]) -> Answer {
        let mut command = self.command(arguments);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        self.started.lock().unwrap().push(child.id());
        Answer::of(child.wait_with_output().unwrap())
    }

    /// Runs `ftl` to its end, over the Controller of a running one.
    #[must_use]
    pub fn run_at(&self, running: &Running, arguments: &[&str]) -> Answer {
        let endpoint = running.endpoint();
        let endpoint: Vec<&str> = endpoint.iter().map(String::as_str).collect();
        self.run(&[&endpoint[..], arguments].concat())
    }

    /// Starts an `ftl` that runs until it is told to end.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Running {
        let place = self.directory.path().to_owned();
        let running = Running::start(self.command(arguments), self.seen.clone(), place);
        self.started.lock().unwrap().push(running.pid());
        running
    }

    /// Starts `ftl serve` over a data directory of this sandbox, on a free port, and waits until it answers.
    #[must_use]
    pub fn serve(&self, data: &str) -> Running {
        self.serve_by(data, |ftl| Command::new(ftl))
    }

    /// The same, with further arguments.
    #[must_use]
    pub fn serve_with(&self, data: &str, arguments: &[&str]) -> Running {
        self.serve_at(data, "127.0.0.1:0", arguments, |ftl| Command::new(ftl))
    }

    /// The same, started by the command that `by` makes of the path of `ftl`.
    #[must_use]
    pub fn serve_by(&self, data: &str, by: impl Fn(&Path) -> Command) -> Running {
        self.serve_at(data, "127.0.0.1:0", &[], by)
    }

    /// Starts `ftl serve` over the data directory of a former one, where that one answered.
    #[must_use]
    pub fn serve_again(&self, data: &str, former: &Running) -> Running {
        // Not before its last thread is gone, which may be later than its process seems to be.
        let lock = self.path(data).join("lock");
        wait_until("the former one has ended", || {
            fs::File::open(&lock).is_ok_and(|lock| lock.try_lock().is_ok())
        });
        self.serve_at(data, former.url.strip_prefix("http://").unwrap(), &[], |ftl| Command::new(ftl))
    }

    fn serve_at(
        &self,
        data: &str,
        listen: &str,
        arguments: &[&str],
        by: impl Fn(&Path) -> Command,
    ) -> Running {
        let data = self.path(data);
        let mut command = by(ftl());
        command.args(["serve", "--data", data.to_str().unwrap(), "--listen", listen, "--format", "json"]);
        command.args(arguments);
        let place = self.directory.path().to_owned();
        let mut running = Running::start(self.at_home(command), self.seen.clone(), place);
        running.wait_until_served();
        running
    }

    /// The triple that modules are built for here.
    #[must_use]
    pub fn target(&self) -> TargetTriple {
        let version = self.run(&["version", "--format", "json"]).expect(0).json();
        version["target"].as_str().unwrap().parse().unwrap()
    }

    /// Ends what outlives the Controllers that kept their state here, as an operator does.
    pub fn down(&self) {
        for data in self.data() {
            let _ = self.run(&["down", "--data", data.to_str().unwrap()]).expect(0);
            let instances = data.join("instances");
            let left: Vec<_> = fs::read_dir(instances).unwrap().flatten().map(|entry| entry.path()).collect();
            assert!(left.is_empty(), "left of instances: {left:?}");
        }
    }

    /// The data directories of Controllers that ran here and outside of projects.
    fn data(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| path.join("controller.db").is_file()).collect()
    }

    /// Everything that runs of what was started here, by whomever.
    #[must_use]
    pub fn running(&self) -> BTreeSet<Process> {
        started_with("TMPDIR", &self.path("tmp"))
    }

    /// What is left in the temporary directory, and in the `.ftl` of every workspace in which a `dev` ran.
    fn left(&self) -> Vec<PathBuf> {
        let entries =
            |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        // Workspaces of this sandbox are nobody else's; that of the tree is shared.
        let mut left: Vec<_> = entries(&self.path("tmp")).collect();
        let own = entries(self.directory.path())
            .flat_map(|folder| entries(&folder.join(".ftl")).collect::<Vec<_>>());
        left.extend(own.filter(|path| !path.ends_with(".gitignore")));
        let started = self.started.lock().unwrap();
        let shared = started.iter().map(|pid| root().join(format!(".ftl/dev-{pid}")));
        left.extend(shared.filter(|path| path.exists()));
        left
    }

    /// Ends what outlives Controllers, and asserts that nothing is left of what ran here: no process, nothing in the
    /// temporary directory, and no directory of a `dev`.
    pub fn finish(self) {
        self.down();
        let mut seen = self.seen.lock().unwrap().clone();
        seen.extend(self.running());
        wait_for_end(&seen, GONE);
        assert!(self.running().is_empty(), "started meanwhile");
        assert!(comes_within(GONE, || self.left().is_empty()), "left: {:?}", self.left());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A test that failed ended nothing, and what it started would outlive it.
        if std::thread::panicking() {
            for data in self.data() {
                let _ = self.command(&["down", "--data", data.to_str().unwrap()]).output();
            }
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}
