//! `ftl platform sweep docker`: what dead clusters left on the engine, and the runner's images that nothing uses.

use std::path::Path;

use ftl_core::platform::{PlatformError, Released};
use ftl_platform_docker::{Docker, Leftover};
use serde_json::{Value, json};

use crate::app::SweepArgs;
use crate::commands::dev::is_of_dev;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;
use crate::serving;

pub(super) async fn run(args: SweepArgs, output: Output) -> Result<Exit, CliError> {
    if args.name.as_str() != serving::DOCKER {
        let message = format!("nothing is swept on `{}`", args.name);
        return Err(CliError::usage(message).hint("`ftl platform sweep docker` sweeps the Docker Engine"));
    }
    let docker = serving::docker()?;
    let found = docker.leftovers().await.map_err(engine)?;
    let wanted = |leftover: &&Leftover| match &args.cluster {
        Some(cluster) => leftover.cluster == *cluster,
        None => life(leftover.owner.as_deref(), &serving::host_name(), can_return) == Life::Dead,
    };
    let swept: Vec<&Leftover> = found.iter().filter(wanted).collect();
    let kept = found.len() - swept.len();
    let outcome = if args.yes {
        remove(&docker, &swept).await?
    } else {
        Outcome { images: docker.unused_images().await.map_err(engine)?, ..Outcome::default() }
    };
    let clusters: Vec<Value> = swept.iter().map(|leftover| json_of(leftover)).collect();
    output.result(
        &text(&swept, &outcome, args.yes),
        &json!({
            "clusters": clusters,
            "images": outcome.images,
            "removed": outcome.removed,
            "left": outcome.left,
            "done": args.yes,
        }),
    )?;
    if kept > 0 && args.cluster.is_none() {
        output.note(&format!(
            "{kept} clusters are left alone: their Controllers live or can be started again, or are not of this machine (`--cluster NAME` sweeps one)"
        ));
    }
    Ok(if outcome.left.is_empty() { Exit::Ok } else { Exit::Failed })
}

/// What was done.
#[derive(Debug, Default)]
struct Outcome {
    images: Vec<String>,
    removed: Vec<String>,
    left: Vec<String>,
}

async fn remove(docker: &Docker, leftovers: &[&Leftover]) -> Result<Outcome, CliError> {
    let mut outcome = Outcome::default();
    for leftover in leftovers {
        let Released { removed, left, .. } = docker.sweep(&leftover.cluster).await.map_err(engine)?;
        outcome.removed.extend(removed);
        outcome.left.extend(left);
    }
    // Last: what was removed before used them.
    outcome.images = docker.remove_unused_images().await.map_err(engine)?;
    Ok(outcome)
}

/// Whether the Controller of a cluster lives or may come back, by what its network says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive,
    Dead,
    /// It is of another machine, or nothing says whose it is.
    Unknown,
}

fn life(owner: Option<&str>, host: &str, can_return: impl Fn(&Path) -> bool) -> Life {
    match owner.and_then(|owner| owner.split_once(':')) {
        Some((of, data)) if of == host && can_return(Path::new(data)) => Life::Alive,
        Some((of, _)) if of == host => Life::Dead,
        _ => Life::Unknown,
    }
}

/// Whether a Controller works over this data directory, or can be started again over it and adopt what runs. That of a
/// `dev` never is.
fn can_return(data: &Path) -> bool {
    let works = || ftl_controller::in_use(data).unwrap_or(true);
    works() || (ftl_controller::keeps_state(data) && !is_of_dev(data))
}

fn engine(error: PlatformError) -> CliError {
    let hint = error.hint.clone();
    let failed = CliError::failed("the Docker Engine did not do it").because(error);
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

fn json_of(leftover: &Leftover) -> Value {
    json!({
        "cluster": leftover.cluster,
        "owner": leftover.owner,
        "containers": leftover.containers,
        "networks": leftover.networks,
        "volumes": leftover.volumes,
    })
}

fn text(swept: &[&Leftover], outcome: &Outcome, done: bool) -> String {
    let mut lines = Vec::new();
    if done {
        lines.extend(outcome.removed.iter().map(|what| format!("removed {what}")));
        lines.extend(outcome.images.iter().map(|image| format!("removed image {image}")));
        lines.extend(outcome.left.iter().map(|what| format!("NOT removed {what}")));
    } else {
        for leftover in swept {
            let owner = leftover.owner.as_deref().unwrap_or("nobody that is known");
            lines.push(format!("cluster {} of {owner}", leftover.cluster));
            lines.extend(leftover.containers.iter().map(|name| format!("  container {name}")));
            lines.extend(leftover.networks.iter().map(|name| format!("  network {name}")));
            lines.extend(leftover.volumes.iter().map(|name| format!("  volume {name}")));
        }
        lines.extend(outcome.images.iter().map(|image| format!("unused image {image}")));
    }
    match lines.is_empty() {
        true => "nothing is left".to_owned(),
        false if done => lines.join("\n"),
        false => {
            lines.push("--yes removes all this".to_owned());
            lines.join("\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_dead_is_dead() {
        let lives = |path: &Path| path == Path::new("/data/live");
        assert_eq!(life(Some("here:/data/live"), "here", lives), Life::Alive);
        assert_eq!(life(Some("here:/data/dead"), "here", lives), Life::Dead);
        assert_eq!(life(Some("there:/data/dead"), "here", lives), Life::Unknown);
        assert_eq!(life(Some("nonsense"), "here", lives), Life::Unknown);
        assert_eq!(life(None, "here", lives), Life::Unknown);
    }
}
