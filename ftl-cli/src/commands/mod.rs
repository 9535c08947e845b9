//! One file for each command.

mod build;
mod call;
mod deploy;
mod dev;
mod down;
mod logs;
mod platform;
mod ps;
mod runner;
mod schema;
mod serve;
mod shim;
mod sweep;

use std::future::Future;

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;

use crate::app::{App, Command, PlatformCommand};
use crate::error::CliError;
use crate::exit::Exit;
use crate::logging::{self, Missing};
use crate::output::Output;

/// Runs a command to its end.
pub(crate) fn run(app: App, output: Output) -> Result<Exit, CliError> {
    let level = if matches!(app.command, Command::Runner | Command::Serve(_)) {
        LevelFilter::INFO
    } else {
        LevelFilter::WARN
    };
    let missing = if matches!(app.command, Command::Runner) { Missing::Said } else { Missing::Refused };
    logging::start(level, missing)?;
    let endpoint = app.endpoint;
    match app.command {
        Command::Dev(args) => block_on(dev::run(args, output))?,
        Command::Serve(args) => block_on(serve::run(args, output))?,
        Command::Down(args) => block_on(down::run(args, output))?,
        Command::Build(args) => block_on(build::run(&args, output))?,
        Command::Deploy(args) => block_on(deploy::run(args, endpoint.client()?, output))?,
        Command::Call(args) => block_on(call::run(args, endpoint.client()?, output))?,
        Command::Ps => block_on(ps::run(endpoint.client()?, output))?,
        Command::Logs(args) => block_on(logs::run(args, endpoint.client()?, output))?,
        Command::Schema(args) => block_on(schema::run(args, endpoint.client()?, output))?,
        Command::Platform(PlatformCommand::List) => block_on(platform::list(output))?,
        Command::Platform(PlatformCommand::Verify(args)) => block_on(platform::verify(args, output))?,
        Command::Platform(PlatformCommand::Sweep(args)) => block_on(sweep::run(args, output))?,
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            output.result(
                &format!("ftl {version}"),
                &json!({"version": version, "target": env!("FTL_TARGET")}),
            )?;
            Ok(Exit::Ok)
        }
        Command::Runner => runner::run(),
        Command::Shim { directory } => shim::run(&directory),
        Command::Host { platform, folder } => block_on(platform::host(&platform, &folder))?,
        // It has been run before anything else.
        Command::Probe => Ok(Exit::Ok),
    }
}

/// Runs a command that waits.
fn block_on<T>(command: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::failed("no runtime could be started").because(error))?;
    Ok(runtime.block_on(command))
}

/// Requests to end. From its making on, none ends the process by itself.
struct Requests {
    term: Signal,
    interrupt: Signal,
}

impl Requests {
    fn watch() -> Result<Self, CliError> {
        let watch =
            |kind| signal(kind).map_err(|error| CliError::failed("signals cannot be watched").because(error));
        Ok(Self { term: watch(SignalKind::terminate())?, interrupt: watch(SignalKind::interrupt())? })
    }

    /// Resolves when this process is asked to end.
    async fn asked_to_end(&mut self) -> Exit {
        tokio::select! {
            _ = self.term.recv() => Exit::Ok,
            _ = self.interrupt.recv() => Exit::Interrupted,
        }
    }
}

/// Does it, unless somebody asks the process to end before; then `remains` says what there is to know.
async fn unless_interrupted<T>(
    work: impl Future<Output = Result<T, CliError>>,
    remains: &str,
) -> Result<T, CliError> {
    let mut requests = Requests::watch()?;
    tokio::select! {
        done = work => done,
        _ = requests.asked_to_end() => Err(CliError::interrupted(remains)),
    }
}
