//! What a Controller is told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ftl_core::Platform;
use ftl_core::name::{ClusterId, Language};
use ftl_core::platform::ProgramSource;

use crate::timings::Timings;

/// Where the admin API answers when nobody says otherwise.
pub const ADMIN_PORT: u16 = 8892;
/// Bytes of output that are kept of all modules together.
const LOG_BYTES_KEPT: u64 = 4 << 20;

/// What a Controller is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Where it keeps its state.
    pub data: PathBuf,
    /// What the cluster is called from its first start on; a random name otherwise.
    pub cluster: Option<ClusterId>,
    /// Where Runners can live; each has a name of its own.
    pub platforms: Vec<Arc<dyn Platform>>,
    /// The Runner's program: the first source that a platform takes.
    pub runner: Vec<ProgramSource>,
    /// The environment of every Runner.
    pub runner_env: BTreeMap<String, String>,
    /// For people who find what platforms made: whose it is, as `HOST:DATA DIRECTORY`; the data directory alone unless said otherwise.
    pub owner: String,
    /// The languages that the Runner's program can run.
    pub languages: Vec<Language>,
    /// Where the admin API answers. Loopback only.
    pub admin: SocketAddr,
    /// Whether a free port will do when that one is taken.
    pub admin_fallback: bool,
    /// Where calls of public verbs are answered. Off unless given; loopback only.
    pub ingress: Option<SocketAddr>,
    /// Whether instances go on when it is asked to end, on platforms that can: the next Controller of this data directory
    /// adopts them. Without, everything ends with it, and what instances shared is removed.
    pub outlived: bool,
    /// How long it waits for what.
    pub timings: Timings,
    /// Bytes of output that are kept of all modules together.
    pub log_bytes_kept: u64,
}

impl Options {
    /// A Controller that keeps its state in `data`, without platforms.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let data = data.into();
        Self {
            owner: data.display().to_string(),
            data,
            cluster: None,
            platforms: Vec::new(),
            runner: Vec::new(),
            runner_env: BTreeMap::new(),
            languages: "rust".parse().into_iter().collect(),
            admin: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), ADMIN_PORT),
            admin_fallback: false,
            ingress: None,
            outlived: true,
            timings: Timings::default(),
            log_bytes_kept: LOG_BYTES_KEPT,
        }
    }

    /// And this platform.
    #[must_use]
    pub fn with_platform(mut self, platform: Arc<dyn Platform>) -> Self {
        self.platforms.push(platform);
        self
    }

    /// And this source of the Runner's program.
    #[must_use]
    pub fn with_runner(mut self, source: ProgramSource) -> Self {
        self.runner.push(source);
        self
    }

    /// With the admin API there.
    #[must_use]
    pub fn with_admin(mut self, admin: SocketAddr) -> Self {
        self.admin = admin;
        self
    }
}
