//! Runners as child processes of this one: the smallest real backend.
//!
//! [`Local`] runs in *tied* mode: its instances end when this process ends, however it ends. Two things see to
//! that. Each Runner's standard input is the read end of a pipe whose only write end this process holds: it closes
//! with us, everywhere. And each Runner asks for the parent-death signal where there is one; that signal follows the
//! *thread* that started it, so all of them are started by one thread that lives as long as the platform.
//!
//! Every instance has a process group and a private directory of its own. A crash of one hurts nobody else. What a
//! process moved out of its group (`setsid`) is not found again, so [`KillTree`](ftl_core::platform::Capability)
//! is not claimed.
//!
//! Reading order: `platform` (the contract), `instance` (what is known of one), `spawner` (the thread that starts
//! and reaps), `output` (what instances wrote).

mod instance;
mod output;
mod platform;
mod spawner;

pub use platform::{Local, Options};
