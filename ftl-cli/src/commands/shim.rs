//! `ftl shim`: this process above one Runner that outlives its Controller. The local platform starts it; people do not.

use std::path::Path;

use crate::error::CliError;
use crate::exit::Exit;

pub(super) fn run(directory: &Path) -> Result<Exit, CliError> {
    let watched = ftl_platform_local::shim::run(directory);
    watched
        .map(|()| Exit::Ok)
        .map_err(|error| CliError::failed("the shim could not do its work").because(error))
}
