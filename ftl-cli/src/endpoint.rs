//! Which Controller a command talks to: flag, environment, a running `ftl dev`, `ftl.toml`, the default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ftl_client::Client;
use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::manifest::{FILE, Manifest};

/// Where a Controller answers when nobody says otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8892";
/// The folder of the workspace in which `ftl` keeps what is its own.
pub(crate) const FOLDER: &str = ".ftl";
/// Where a running `ftl dev` says where it answers.
const DEV_FILE: &str = "dev.json";

/// Held by a Controller in its data directory.
const LOCK: &str = "lock";

/// What a running `ftl dev` leaves for other commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DevFile {
    /// Where its Controller answers.
    pub(crate) url: String,
    /// Its process.
    pub(crate) pid: u32,
    /// The file with its token.
    pub(crate) token_file: PathBuf,
}

impl DevFile {
    /// Where it is in a workspace.
    pub(crate) fn path(root: &Path) -> PathBuf {
        root.join(FOLDER).join(DEV_FILE)
    }

    /// What a `dev` left in a workspace, whether it runs or not.
    pub(crate) fn read(root: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(root)).ok()?).ok()
    }

    /// The running `dev` of a workspace, if there is one.
    pub(crate) fn live(root: &Path) -> Option<Self> {
        let file = Self::read(root)?;
        // Numbers of processes are used again; the lock of its directory ends with it.
        let served = file.token_file.parent().is_some_and(is_served);
        (served && is_running(file.pid)).then_some(file)
    }
}

/// Whether a Controller holds the lock of this data directory.
pub(crate) fn is_served(data: &Path) -> bool {
    std::fs::File::open(data.join(LOCK)).is_ok_and(|lock| lock.try_lock_shared().is_err())
}

/// Whether a process runs.
pub(crate) fn is_running(pid: u32) -> bool {
    rustix::process::Pid::from_raw(pid.cast_signed())
        .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// What the command line says about the Controller.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct EndpointArgs {
    /// Where the Controller answers, as http://127.0.0.1:8892
    #[arg(long, global = true, env = "FTL_CONTROLLER", value_name = "URL")]
    controller: Option<String>,
    /// The file with the Controller's API token
    #[arg(long, global = true, env = "FTL_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl EndpointArgs {
    /// A client for the Controller that is meant.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let here = std::env::current_dir()
            .map_err(|error| CliError::failed("the current folder is gone").because(error))?;
        let (url, token_file) = self.resolve(&here)?;
        let token = match token_file {
            Some(path) => read_token(&path)?,
            None => String::new(),
        };
        Client::new(&url, &token).map_err(CliError::from)
    }

    fn resolve(&self, here: &Path) -> Result<(String, Option<PathBuf>), CliError> {
        if let Some(url) = &self.controller {
            let dev = || here.ancestors().find_map(DevFile::live).filter(|dev| dev.url == *url);
            let token = self.token_file.clone().or_else(|| dev().map(|dev| dev.token_file));
            return Ok((url.clone(), token.or_else(|| default_token(url))));
        }
        if let Some(dev) = here.ancestors().find_map(DevFile::live) {
            return Ok((dev.url, Some(self.token_file.clone().unwrap_or(dev.token_file))));
        }
        let manifest = match here.ancestors().find(|folder| folder.join(FILE).is_file()) {
            Some(folder) => Manifest::read(folder)?,
            None => Manifest::default(),
        };
        let url = manifest.controller.url.unwrap_or_else(|| DEFAULT_URL.to_owned());
        let token = self.token_file.clone().or(manifest.controller.token_file);
        let token = token.or_else(|| default_token(&url));
        Ok((url, token))
    }
}

/// The token of the Controller that serves this user's default data directory. It answers on this machine, and nobody else
/// is told its token.
fn default_token(url: &str) -> Option<PathBuf> {
    is_loopback(url).then(default_data)?.map(|data| data.join("token")).filter(|path| path.is_file())
}

/// Whether an address is one of this machine, for itself only. Whatever else may stand in an address makes it none.
fn is_loopback(url: &str) -> bool {
    let authority = url.strip_prefix("http://").unwrap_or_default().trim_end_matches('/');
    let address = authority.replacen("localhost:", "127.0.0.1:", 1);
    address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

/// Where `ftl serve` keeps its data when nobody says otherwise.
fn default_data() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Some(state.or_else(home)?.join("ftl"))
}

/// The data directory that is named, or else the default one.
pub(crate) fn data_or_default(named: Option<PathBuf>) -> Result<PathBuf, CliError> {
    named.or_else(default_data).ok_or_else(|| {
        CliError::usage("there is no home directory for the Controller's state")
            .hint("name a folder with --data")
    })
}

fn read_token(path: &Path) -> Result<String, CliError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::usage(format!("the token file {} cannot be read", path.display())).because(error)
    })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a running `dev` leaves, and the lock that it holds.
    fn write_dev(root: &Path, pid: u32) -> (PathBuf, std::fs::File) {
        let data = root.join(FOLDER).join("dev-1");
        std::fs::create_dir_all(&data).unwrap();
        let token_file = data.join("token");
        let file = DevFile { url: "http://127.0.0.1:1".into(), pid, token_file: token_file.clone() };
        std::fs::write(DevFile::path(root), serde_json::to_vec(&file).unwrap()).unwrap();
        let lock = std::fs::File::create(data.join(LOCK)).unwrap();
        lock.lock().unwrap();
        (token_file, lock)
    }

    #[test]
    fn a_flag_wins_then_a_live_dev_then_the_manifest() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(root.path().join(FILE), "[controller]\nurl = \"http://127.0.0.1:2\"\n").unwrap();
        let none = EndpointArgs::default();
        assert_eq!(none.resolve(&below).unwrap().0, "http://127.0.0.1:2");
        let (token, _lock) = write_dev(root.path(), std::process::id());
        assert_eq!(none.resolve(&below).unwrap(), ("http://127.0.0.1:1".into(), Some(token)));
        let flag = EndpointArgs { controller: Some("http://127.0.0.1:3".into()), token_file: None };
        assert_eq!(flag.resolve(&below).unwrap().0, "http://127.0.0.1:3");
    }

    #[test]
    fn only_this_machine_is_told_the_default_token() {
        for ours in [DEFAULT_URL, "http://127.0.0.1:1/", "http://localhost:8892", "http://[::1]:8892"] {
            assert!(is_loopback(ours), "{ours}");
        }
        let others = [
            "http://example.org:8892",
            "http://127.0.0.1:8892@example.org/",
            "http://localhost:80@example.org:80",
            "http://localhost.example.org:80",
            "http://192.168.0.1:8892",
        ];
        for other in others {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn a_dead_dev_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let (_, lock) = write_dev(root.path(), child.id());
        assert!(DevFile::live(root.path()).is_none(), "its process is gone");
        drop(lock);
        let (_, lock) = write_dev(root.path(), std::process::id());
        assert!(DevFile::live(root.path()).is_some());
        drop(lock);
        assert!(DevFile::live(root.path()).is_none(), "its number is another process's now");
    }
}
