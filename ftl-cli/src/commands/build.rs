//! `ftl build`: what would be deployed.

use serde_json::{Value, json};

use crate::app::BuildArgs;
use crate::commands::unless_interrupted;
use crate::compile::{self, Built};
use crate::error::CliError;
use crate::exit::Exit;
use crate::manifest::Manifest;
use crate::output::{Output, table};
use crate::workspace::Project;

pub(super) async fn run(args: &BuildArgs, output: Output) -> Result<Exit, CliError> {
    let project = Project::find(&args.path)?;
    let manifest = Manifest::read(&project.root)?;
    let building = compile::build(&project, &manifest, &args.how);
    let built = unless_interrupted(building, "nothing was built to its end").await?;
    let rows: Vec<Vec<String>> = built.iter().map(row).collect();
    let modules: Vec<Value> = built.iter().map(Built::to_json).collect();
    output.result(&table(&rows), &json!({ "modules": modules }))?;
    Ok(Exit::Ok)
}

fn row(built: &Built) -> Vec<String> {
    let bytes: u64 = built.spec.artefacts.artefacts().iter().map(|artefact| artefact.size).sum();
    let size = format!("{:.1} MB", bytes as f64 / 1e6);
    let took = format!("built {:.1} s", built.took.as_secs_f64());
    vec![built.name().to_string(), took, size, built.spec.id().short()]
}
