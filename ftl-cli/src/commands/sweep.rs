//! `ftl platform sweep docker`: what dead clusters left on the engine, and the runner's images that nothing uses.

use std::collections::BTreeSet;
use std::path::Path;

use ftl_core::name::ClusterId;
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
    let sorted = Sorted::of(found, args.cluster.as_ref());
    // Images belong to no cluster: whoever names one asks for nothing else.
    let images_too = args.cluster.is_none();
    let outcome = match args.yes {
        true => remove(&docker, &sorted.swept, images_too).await?,
        false if images_too => {
            Outcome { images: docker.unused_images().await.map_err(engine)?, ..Outcome::default() }
        }
        false => Outcome::default(),
    };
    output.result(
        &text(&sorted, &outcome, args.yes),
        &json!({
            "clusters": sorted.swept.iter().map(json_of).collect::<Vec<_>>(),
            "unknown": sorted.unknown.iter().map(json_of).collect::<Vec<_>>(),
            "alive": sorted.alive,
            "images": outcome.images,
            "removed": outcome.removed,
            "left": outcome.left,
            "done": args.yes,
        }),
    )?;
    if sorted.alive > 0 {
        output.note(&format!(
            "{} clusters are left alone: their Controllers live or can be started again (`--cluster NAME` sweeps one)",
            sorted.alive
        ));
    }
    Ok(if outcome.left.is_empty() { Exit::Ok } else { Exit::Failed })
}

/// What was found, by what becomes of it.
#[derive(Debug, Default)]
struct Sorted {
    swept: Vec<Leftover>,
    /// Shown, and left alone.
    unknown: Vec<Leftover>,
    /// How many are not even shown.
    alive: usize,
}

impl Sorted {
    fn of(found: Vec<Leftover>, only: Option<&ClusterId>) -> Self {
        let host = serving::host_name();
        let mut sorted = Self::default();
        for leftover in found {
            match only {
                Some(only) if leftover.cluster == *only => sorted.swept.push(leftover),
                Some(_) => {}
                None => match life(&leftover.owners, &host, can_return) {
                    Life::Dead => sorted.swept.push(leftover),
                    Life::Unknown => sorted.unknown.push(leftover),
                    Life::Alive => sorted.alive += 1,
                },
            }
        }
        sorted
    }
}

/// What was done.
#[derive(Debug, Default)]
struct Outcome {
    images: Vec<String>,
    removed: Vec<String>,
    left: Vec<String>,
}

async fn remove(docker: &Docker, leftovers: &[Leftover], images_too: bool) -> Result<Outcome, CliError> {
    let mut outcome = Outcome::default();
    for leftover in leftovers {
        let Released { removed, left, .. } = docker.sweep(&leftover.cluster).await.map_err(engine)?;
        outcome.removed.extend(removed);
        outcome.left.extend(left);
    }
    // Last: what was removed before used them.
    if images_too {
        outcome.images = docker.remove_unused_images().await.map_err(engine)?;
    }
    Ok(outcome)
}

/// Whether the Controller of a cluster lives or may come back, by what its remains say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    Dead,
    /// It is of another machine, or nothing says whose it is.
    Unknown,
    Alive,
}

fn life(owners: &BTreeSet<String>, host: &str, can_return: impl Fn(&Path) -> bool) -> Life {
    let lives = owners.iter().map(|owner| match owner.split_once(':') {
        Some((of, data)) if of == host && can_return(Path::new(data)) => Life::Alive,
        Some((of, _)) if of == host => Life::Dead,
        _ => Life::Unknown,
    });
    // The best that is said of it: what is removed does not come back.
    lives.max().unwrap_or(Life::Unknown)
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
        "owners": leftover.owners,
        "containers": leftover.containers,
        "networks": leftover.networks,
        "volumes": leftover.volumes,
    })
}

fn text(sorted: &Sorted, outcome: &Outcome, done: bool) -> String {
    let mut lines = Vec::new();
    if done {
        lines.extend(outcome.removed.iter().map(|what| format!("removed {what}")));
        lines.extend(outcome.images.iter().map(|image| format!("removed image {image}")));
        lines.extend(outcome.left.iter().map(|what| format!("NOT removed {what}")));
    } else {
        lines.extend(sorted.swept.iter().flat_map(lines_of));
        lines.extend(outcome.images.iter().map(|image| format!("unused image {image}")));
        if !lines.is_empty() {
            lines.push("--yes removes all this".to_owned());
        }
    }
    for leftover in &sorted.unknown {
        lines.extend(lines_of(leftover));
        lines.push(format!("  it may be alive; `--cluster {}` sweeps it all the same", leftover.cluster));
    }
    if lines.is_empty() { "nothing is left".to_owned() } else { lines.join("\n") }
}

fn lines_of(leftover: &Leftover) -> Vec<String> {
    let owners = leftover.owners.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let owners = if owners.is_empty() { "nobody that is known" } else { &owners };
    let mut lines = vec![format!("cluster {} of {owners}", leftover.cluster)];
    lines.extend(leftover.containers.iter().map(|name| format!("  container {name}")));
    lines.extend(leftover.networks.iter().map(|name| format!("  network {name}")));
    lines.extend(leftover.volumes.iter().map(|name| format!("  volume {name}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_dead_is_dead() {
        let life = |owners: &[&str]| {
            let owners = owners.iter().map(|owner| (*owner).to_owned()).collect();
            super::life(&owners, "here", |path| path == Path::new("/data/live"))
        };
        assert_eq!(life(&["here:/data/live"]), Life::Alive);
        assert_eq!(life(&["here:/data/dead"]), Life::Dead);
        assert_eq!(life(&["there:/data/dead"]), Life::Unknown);
        assert_eq!(life(&["nonsense"]), Life::Unknown);
        assert_eq!(life(&[]), Life::Unknown);
        assert_eq!(life(&["here:/data/dead", "here:/data/live"]), Life::Alive, "it was moved");
        assert_eq!(life(&["here:/data/dead", "there:/data/dead"]), Life::Unknown);
    }
}
