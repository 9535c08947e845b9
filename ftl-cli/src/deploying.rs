//! Brings built modules to a Controller: what is missing is uploaded, then one change starts all of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use ftl_client::Client;
use ftl_core::controller::{BoxStream, ChangeSpec, ChangeState, ChangeStatus, ModuleStatus, Wanted};
use ftl_core::digest::Digest;
use ftl_core::key::ChangeId;
use ftl_core::name::{ChangeRequest, PlatformName};
use ftl_core::{Code, Controller, ControllerError, Operator};
use futures_util::stream;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout_at};

use crate::compile::Built;
use crate::error::CliError;
use crate::exit::Exit;
use crate::manifest::Manifest;
use crate::output::Output;

/// Read at once when an artefact is uploaded.
const READ_BYTES: usize = 256 << 10;
/// How much longer than the change's own deadline its outcome is waited for: the Controller is to say it, not we.
const OUTCOME_MARGIN: Duration = Duration::from_secs(5);

/// Pause before a Controller that did not answer is asked again.
const INSIST_PAUSE: Duration = Duration::from_millis(200);

/// What a deploy did.
#[derive(Clone, Debug)]
pub(crate) struct Deployed {
    /// The change that made it so.
    pub(crate) change: ChangeId,
    /// Its modules at the end.
    pub(crate) modules: Vec<ModuleStatus>,
    /// Bytes that travelled.
    pub(crate) uploaded_bytes: u64,
    /// From the start of the change until each module was seen ready.
    pub(crate) ready_after: HashMap<String, Duration>,
}

/// Uploads, creates and starts; returns when all modules serve.
pub(crate) async fn deploy(
    client: &Client,
    built: &[Built],
    manifest: &Manifest,
    platform: &PlatformName,
    timeout: Duration,
    output: Output,
) -> Result<Deployed, CliError> {
    let uploaded_bytes = upload_missing(client, built).await?;
    let mut wanted = Vec::new();
    for module in built {
        let deployment = client.create_deployment(module.spec.clone()).await?;
        let table = manifest.module(module.name());
        let platform = table.platform.unwrap_or_else(|| platform.clone());
        wanted.push(Wanted { deployment, platform, replicas: table.replicas });
    }
    let start = Instant::now();
    let change = apply(client, wanted, timeout).await?;
    let mut deployed = Deployed { change, modules: Vec::new(), uploaded_bytes, ready_after: HashMap::new() };
    deployed.modules = wait(client, change, timeout, output, &mut |module| {
        deployed.ready_after.entry(module.module.to_string()).or_insert_with(|| start.elapsed());
    })
    .await?;
    Ok(deployed)
}

async fn upload_missing(client: &Client, built: &[Built]) -> Result<u64, CliError> {
    let files: HashMap<Digest, (PathBuf, u64)> = built
        .iter()
        .flat_map(|module| {
            let sizes =
                module.spec.artefacts.artefacts().iter().map(|artefact| (artefact.digest, artefact.size));
            sizes.filter_map(|(digest, size)| Some((digest, (module.files.get(&digest)?.clone(), size))))
        })
        .collect();
    let digests: Vec<Digest> = files.keys().copied().collect();
    let mut uploaded = 0;
    for digest in client.get_artefact_diffs(&digests).await? {
        let Some((path, size)) = files.get(&digest) else { continue };
        let file = tokio::fs::File::open(path).await.map_err(|error| {
            CliError::failed(format!("the artefact {} cannot be read", path.display())).because(error)
        })?;
        client.upload_artefact(digest, *size, chunks(file)).await?;
        uploaded += size;
    }
    Ok(uploaded)
}

fn chunks(file: tokio::fs::File) -> BoxStream<std::io::Result<bytes::Bytes>> {
    Box::pin(stream::try_unfold(file, |mut file| async move {
        let mut buffer = bytes::BytesMut::with_capacity(READ_BYTES);
        let read = file.read_buf(&mut buffer).await?;
        Ok((read > 0).then(|| (buffer.freeze(), file)))
    }))
}

/// Asks again while the Controller does not answer, as one that is started anew does not: nothing that is asked here does
/// anything twice.
async fn insist<T>(
    deadline: Instant,
    ask: impl AsyncFn() -> Result<T, ControllerError>,
) -> Result<T, ControllerError> {
    loop {
        match ask().await {
            Err(ControllerError::Failed(failure))
                if matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded)
                    && Instant::now() < deadline =>
            {
                sleep(INSIST_PAUSE).await;
            }
            answered => return answered,
        }
    }
}

/// Asks for the change until it is acknowledged: the request id makes repeating harmless.
async fn apply(client: &Client, wanted: Vec<Wanted>, timeout: Duration) -> Result<ChangeId, CliError> {
    let request: ChangeRequest = uuid::Uuid::now_v7()
        .to_string()
        .parse()
        .map_err(|error| CliError::failed("no request id could be made").because(error))?;
    let mut change = ChangeSpec::new(request, wanted);
    change.deadline = Some(timeout);
    Ok(insist(Instant::now() + timeout, async || client.apply(change.clone()).await).await?)
}

async fn wait(
    client: &Client,
    change: ChangeId,
    timeout: Duration,
    output: Output,
    ready: &mut impl FnMut(&ModuleStatus),
) -> Result<Vec<ModuleStatus>, CliError> {
    let deadline = Instant::now() + timeout + OUTCOME_MARGIN;
    let mut seen = 0;
    let mut told: HashMap<String, String> = HashMap::new();
    loop {
        let status =
            match timeout_at(deadline, insist(deadline, async || client.change_status(change, seen).await))
                .await
            {
                Ok(status) => status?,
                Err(_) => return Err(overdue(change, timeout)),
            };
        for module in &status.modules {
            if module.ready >= module.desired {
                ready(module);
            }
            if let Some(error) = &module.last_error
                && told.insert(module.module.to_string(), error.clone()).as_ref() != Some(error)
            {
                output.note(&format!("{}: {error}", module.module));
            }
        }
        match &status.state {
            ChangeState::Committed => return Ok(status.modules),
            ChangeState::Failed { reason } => return Err(failed(&status, reason, timeout)),
            _ => seen = status.seen,
        }
    }
}

fn failed(status: &ChangeStatus, reason: &str, timeout: Duration) -> CliError {
    let stuck = status.modules.iter().filter(|module| module.ready < module.desired);
    let stuck: Vec<String> = stuck
        .map(|module| match &module.last_error {
            Some(error) => format!("{}: {error}", module.module),
            None => {
                format!("{}: {} of {} replicas became ready", module.module, module.ready, module.desired)
            }
        })
        .collect();
    let exit = if reason == "deadline" { Exit::Timeout } else { Exit::Failed };
    let reason =
        if reason == "deadline" { format!("not ready within {timeout:?}") } else { reason.to_owned() };
    CliError::new(exit, "change_failed", format!("the deployment failed: {reason}"))
        .because(stuck.join("\n"))
        .hint("what served before serves on; `ftl logs` shows what the modules wrote")
}

fn overdue(change: ChangeId, timeout: Duration) -> CliError {
    CliError::new(Exit::Timeout, "timeout", format!("change {change} had no outcome within {timeout:?}"))
        .hint("the Controller goes on with it; `ftl ps` shows how far it is")
}
