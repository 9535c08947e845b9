//! `ftl deploy`: build, upload what is missing, start, wait until it serves.

use ftl_client::Client;
use ftl_core::controller::ModuleStatus;
use serde_json::json;

use crate::app::DeployArgs;
use crate::commands::unless_interrupted;
use crate::compile;
use crate::deploying::{Deployed, deploy};
use crate::error::CliError;
use crate::exit::Exit;
use crate::manifest::Manifest;
use crate::output::{Output, table};
use crate::workspace::Project;

/// What an interrupted deploy leaves.
const REMAINS: &str = "what was asked for goes on, and what served serves on until all of it is ready: `ftl ps` shows how far it is";

pub(super) async fn run(args: DeployArgs, client: Client, output: Output) -> Result<Exit, CliError> {
    let project = Project::find(&args.path)?;
    let manifest = Manifest::read(&project.root)?;
    let building = compile::build(&project, &manifest, &args.how);
    let built = unless_interrupted(building, "nothing was deployed").await?;
    let deploying = deploy(&client, &built, &manifest, &args.platform, args.timeout, output);
    let deployed = unless_interrupted(deploying, REMAINS).await?;
    output.result(
        &text(&deployed),
        &json!({
            "change": deployed.change,
            "uploaded_bytes": deployed.uploaded_bytes,
            "modules": deployed.modules,
        }),
    )?;
    Ok(Exit::Ok)
}

fn text(deployed: &Deployed) -> String {
    let rows: Vec<Vec<String>> = deployed.modules.iter().map(row).collect();
    format!("{}\n{} bytes uploaded", table(&rows), deployed.uploaded_bytes)
}

fn row(module: &ModuleStatus) -> Vec<String> {
    let ready = format!("{}/{} ready", module.ready, module.desired);
    vec![module.module.to_string(), ready, module.deployment.short()]
}
