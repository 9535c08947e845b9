//! How a [`Local`](crate::Local) is configured.

use std::path::PathBuf;

use ftl_core::name::{PlatformName, TargetTriple};

/// How a [`Local`](crate::Local) is configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The name it is known under.
    pub name: PlatformName,
    /// Where instances have their directories; made if it is not there.
    pub directory: PathBuf,
    /// The triple of the programs of this machine.
    pub target: TargetTriple,
    /// Whether instances outlive this process.
    pub mode: Mode,
}

/// Whether instances outlive the process that made them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Mode {
    /// They end with it, however it ends.
    Tied,
    /// They go on, and are found again. Each is watched by a process of its own, its shim: `program args… DIRECTORY`,
    /// which calls [`shim::run`](crate::shim::run).
    Detached {
        /// What starts a shim.
        program: PathBuf,
        /// The arguments before the directory.
        args: Vec<String>,
    },
}

impl Options {
    /// Tied instances below `directory`, of programs for `target`, under the given name.
    #[must_use]
    pub fn new(name: PlatformName, directory: PathBuf, target: TargetTriple) -> Self {
        Self { name, directory, target, mode: Mode::Tied }
    }

    /// The same in this mode.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }
}
