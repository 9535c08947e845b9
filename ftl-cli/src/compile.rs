//! Builds modules: one cargo run for all of them, and each module's schema from its own binary.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cargo_metadata::Message;
use ftl_core::DeploymentSpec;
use ftl_core::artefact::{Artefact, Manifest, Mode};
use ftl_core::digest::{Digest, Hasher};
use ftl_core::name::{ModuleName, TargetTriple};
use ftl_core::schema::Module;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::CliError;
use crate::workspace::{ModulePackage, Project};

/// The language of everything that is built here.
const LANGUAGE: &str = "rust";
/// How long a binary may take to print its schema: it does nothing else.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(30);
/// Read at once when a file is digested.
const READ_BYTES: usize = 1 << 20;

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

/// Builds all modules of a project.
pub(crate) async fn build(project: &Project, release: bool) -> Result<Vec<Built>, CliError> {
    let binaries = cargo_build(project, release).await?;
    let mut built = Vec::new();
    for module in &project.modules {
        let (path, took) = binaries.get(&module.binary).ok_or_else(|| {
            CliError::failed(format!(
                "cargo built no binary `{}` for the package `{}`",
                module.binary, module.package
            ))
        })?;
        built.push(describe(module, path, *took).await?);
    }
    Ok(built)
}

/// Runs cargo once; its own messages go to standard error as they are.
async fn cargo_build(
    project: &Project,
    release: bool,
) -> Result<HashMap<String, (PathBuf, Duration)>, CliError> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&project.root).args(["build", "--quiet", "--message-format=json-render-diagnostics"]);
    if release {
        command.arg("--release");
    }
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

async fn describe(module: &ModulePackage, path: &Path, took: Duration) -> Result<Built, CliError> {
    let schema = schema_of(path).await?;
    if schema.name != module.name {
        let (found, wanted) = (&schema.name, &module.name);
        return Err(CliError::failed(format!(
            "the binary of the package `{}` serves the module `{found}`, not `{wanted}`",
            module.package
        ))
        .hint(format!("serve `{wanted}::MODULE` in its main.rs")));
    }
    let cannot =
        |error| CliError::failed(format!("the binary {} cannot be read", path.display())).because(error);
    let (digest, size) = digest_file(path).map_err(cannot)?;
    let invalid = |error: &dyn std::fmt::Display| {
        CliError::failed(format!("`{}` cannot be deployed: {error}", module.name))
    };
    let path_in_deployment = format!("bin/{}", module.name).parse().map_err(|error| invalid(&error))?;
    let artefact = Artefact { path: path_in_deployment, digest, size, mode: Mode::Executable };
    let artefacts = Manifest::new(vec![artefact]).map_err(|error| invalid(&error))?;
    let language = LANGUAGE.parse().map_err(|error| invalid(&error))?;
    let spec = DeploymentSpec::new(schema, language, target()?, artefacts);
    Ok(Built { spec, files: HashMap::from([(digest, path.to_owned())]), took })
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

/// What a file holds. A link is refused: what it names could be exchanged after it was looked at.
fn digest_file(path: &Path) -> std::io::Result<(Digest, u64)> {
    use std::io::Read;
    if std::fs::symlink_metadata(path)?.is_symlink() {
        return Err(std::io::Error::other("it is a symbolic link; an artefact must be a file"));
    }
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut size) = (Hasher::default(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher.finish(), size)),
            read => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_digested_and_a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "content").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(digest_file(&file).unwrap(), (Digest::of(b"content"), 7));
        assert!(digest_file(&link).unwrap_err().to_string().contains("symbolic link"));
    }
}
