//! Runners as processes of this machine: the smallest real backend.
//!
//! [`Local`] has two modes. **Tied**: its instances are children of this process and end when it ends, however it
//! ends. Two things see to that. Each Runner's standard input is the read end of a pipe whose only write end this
//! process holds: it closes with us, everywhere. And each Runner asks for the parent-death signal where there is one; that
//! signal follows the *thread* that started it, so all of them are started by one thread that lives as long as the
//! platform.
//!
//! **Detached**: instances outlive this process, and a later one finds them again, with the exact ends of those that
//! ended meanwhile. Each has a [shim](shim::run): a small process in a session of its own that stands to its Runner as
//! this process does in tied mode, holds the lock of the instance's directory as long as it lives, and writes down there
//! how the Runner ended. The directory is all that there is; the platform keeps no state of its own.
//!
//! In both, every instance has a process group and a private directory of its own. A crash of one hurts nobody else.
//! What a process moved out of its group (`setsid`) is not found again, so
//! [`KillTree`](ftl_core::platform::Capability) is not claimed.
//!
//! Reading order: `options`, `local` (the choice between the modes), `program` (a Runner's process), `tied`, `detached`
//! with `place` (the files of an instance and what they say) and `shim`; `common` is what both answer alike.

mod common;
mod detached;
mod local;
mod options;
mod program;
mod tied;

pub use local::Local;
pub use options::{Mode, Options};

/// The process above one detached Runner.
pub mod shim {
    pub use crate::detached::shim::{ShimError, run};
}
