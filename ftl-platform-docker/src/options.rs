//! How the platform is configured.

use std::time::Duration;

use ftl_core::name::{PlatformName, TargetTriple};

/// How a [`Docker`](crate::Docker) is configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The name it is known under.
    pub name: PlatformName,
    /// The triple of the programs that its containers run.
    pub target: TargetTriple,
    /// Where the engine is, as `unix:///run/docker.sock` or `tcp://HOST:PORT`; otherwise it is looked for.
    pub host: Option<String>,
    /// Where containers reach the Controller, as `HOST` or `HOST:PORT`; otherwise it follows from the kind of engine.
    pub advertise: Option<String>,
    /// The size of an instance's `/tmp`, in bytes. It is memory, and counts as such.
    pub temporary_bytes: u64,
    /// How many processes and threads an instance may have when its needs do not say.
    pub pids: u32,
    /// How long the engine may take for what.
    pub timings: Timings,
}

impl Options {
    /// The engine that is found, under the given name, for programs of the given target.
    #[must_use]
    pub fn new(name: PlatformName, target: TargetTriple) -> Self {
        Self {
            name,
            target,
            host: None,
            advertise: None,
            temporary_bytes: 64 << 20,
            pids: 1024,
            timings: Timings::default(),
        }
    }
}

/// How long the engine may take to answer. Once over, what was asked for may still happen.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timings {
    /// To connect, and to answer what changes nothing.
    pub read: Duration,
    /// To create or to remove something. An engine on a slow disk takes seconds.
    pub change: Duration,
    /// To start a container: its network is set up one after the other.
    pub start: Duration,
    /// To take an image of tens of megabytes.
    pub load: Duration,
    /// To end a container, longer than its grace.
    pub stop_slack: Duration,
    /// Of silence, after which an engine that is watched is asked whether it is still alive; a frozen one says nothing
    /// at all.
    pub silence: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(10),
            change: Duration::from_secs(30),
            start: Duration::from_secs(60),
            load: Duration::from_secs(300),
            stop_slack: Duration::from_secs(10),
            silence: Duration::from_secs(8),
        }
    }
}
