//! `ftl platform`: which platforms there are, and whether one keeps its promises.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::platform::{Description, Health, PlatformError, Probe};
use ftl_platform_conformance::{Check, Conclusion, Finding, Fixture, Report, Selection, abandon, all, run};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::app::VerifyArgs;
use crate::commands::unless_interrupted;
use crate::error::CliError;
use crate::exit::Exit;
use crate::fixtures::{KNOWN, find};
use crate::output::{Format, Output, table};

/// How long a backend may take to say how it is.
const PING: Duration = Duration::from_secs(10);
/// What is known of a platform that cannot even be made.
const UNKNOWN: &str = "-";

/// `ftl platform list`
pub(super) async fn list(output: Output) -> Result<Exit, CliError> {
    let folder = folder()?;
    let down = |error: PlatformError| Health::Down { why: error.advice() };
    let mut platforms = Vec::new();
    for known in KNOWN.iter().filter(|known| known.configured) {
        let fixture = (known.make)(&folder.path().join(known.name))?;
        platforms.push(match fixture.platform().await {
            Err(error) => Listed { name: known.name, description: None, health: down(error) },
            Ok(platform) => {
                let health = match timeout(PING, platform.probe(Probe::Ping)).await {
                    Ok(Ok(health)) => health,
                    Ok(Err(error)) => down(error),
                    Err(_) => Health::Down { why: format!("it did not answer within {PING:?}") },
                };
                Listed { name: known.name, description: Some(platform.describe().clone()), health }
            }
        });
    }
    let values: Vec<Value> = platforms.iter().map(Listed::to_json).collect();
    output.result(&list_text(&platforms), &json!({ "platforms": values }))?;
    Ok(Exit::Ok)
}

/// One platform, as it is listed.
struct Listed {
    name: &'static str,
    description: Option<Description>,
    health: Health,
}

impl Listed {
    fn health(&self) -> (&'static str, Option<&str>) {
        match &self.health {
            Health::Ok => ("ok", None),
            Health::Degraded { why } => ("degraded", Some(why)),
            Health::Down { why } => ("down", Some(why)),
            _ => ("unknown", None),
        }
    }

    fn targets(&self) -> Vec<String> {
        let targets = self.description.iter().flat_map(|description| &description.targets);
        targets.map(ToString::to_string).collect()
    }

    fn capabilities(&self) -> Vec<String> {
        let claimed = self.description.iter().flat_map(|description| &description.capabilities);
        claimed.map(ToString::to_string).collect()
    }

    fn to_json(&self) -> Value {
        let (health, why) = self.health();
        json!({
            "name": self.name,
            "targets": self.targets(),
            "capabilities": self.capabilities(),
            "health": health,
            "why": why,
        })
    }
}

fn list_text(platforms: &[Listed]) -> String {
    let header = ["NAME", "TARGETS", "HEALTH", "CAPABILITIES"].map(str::to_owned).to_vec();
    let or_unknown = |text: String| if text.is_empty() { UNKNOWN.to_owned() } else { text };
    let rows = platforms.iter().map(|platform| {
        let health = match platform.health() {
            (health, Some(why)) => format!("{health}: {why}"),
            (health, None) => health.to_owned(),
        };
        let name = platform.name.to_owned();
        let (targets, claims) = (platform.targets().join(" "), platform.capabilities().join(" "));
        vec![name, or_unknown(targets), health, or_unknown(claims)]
    });
    table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

/// `ftl platform verify`
pub(super) async fn verify(args: VerifyArgs, output: Output) -> Result<Exit, CliError> {
    let known = find(&args.name)?;
    let mut selection = Selection::all(args.seed.unwrap_or_else(any_seed));
    selection.only.clone_from(&args.only);
    let checks = selection.checks().map_err(|error| CliError::usage(error.to_string()))?;
    if let Some(unknown) =
        args.allow_unproven.iter().find(|name| !all().iter().any(|check| check.name == **name))
    {
        return Err(CliError::usage(format!("there is no check `{unknown}`")).hint("`--list` shows them"));
    }
    if args.list {
        output.result(&checks_text(&checks), &json!({ "checks": checks_json(&checks) }))?;
        return Ok(Exit::Ok);
    }
    let folder = folder()?;
    let fixture = (known.make)(folder.path())?;
    let checked = check(&args, fixture.clone(), &selection, output);
    let checked = unless_interrupted(checked, "nothing that was being checked is left").await;
    match checked {
        Err(interrupted) if interrupted.exit == Exit::Interrupted => {
            Err(clean_up(&*fixture, &selection, interrupted).await)
        }
        other => other,
    }
}

/// `ftl host`
pub(super) async fn host(platform: &str, folder: &Path) -> Result<Exit, CliError> {
    let fixture = (find(platform)?.make)(folder)?;
    let hosted = ftl_platform_conformance::host(&*fixture).await;
    hosted.map_err(|error| CliError::failed("nothing was created").because(error))?;
    Ok(Exit::Ok)
}

/// Removes what an interrupted run made; the error says so, or what is left.
async fn clean_up(fixture: &dyn Fixture, selection: &Selection, interrupted: CliError) -> CliError {
    match abandon(fixture, selection).await {
        Ok(left) if left.is_empty() => interrupted,
        Ok(left) => CliError::interrupted(format!("these are left: {}", left.join(", "))),
        Err(error) => CliError::interrupted("what was being checked may be left").because(error),
    }
}

async fn check(
    args: &VerifyArgs,
    fixture: Arc<dyn Fixture>,
    selection: &Selection,
    output: Output,
) -> Result<Exit, CliError> {
    let again = format!("ftl platform verify {}", args.name);
    let mut written = Ok(());
    let tell = |finding: &Finding| {
        if output.format == Format::Text && written.is_ok() {
            written = output.data(&finding.in_words(&again, selection.seed));
        }
    };
    let report = run(fixture, selection, tell).await;
    written?;
    let report = report.map_err(|error| {
        CliError::failed(format!("platform `{}` cannot be checked", args.name)).because(error)
    })?;
    output.result(&report.summary(&args.allow_unproven), &report_json(&report, &args.allow_unproven))?;
    Ok(match report.conclusion(&args.allow_unproven) {
        Conclusion::Conformant => Exit::Ok,
        Conclusion::NotProven => Exit::NotProven,
        Conclusion::NotConformant => Exit::Failed,
    })
}

fn report_json(report: &Report, allowed: &[String]) -> Value {
    let mut value = json!(report);
    value["conclusion"] = json!(report.conclusion(allowed));
    value["allowed_unproven"] = json!(allowed);
    value
}

fn checks_json(checks: &[Check]) -> Vec<Value> {
    let one = |check: &Check| json!({"check": check.name, "needs": check.gate, "lie": check.lie, "rule": check.rule});
    checks.iter().map(one).collect()
}

fn checks_text(checks: &[Check]) -> String {
    let header = ["CHECK", "NEEDS", "A PLATFORM FAILS IT WHEN"].map(str::to_owned).to_vec();
    let rows = checks.iter().map(|check| {
        let needs = check.gate.map_or_else(|| UNKNOWN.to_owned(), |gate| gate.to_string());
        vec![check.name.to_owned(), needs, check.lie.to_owned()]
    });
    table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

/// Another one each time, and short enough to be typed.
fn any_seed() -> u64 {
    // The last bytes of such an id are random, all of them.
    uuid::Uuid::now_v7().as_u128() as u64 & u64::from(u32::MAX)
}

fn folder() -> Result<TempDir, CliError> {
    tempfile::tempdir().map_err(|error| CliError::failed("no temporary folder can be made").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::platform::Capability;

    #[test]
    fn a_platform_is_one_line() {
        let description = Description::new("local".parse().unwrap(), vec!["x86_64-linux".parse().unwrap()])
            .with_capabilities([Capability::Kill, Capability::LimitMemory]);
        let platforms = [
            Listed { name: "local", description: Some(description), health: Health::Ok },
            Listed { name: "docker", description: None, health: Health::Down { why: "no engine".into() } },
        ];
        insta::assert_snapshot!(list_text(&platforms));
    }

    #[test]
    fn checks_are_listed_with_what_they_need() {
        insta::assert_snapshot!(checks_text(&all()));
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(any_seed(), any_seed());
    }
}
