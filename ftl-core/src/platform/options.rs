//! How a platform is to read and to remove.

#[cfg(doc)]
use super::Platform;

/// Options of [`Platform::logs`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOptions {
    /// At most so many of the newest lines.
    pub tail: Option<usize>,
    /// Go on until the instance ends.
    pub follow: bool,
}

impl LogOptions {
    /// The newest lines.
    #[must_use]
    pub fn tail(lines: usize) -> Self {
        Self { tail: Some(lines), follow: false }
    }
}

/// Options of [`Platform::remove_instance`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
}

impl RemoveOptions {
    /// Kill it first if it runs.
    #[must_use]
    pub fn forced() -> Self {
        Self { force: true }
    }
}

/// Options of [`Platform::release`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReleaseOptions {
    /// Also end and remove every instance of the cluster.
    pub instances_too: bool,
}

impl ReleaseOptions {
    /// Also end and remove every instance of the cluster.
    #[must_use]
    pub fn with_instances() -> Self {
        Self { instances_too: true }
    }
}
