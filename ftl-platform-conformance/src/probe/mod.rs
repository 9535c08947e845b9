//! The program that every check starts: it dials the suite, says who it is, and does as it is told.
//!
//! It is a Runner in all that concerns a platform — it finds its boot document at the path in `FTL_BOOT` and removes it, or
//! is handed it in its own process — and knows nothing else of FTL. [`main`] makes a process of it, [`Registered`] a task.
//! It ends when the suite is gone, so that a suite that was killed leaves no probe behind.

mod order;
mod process;
mod serve;

use std::future::Future;
use std::pin::Pin;

use ftl_core::memory::{Launch, Program, Start};

pub use process::main;

pub(crate) use order::{Answer, Hello, Order};
pub(crate) use process::AT_ONCE_VARIABLE;
pub(crate) use serve::{Lines, Wire, hear, nonce, say};

use serve::{Ending, Place, Term, serve};

/// The exit code of a probe that ended because it was asked to.
pub(crate) const GRACEFUL_CODE: u8 = 23;

/// The probe as a program of a [`MemoryPlatform`](ftl_core::memory::MemoryPlatform).
#[derive(Clone, Copy, Debug, Default)]
pub struct Registered;

impl Launch for Registered {
    fn launch(&self, start: Start) -> Pin<Box<dyn Future<Output = Result<Program, String>> + Send + '_>> {
        Box::pin(async move {
            let program: Program = Box::pin(run(start));
            Ok(program)
        })
    }
}

/// The probe as a task; there are no exit codes here.
async fn run(start: Start) -> Result<(), String> {
    let Start { boot, env, stop, .. } = start;
    let mut term = Term::Task(stop);
    let hello = serve::hello(&boot).map_err(|error| error.to_string())?;
    match serve(&boot.controller, hello, &Place::Task(env), &mut term).await {
        Ok(Ending::Panic) => serve::panic(),
        Ok(Ending::Asked | Ending::Alone) => Ok(()),
        Ok(Ending::Code(code)) => Err(format!("told to end with {code}")),
        Err(error) => Err(error.to_string()),
    }
}
