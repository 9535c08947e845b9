//! Runners in containers, through the Docker Engine: no registry, no image build, no published port.
//!
//! [`Docker`] implements the contract of `Platform`. It holds no state: an instance is a container whose labels say all
//! that is known of it, so whoever comes later finds it again.
//!
//! * The **image** of a program is assembled here and loaded: one layer with the program, the libraries that it needs
//!   ([`closure`]), certificates and time zones. Its tag is the digest of what is in it.
//! * A **container** may do nothing that it need not: no capability, no other user, a root that cannot be written. Its
//!   directory is a volume without a name, which goes with it, and in which it finds its boot document. Its `/tmp` is
//!   memory, and counts as such.
//! * Each cluster has one **network**, whose gateway is where the Controller listens besides. Networks of somebody else
//!   are joined, never made and never removed.
//! * An engine may be away, slow, or frozen: every request has its time, and what may have taken effect says so.
//!
//! Reading order: `platform` (the contract), `backend` (what operations have at hand), `create`, `instances` and `end`
//! (the life of one), `prepare`, `network` and `image` (what they share), `container`, `marks`, `state` and `init` (pure:
//! what the engine is asked and what it says), `logs`, `watch`, `canary`, `sweep`; then `connect` and `error` (the engine
//! itself), [`closure`] and `elf`.

mod backend;
mod canary;
pub mod closure;
mod connect;
mod container;
mod create;
mod elf;
mod end;
mod error;
mod image;
mod init;
mod instances;
mod logs;
mod marks;
mod network;
mod options;
mod platform;
mod prepare;
mod state;
mod sweep;
mod watch;

pub use options::{Options, Timings};
pub use platform::Docker;
pub use sweep::Leftover;
