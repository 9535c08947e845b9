//! All four actors in one process: the reference that the real ones are held against, and a system for tests.
//!
//! Everything that the contract says happens here too — diffs, uploads, runners created and registered, pings, route
//! tables, nested calls, drains — but by function calls: no sockets, no files, and no task but one for each instance and
//! its supervisor. It decides nothing that needs time: a change is carried out while [`apply`](crate::Operator::apply) runs, nothing is replaced when it ends by
//! itself, and nothing survives the process.
//!
//! [`System`] puts the parts together. Reading order: [`UserCode`] (a Deployment made of closures), [`MemoryRunner`],
//! [`MemoryPlatform`], [`MemoryController`].

mod controller;
mod platform;
mod runner;
mod supervisor;
mod system;
mod user_code;

pub use controller::MemoryController;
pub use platform::{Launch, MemoryPlatform, Program, Start, StopSignal};
pub use runner::{Library, MemoryRunner};
pub use system::System;
pub use user_code::UserCode;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Nothing here panics while it holds a lock, and plain data behind one would still be whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
