//! `ftl dev`: build a project, run it here, serve it until ^C. Leaves nothing behind.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ftl_client::Client;
use ftl_controller::ADMIN_PORT;
use ftl_core::Operator;
use ftl_core::controller::ModuleStatus;
use ftl_core::key::DeploymentId;
use ftl_core::name::ModuleName;
use serde_json::json;

use crate::app::DevArgs;
use crate::commands::Requests;
use crate::compile::{self, Built};
use crate::deploying::{Deployed, deploy};
use crate::endpoint::{DevFile, FOLDER, is_running, is_served};
use crate::error::CliError;
use crate::exit::Exit;
use crate::invoke::{Invocation, example};
use crate::manifest::Manifest;
use crate::output::{Format, Output, table};
use crate::serving::{Instances, Listen, Serving};
use crate::workspace::Project;

/// How often a running `dev` looks whether somebody deployed something else.
const LOOK: Duration = Duration::from_millis(500);
/// How long a call of `--call` may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);

pub(super) async fn run(args: DevArgs, output: Output) -> Result<Exit, CliError> {
    let calls = args.call.iter().map(|call| Invocation::parse(call)).collect::<Result<Vec<_>, _>>()?;
    let project = Project::find(&args.path)?;
    let manifest = Manifest::read(&project.root)?;
    let mut requests = Requests::watch()?;
    let folder = DevFolder::make(&project.root)?;
    let admin = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), ADMIN_PORT);
    let listen = Listen { cluster: args.cluster.clone(), admin, or_free: true, ingress: None };
    let mut serving = Serving::start(&folder.data, listen, Instances::Tied).await?;
    let dev = Dev { project, manifest, args, output, url: serving.url(), client: serving.client()? };
    let token = serving.handle.token_path().to_owned();
    let outcome = tokio::select! {
        // First, so that a request that came early builds nothing.
        biased;
        exit = requests.asked_to_end() => Ok(exit),
        error = serving.ended() => return Err(error),
        outcome = dev.live(&folder, &token, &calls) => outcome,
    };
    let stopped = serving.stop().await;
    drop(folder);
    let exit = outcome?;
    stopped.map(|_| exit)
}

/// One run of `ftl dev`.
struct Dev {
    project: Project,
    manifest: Manifest,
    args: DevArgs,
    output: Output,
    url: String,
    client: Client,
}

impl Dev {
    async fn live(&self, folder: &DevFolder, token: &Path, calls: &[Invocation]) -> Result<Exit, CliError> {
        let start = Instant::now();
        let (version, name) = (env!("CARGO_PKG_VERSION"), &self.project.name);
        self.output.note(&format!("ftl {version} · controller {} · project {name}", self.url));
        let built = compile::build(&self.project, &self.manifest, &self.args.how).await?;
        let (platform, timeout) = (&self.args.platform, self.args.timeout);
        let deployed = deploy(&self.client, &built, &self.manifest, platform, timeout, self.output).await?;
        self.output.note(&summary(&built, &deployed));
        folder.announce(&self.url, token)?;
        if calls.is_empty() {
            self.announce(&built, token, start.elapsed())?;
            self.watch(&deployed.modules, || folder.announce(&self.url, token)).await
        } else {
            for call in calls {
                self.output.data(&call.send(&self.client, CALL_TIMEOUT).await?)?;
            }
            Ok(Exit::Ok)
        }
    }

    fn announce(&self, built: &[Built], token: &Path, took: Duration) -> Result<(), CliError> {
        let modules: Vec<_> = built.iter().map(|module| module.spec.schema.clone()).collect();
        if self.output.format == Format::Json {
            let modules: Vec<_> = built.iter().map(Built::to_json).collect();
            self.output.data(&json!({
                "event": "ready",
                "controller": self.url,
                "token_file": token,
                "modules": modules,
            }))?;
        }
        let took = format!("ready in {:.1} s", took.as_secs_f64());
        let hint =
            example(&modules).map(|call| format!(" — in another terminal: {} call {call}       ", myself()));
        self.output.note(&format!("{took}{} (^C stops everything)", hint.unwrap_or_default()));
        Ok(())
    }

    /// Says what somebody else deployed, until the end; and that it is there, when another `dev` was first and has ended.
    async fn watch(
        &self,
        modules: &[ModuleStatus],
        announce: impl Fn() -> Result<(), CliError>,
    ) -> Result<Exit, CliError> {
        let mut known: HashMap<ModuleName, (DeploymentId, u32)> = modules.iter().map(entry).collect();
        loop {
            tokio::time::sleep(LOOK).await;
            announce()?;
            let Ok(modules) = self.client.status().await else { continue };
            for module in modules.iter().filter(|module| module.ready >= module.desired) {
                let (name, now) = entry(module);
                let before = known.insert(name, now.clone());
                if before.as_ref().is_none_or(|before| before.0 != now.0) {
                    self.tell(module, "deployed")?;
                } else if before.as_ref().is_some_and(|before| before.1 != now.1) {
                    self.tell(module, "restarted")?;
                }
            }
        }
    }

    fn tell(&self, module: &ModuleStatus, what: &str) -> Result<(), CliError> {
        let error = module.last_error.as_deref().filter(|_| what == "restarted");
        let error = error.map(|error| format!(" after: {error}")).unwrap_or_default();
        match self.output.format {
            Format::Text => {
                let (name, ready, desired) = (&module.module, module.ready, module.desired);
                let deployment = module.deployment.short();
                self.output.note(&format!("{name}   {what}   {ready}/{desired} ready   {deployment}{error}"));
                Ok(())
            }
            Format::Json => self.output.data(&json!({"event": what, "module": module})),
        }
    }
}

fn entry(module: &ModuleStatus) -> (ModuleName, (DeploymentId, u32)) {
    (module.module.clone(), (module.deployment.clone(), module.restarts))
}

fn summary(built: &[Built], deployed: &Deployed) -> String {
    let rows = built.iter().map(|module| {
        let name = module.name().to_string();
        let status = deployed.modules.iter().find(|status| status.module == *module.name());
        let ready = deployed.ready_after.get(&name).map_or(0, Duration::as_millis);
        let desired = status.map_or(0, |status| status.desired);
        let replicas = if desired == 1 { "1 replica".to_owned() } else { format!("{desired} replicas") };
        let took = format!("built {:.1} s", module.took.as_secs_f64());
        vec![name, took, format!("ready {ready} ms"), replicas, module.spec.id().short()]
    });
    table(&rows.collect::<Vec<_>>())
}

/// How this program was called, so that the hint can be pasted.
fn myself() -> &'static str {
    if std::env::var_os("CARGO").is_some() { "cargo run -q --bin ftl --" } else { "ftl" }
}

/// The directory of one `dev`, removed with it. What a killed one left is removed by the next.
#[derive(Debug)]
struct DevFolder {
    root: PathBuf,
    data: PathBuf,
}

impl DevFolder {
    fn make(root: &Path) -> Result<Self, CliError> {
        let folder = root.join(FOLDER);
        let cannot =
            |error| CliError::failed(format!("{} cannot be written", folder.display())).because(error);
        fs::create_dir_all(&folder).map_err(cannot)?;
        // Everything in it is ours and none of it belongs into anybody's repository.
        fs::write(folder.join(".gitignore"), "*\n").map_err(cannot)?;
        remove_left_over(&folder);
        let data = folder.join(format!("dev-{}", std::process::id()));
        fs::create_dir_all(&data).map_err(cannot)?;
        Ok(Self { root: root.to_owned(), data })
    }

    /// Lets other commands find this `dev`, unless another one of this workspace was first.
    fn announce(&self, url: &str, token: &Path) -> Result<(), CliError> {
        if DevFile::live(&self.root).is_some() {
            return Ok(());
        }
        let file = DevFile { url: url.to_owned(), pid: std::process::id(), token_file: token.to_owned() };
        let path = DevFile::path(&self.root);
        let cannot = |error| CliError::failed(format!("{} cannot be written", path.display())).because(error);
        let part = self.data.join("dev.json");
        fs::write(&part, json!(file).to_string()).map_err(cannot)?;
        fs::rename(&part, &path).map_err(cannot)
    }
}

/// Whether this is the data directory of a `dev`.
pub(super) fn is_of_dev(data: &Path) -> bool {
    let name = data.file_name().and_then(|name| name.to_str());
    let parent = data.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    parent == Some(FOLDER) && name.is_some_and(|name| name.starts_with("dev-"))
}

impl Drop for DevFolder {
    fn drop(&mut self) {
        // Its lock is released already, so it is not asked whether it lives, only whose it is.
        if DevFile::read(&self.root).is_some_and(|file| file.pid == std::process::id()) {
            let _ = fs::remove_file(DevFile::path(&self.root));
        }
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// Removes the directories of `dev`s that were killed. One that is starting has no lock yet, and a process may have its
/// number in another container; so both are asked.
fn remove_left_over(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_prefix("dev-")).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !is_running(pid)) && !is_served(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let file = folder.join("dev.json");
    if let Some(root) = folder.parent()
        && file.exists()
        && DevFile::live(root).is_none()
    {
        let _ = fs::remove_file(file);
    }
}
