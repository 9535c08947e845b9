//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use ftl_core::name::{ClusterId, ModuleName, PlatformName, TargetTriple, VerbRef};

use crate::endpoint::EndpointArgs;
use crate::error::CliError;
use crate::output::Format;

/// Typed functions become running, routed, observable services.
#[derive(Debug, Parser)]
#[command(name = "ftl", version, disable_help_subcommand = true)]
pub(crate) struct App {
    /// How to answer
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) endpoint: EndpointArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build a project, run it on this machine and serve it until ^C
    Dev(DevArgs),
    /// Run a Controller until ^C; what it started goes on, and the next one adopts it
    Serve(ServeArgs),
    /// End everything that a Controller left running, and remove what it shared; what was deployed stays known
    Down(DownArgs),
    /// Build the modules of a project and print what would be deployed
    Build(BuildArgs),
    /// Build the modules of a project and deploy them to a Controller
    Deploy(DeployArgs),
    /// Call a verb: request in JSON5, reply in JSON
    Call(CallArgs),
    /// Show what is meant to run and what does
    Ps,
    /// Show what modules wrote
    Logs(LogsArgs),
    /// Schemas of the modules that serve
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// The platforms that modules can run on
    #[command(subcommand)]
    Platform(PlatformCommand),
    /// Print the version
    Version,
    /// Run as a Runner; platforms start this
    #[command(hide = true)]
    Runner,
    /// Watch over a Runner that outlives its Controller; the local platform starts this
    #[command(hide = true)]
    Shim {
        /// The instance's directory
        directory: PathBuf,
    },
    /// Run as the probe of `platform verify`; platforms start this
    #[command(hide = true)]
    Probe,
    /// Run as a Controller that is killed; `platform verify` starts this
    #[command(hide = true)]
    Host {
        /// The platform's name
        platform: String,
        /// The folder that is being checked
        folder: PathBuf,
    },
}

/// How modules are built.
#[derive(Debug, clap::Args)]
pub(crate) struct HowArgs {
    /// Build with optimisations
    #[arg(long)]
    pub(crate) release: bool,
    /// Build for this target; this machine's own unless given
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Option<TargetTriple>,
    /// Link everything into the program, so that it needs no libraries
    #[arg(long = "static")]
    pub(crate) statically: bool,
}

impl HowArgs {
    /// What is built for.
    pub(crate) fn target(&self) -> Result<TargetTriple, CliError> {
        self.target.clone().map_or_else(crate::compile::target, Ok)
    }
}

/// `ftl dev`
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// The project: a cargo workspace, or a folder in one
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Call this when everything is ready, print the reply and stop; may be given several times
    #[arg(long, value_name = "'MODULE.VERB REQUEST'")]
    pub(crate) call: Vec<String>,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Where modules run that `ftl.toml` does not place
    #[arg(long, default_value = "local")]
    pub(crate) platform: PlatformName,
    /// What the cluster is called from its first start on; a random name otherwise
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterId>,
    /// How long the modules may take to become ready
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "120")]
    pub(crate) timeout: Duration,
}

/// `ftl serve`
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Where the Controller keeps its state
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// What the cluster is called from its first start on; a random name otherwise
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterId>,
    /// Where it answers the CLI; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8892")]
    pub(crate) listen: std::net::SocketAddr,
    /// Where it answers outsiders' calls of public verbs; off unless given, loopback only
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ingress: Option<std::net::SocketAddr>,
}

/// `ftl down`
#[derive(Debug, clap::Args)]
pub(crate) struct DownArgs {
    /// Where the Controller kept its state
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
}

/// `ftl build`
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The project: a cargo workspace, or a folder in one
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}

/// `ftl deploy`
#[derive(Debug, clap::Args)]
pub(crate) struct DeployArgs {
    /// The project: a cargo workspace, or a folder in one
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Where modules run that `ftl.toml` does not place
    #[arg(long, default_value = "local")]
    pub(crate) platform: PlatformName,
    /// How long the modules may take to become ready
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "300")]
    pub(crate) timeout: Duration,
}

/// `ftl call`
#[derive(Debug, clap::Args)]
pub(crate) struct CallArgs {
    /// What to call, as greeter.hello
    #[arg(value_name = "MODULE.VERB")]
    pub(crate) verb: VerbRef,
    /// The request in JSON5; nothing for a verb that takes nothing
    #[arg(default_value = "null")]
    pub(crate) request: String,
    /// How long it may take
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "25")]
    pub(crate) timeout: Duration,
}

/// `ftl logs`
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// Of this module only
    pub(crate) module: Option<ModuleName>,
    /// At most so many of the newest lines
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u32>,
    /// Go on with what comes
    #[arg(long, short)]
    pub(crate) follow: bool,
}

/// `ftl schema`
#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// Print the schema of a module, or of all
    Get {
        /// Of this module only
        module: Option<ModuleName>,
    },
}

/// `ftl platform`
#[derive(Debug, Subcommand)]
pub(crate) enum PlatformCommand {
    /// Show the platforms of a Controller of this machine, what they can do and how they are
    List,
    /// Check that a platform keeps the promises that it makes, and refuses what it does not promise
    #[command(
        after_help = "Exit codes: 0 all is proven · 1 a promise is broken · 3 something could not be proven"
    )]
    Verify(VerifyArgs),
    /// List what clusters left on a platform, and images that nothing uses; remove it with --yes
    Sweep(SweepArgs),
}

/// `ftl platform sweep`
#[derive(Debug, clap::Args)]
pub(crate) struct SweepArgs {
    /// Which platform: docker
    pub(crate) name: PlatformName,
    /// Only this cluster, dead or not
    #[arg(long)]
    pub(crate) cluster: Option<ClusterId>,
    /// Remove it
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `ftl platform verify`
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The platform to check
    pub(crate) name: String,
    /// Only this group or check; may be given several times
    #[arg(long, value_name = "GROUP[::CHECK]")]
    pub(crate) only: Vec<String>,
    /// Show the checks instead of running them
    #[arg(long)]
    pub(crate) list: bool,
    /// Names what the checks make; by default another one each time
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Accept that this check cannot be proven here; may be given several times
    #[arg(long, value_name = "CHECK")]
    pub(crate) allow_unproven: Vec<String>,
}

/// A positive number of seconds, fractions allowed.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && duration <= ftl_core::call::CALL_TIMEOUT_MAX => Ok(duration),
        _ => Err("write a number of seconds above 0 and at most 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        App::command().debug_assert();
    }

    #[test]
    fn seconds_are_positive_and_bounded() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for refused in ["0", "-1", "x", "3601", "NaN"] {
            assert!(seconds(refused).is_err(), "{refused}");
        }
    }
}
