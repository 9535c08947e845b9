//! One life as the user code of a Runner.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ftl_core::call::CALL_TIMEOUT_DEFAULT;
use ftl_core::schema;
use ftl_wire::{CloseReason, Closed};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::process::{Doorway, Inward, Process};
use super::{blocking, inherited, logging};
use crate::module::Module;

/// Serves until the Runner closes the connection or asks the process to end.
pub(super) fn run(modules: &[Module], schema: &schema::Module) -> Result<(), String> {
    logging::start();
    let socket = inherited::take().map_err(|error| {
        format!("no runner is at the other end of standard input ({error}): start the module with `ftl dev`")
    })?;
    let cannot = |error: io::Error| format!("the module cannot serve: {error}");
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    // Verbs are polled on this thread, by the runtime that it drives.
    blocking::watch_this_thread().map_err(cannot)?;
    let process = Process::new(modules);
    let outcome = runtime.block_on(live(&process, schema, socket));
    // A verb that blocks its own thread must not keep the process: nobody waits for it any more.
    runtime.shutdown_background();
    outcome
}

async fn live(process: &Arc<Process>, schema: &schema::Module, socket: UnixStream) -> Result<(), String> {
    let cannot = |error: io::Error| format!("signals cannot be watched: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let doorway = Arc::new(Doorway(Arc::new(Inward(process.clone()))));
    let options = ftl_wire::Options::default();
    let connection = tokio::select! {
        connection = ftl_wire::dial_runner(socket, schema.hash(), doorway, &options) => {
            connection.map_err(|error| format!("the runner did not answer: {error}"))?
        }
        _ = terminate.recv() => return Ok(()),
    };
    process.connect(Arc::new(connection.clone()));
    debug!(module = %schema.name, "serving");
    tokio::select! {
        closed = connection.closed() => ended(&closed),
        _ = terminate.recv() => {
            // The Runner has drained before it asks, so this is the end of calls that it gave up on.
            connection.drain(Instant::now() + CALL_TIMEOUT_DEFAULT).await;
            Ok(())
        }
    }
}

/// Whether an end that the Runner brought about was meant.
fn ended(closed: &Closed) -> Result<(), String> {
    match closed.reason {
        CloseReason::Normal | CloseReason::Gone => Ok(()),
        _ => {
            warn!("{closed}");
            Err(format!("the connection to the runner ended: {closed}"))
        }
    }
}
