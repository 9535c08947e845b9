//! `ftl runner`: this process as a Runner. Platforms start it; people do not.

use ftl_runner::{Ending, Options};

use crate::error::CliError;
use crate::exit::Exit;

pub(super) fn run() -> Result<Exit, CliError> {
    let options =
        Options::from_environment().map_err(|error| CliError::usage("this is no runner").because(error))?;
    // The main thread, because the parent-death signal of the user code follows the thread that starts it; a
    // current-thread runtime, because it carries calls twice as fast as a work-stealing one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::failed("no runtime could be started").because(error))?;
    let ending = runtime.block_on(ftl_runner::run(options));
    match ending.map_err(|error| CliError::failed("the runner could not run").because(error))? {
        Ending::Crashed(_) => Ok(Exit::Failed),
        _ => Ok(Exit::Ok),
    }
}
