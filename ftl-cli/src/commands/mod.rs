//! One file for each command.

mod build;
mod call;
mod deploy;
mod dev;
mod logs;
mod ps;
mod runner;
mod schema;
mod serve;

use std::future::Future;

use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::app::{App, Command};
use crate::error::CliError;
use crate::exit::Exit;
use crate::logging;
use crate::output::Output;

/// Runs a command to its end.
pub(crate) fn run(app: App, output: Output) -> Result<Exit, CliError> {
    let level = if matches!(app.command, Command::Runner | Command::Serve(_)) {
        LevelFilter::INFO
    } else {
        LevelFilter::WARN
    };
    logging::start(level)?;
    let endpoint = app.endpoint;
    match app.command {
        Command::Dev(args) => block_on(dev::run(args, output))?,
        Command::Serve(args) => block_on(serve::run(args, output))?,
        Command::Build(args) => block_on(build::run(&args, output))?,
        Command::Deploy(args) => block_on(deploy::run(args, endpoint.client()?, output))?,
        Command::Call(args) => block_on(call::run(args, endpoint.client()?, output))?,
        Command::Ps => block_on(ps::run(endpoint.client()?, output))?,
        Command::Logs(args) => block_on(logs::run(args, endpoint.client()?, output))?,
        Command::Schema(args) => block_on(schema::run(args, endpoint.client()?, output))?,
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            output.result(
                &format!("ftl {version}"),
                &json!({"version": version, "target": env!("FTL_TARGET")}),
            );
            Ok(Exit::Ok)
        }
        Command::Runner => runner::run(),
    }
}

/// Runs a command that waits, and ends it when somebody presses ^C.
fn block_on<T>(command: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::failed("no runtime could be started").because(error))?;
    Ok(runtime.block_on(command))
}

/// Resolves when this process is asked to end.
pub(crate) async fn asked_to_end() -> Exit {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => Exit::Ok,
        _ = interrupt.recv() => Exit::Interrupted,
    }
}
