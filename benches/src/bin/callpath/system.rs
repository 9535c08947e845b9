//! The real processes: a Controller, Runners and Deployments, deployed by the real command.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use benches::processes::{descendants, wait_for_file};
use benches::serve::deploying;
use tempfile::TempDir;

use crate::controller::BENCH;

/// A running Controller with modules deployed to it. Everything ends when it is dropped.
#[derive(Debug)]
pub(crate) struct System {
    child: Child,
    directory: TempDir,
    url: String,
    token: String,
}

impl System {
    /// A Controller on which the benchmark can be a Runner.
    pub(crate) fn start(ftl: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let boot = directory.path().join("boot.json");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("controller").arg(data).arg(boot).arg(ftl);
        Self::spawn(command, directory)
    }

    fn spawn(mut command: Command, directory: TempDir) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (url, token) = line.trim().split_once(' ').expect("the Controller says where it answers");
        let (url, token) = (url.to_owned(), token.to_owned());
        Self { child, directory, url, token }
    }

    /// Deploys the modules below a folder of this workspace.
    pub(crate) fn deploy(&self, ftl: &Path, folder: &str) {
        let status = self.deploying(ftl, folder).status().unwrap();
        assert!(status.success(), "{folder} was not deployed");
    }

    /// Begins to deploy `caller`, whose Runner the benchmark is, and answers where its boot document is.
    pub(crate) fn deploy_caller(&self, ftl: &Path) -> (Child, PathBuf) {
        let mut command = self.deploying(ftl, "benches/modules/caller");
        let child = command.args(["--platform", BENCH]).spawn().unwrap();
        let boot = self.directory.path().join("boot.json");
        wait_for_file(&boot);
        (child, boot)
    }

    fn deploying(&self, ftl: &Path, folder: &str) -> Command {
        deploying(ftl, (&self.url, &self.token), folder)
    }

    /// The Controller and everything that it started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut all = vec![self.child.id()];
        all.extend(descendants(self.child.id()));
        all
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // It ends, and everything with it, when its standard input closes.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The binary of a module, in release.
pub(crate) fn module(name: &str) -> PathBuf {
    let target = std::env::current_exe().unwrap();
    target.parent().unwrap().join(name)
}
