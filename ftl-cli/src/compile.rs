//! Builds modules: one cargo run for all of them, and each module's schema from its own binary.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cargo_metadata::Message;
use ftl_core::DeploymentSpec;
use ftl_core::digest::Digest;
use ftl_core::name::{ModuleName, TargetTriple};
use ftl_core::schema::Module;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::app::HowArgs;
use crate::artefacts::Gatherer;
use crate::error::CliError;
use crate::manifest::Manifest;
use crate::workspace::{ModulePackage, Project};

/// The language of everything that is built here.
const LANGUAGE: &str = "rust";
/// How long a binary may take to print its schema: it does nothing else.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(30);

/// A module that was built.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// What to deploy.
    pub(crate) spec: DeploymentSpec,
    /// Where the bytes of each artefact are.
    pub(crate) files: HashMap<Digest, PathBuf>,
    /// From cargo's start until this binary was there.
    pub(crate) took: Duration,
}

impl Built {
    pub(crate) fn name(&self) -> &ModuleName {
        &self.spec.schema.name
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "module": self.name(),
            "deployment": self.spec.id(),
            "schema": self.spec.schema.hash(),
            "artefacts": self.spec.artefacts,
            "took_ms": self.took.as_millis() as u64,
        })
    }
}

/// Builds all modules of a project, with what its manifest says of them.
pub(crate) async fn build(
    project: &Project,
    manifest: &Manifest,
    how: &HowArgs,
) -> Result<Vec<Built>, CliError> {
    let binaries = cargo_build(project, how).await?;
    let mut gatherer = Gatherer::default();
    let mut built = Vec::new();
    for module in &project.modules {
        let (path, took) = binaries.get(&module.binary).ok_or_else(|| {
            CliError::failed(format!(
                "cargo built no binary `{}` for the package `{}`",
                module.binary, module.package
            ))
        })?;
        let mut spec = describe(module, path, how, &mut gatherer).await?;
        spec.needs = manifest.module(&module.name).needs();
        built.push(Built { files: gatherer.files(&spec.artefacts), spec, took: *took });
    }
    Ok(built)
}

/// Runs cargo once; its own messages go to standard error as they are.
async fn cargo_build(
    project: &Project,
    how: &HowArgs,
) -> Result<HashMap<String, (PathBuf, Duration)>, CliError> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&project.root).args(["build", "--quiet", "--message-format=json-render-diagnostics"]);
    command.args(arguments(how)?);
    for module in &project.modules {
        command.args(["--package", &module.package, "--bin", &module.binary]);
    }
    let start = Instant::now();
    let cannot = |error| {
        CliError::failed("cargo cannot be run").because(error).hint("install Rust: ftl builds with cargo")
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut cargo = Cargo::start(command).map_err(cannot)?;
    let mut binaries = HashMap::new();
    if let Some(stdout) = cargo.child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.map_err(cannot)? {
            if let Ok(Message::CompilerArtifact(artefact)) = serde_json::from_str(&line)
                && let Some(path) = artefact.executable
            {
                binaries.insert(artefact.target.name, (path.into_std_path_buf(), start.elapsed()));
            }
        }
    }
    let status = cargo.child.wait().await.map_err(cannot)?;
    if status.success() {
        Ok(binaries)
    } else {
        Err(CliError::failed("the modules do not compile")
            .hint("cargo's messages above say where; nothing was deployed"))
    }
}

/// A running cargo. Dropping it ends it, and the compilers that it started.
struct Cargo {
    child: Child,
    /// Of cargo alone. None at a terminal: there ^C reaches all of them, and a group of its own could ask for no password.
    group: Option<Pid>,
}

impl Cargo {
    fn start(mut command: Command) -> std::io::Result<Self> {
        let alone = !std::io::stdin().is_terminal();
        if alone {
            command.process_group(0);
        }
        let child = command.spawn()?;
        let group = child.id().filter(|_| alone).and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(Self { child, group })
    }
}

impl Drop for Cargo {
    fn drop(&mut self) {
        // Only while cargo is not reaped: afterwards the number may belong to somebody else.
        if let (Some(_), Some(group)) = (self.child.id(), self.group) {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}

/// How cargo is told what to build for.
fn arguments(how: &HowArgs) -> Result<Vec<String>, CliError> {
    let mut arguments = Vec::new();
    if how.release {
        arguments.push("--release".to_owned());
    }
    if how.target.is_some() || how.statically {
        // Also for this machine's own triple: without it the flags would reach macros, which cannot be static.
        arguments.extend(["--target".to_owned(), how.target()?.to_string()]);
    }
    if how.statically {
        let flags = r#"["-C","target-feature=+crt-static"]"#;
        arguments.extend(["--config".to_owned(), format!("target.{}.rustflags={flags}", how.target()?)]);
    }
    Ok(arguments)
}

async fn describe(
    module: &ModulePackage,
    path: &Path,
    how: &HowArgs,
    gatherer: &mut Gatherer,
) -> Result<DeploymentSpec, CliError> {
    let schema = schema_of(path).await?;
    if schema.name != module.name {
        let (found, wanted) = (&schema.name, &module.name);
        return Err(CliError::failed(format!(
            "the binary of the package `{}` serves the module `{found}`, not `{wanted}`",
            module.package
        ))
        .hint(format!("serve `{wanted}::MODULE` in its main.rs")));
    }
    let artefacts = gatherer.gather(&module.name, path)?;
    let language =
        LANGUAGE.parse().map_err(|error| CliError::failed("the language has no name").because(error))?;
    Ok(DeploymentSpec::new(schema, language, how.target()?, artefacts))
}

/// The triple that this binary, and so everything that runs beside it, is built for.
pub(crate) fn target() -> Result<TargetTriple, CliError> {
    env!("FTL_TARGET").parse().map_err(|error| CliError::failed("this binary has no target").because(error))
}

/// Asks a binary for its schema: it comes out of the same compile as the code.
async fn schema_of(path: &Path) -> Result<Module, CliError> {
    let mut command = Command::new(path);
    command.arg("--schema").stdin(Stdio::null()).kill_on_drop(true);
    let Ok(printed) = timeout(SCHEMA_TIMEOUT, command.output()).await else {
        let message = format!("{} did not print its schema within {SCHEMA_TIMEOUT:?}", path.display());
        return Err(
            CliError::failed(message).hint("`fn main` of a module must be nothing but `ftl::serve(…)`")
        );
    };
    let printed = printed
        .map_err(|error| CliError::failed(format!("{} cannot be started", path.display())).because(error))?;
    serde_json::from_slice(&printed.stdout).map_err(|error| {
        let errors = String::from_utf8_lossy(&printed.stderr);
        let said = errors.lines().last().map(|line| format!(" (it said: {line})")).unwrap_or_default();
        CliError::failed(format!("{} printed no schema{said}", path.display()))
            .because(error)
            .hint("`fn main` of a module must be `ftl::serve(…::MODULE)`")
    })
}
