//! `ftl ps`: what is meant to run, and what does.

use std::collections::BTreeSet;

use ftl_client::Client;
use ftl_core::Operator;
use ftl_core::controller::ModuleStatus;
use serde_json::json;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, table};

pub(super) async fn run(client: Client, output: Output) -> Result<Exit, CliError> {
    let modules = client.status().await?;
    output.result(&text(&modules), &json!({ "modules": modules }))?;
    for trouble in troubles(&modules) {
        output.note(&trouble);
    }
    Ok(Exit::Ok)
}

/// Platforms that do not work, and since when; each once.
fn troubles(modules: &[ModuleStatus]) -> BTreeSet<String> {
    let of_module = |module: &ModuleStatus| {
        let trouble = module.platform_trouble.as_ref()?;
        let (platform, since, why) = (&module.platform, age(trouble.since_s), &trouble.why);
        Some(format!("platform `{platform}` has not worked for {since}: {why}; what runs there goes on"))
    };
    modules.iter().filter_map(of_module).collect()
}

/// Where the replicas are found on their platform.
fn places(module: &ModuleStatus) -> String {
    let places: Vec<&str> = module.replicas.iter().filter_map(|replica| replica.place.as_deref()).collect();
    if places.is_empty() { "-".to_owned() } else { places.join(",") }
}

fn text(modules: &[ModuleStatus]) -> String {
    let header =
        ["MODULE", "DESIRED", "READY", "RESTARTS", "AGE", "PLATFORM", "PLACE", "DEPLOYMENT", "LAST ERROR"];
    let rows = modules.iter().map(|module| {
        let error = module.last_error.as_deref().and_then(|error| error.lines().next()).unwrap_or("-");
        vec![
            module.module.to_string(),
            module.desired.to_string(),
            module.ready.to_string(),
            module.restarts.to_string(),
            age(module.age_s),
            module.platform.to_string(),
            places(module),
            module.deployment.short(),
            error.to_owned(),
        ]
    });
    let header = header.into_iter().map(str::to_owned).collect();
    table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::controller::{PlatformTrouble, ReplicaStatus, Wanted};
    use ftl_core::digest::Digest;
    use ftl_core::key::{DeploymentId, RunnerKey};

    #[test]
    fn a_module_is_one_line() {
        let deployment = DeploymentId::new("clock".parse().unwrap(), Digest::of(b"1"));
        let wanted = Wanted { deployment, platform: "docker".parse().unwrap(), replicas: 2 };
        let mut module = ModuleStatus::new(&wanted);
        (module.ready, module.restarts, module.age_s) = (1, 3, 61);
        module.last_error = Some("exited with code 3\npanicked at …".into());
        let mut replica = ReplicaStatus::new(RunnerKey(7), "ready");
        replica.place = Some("ftl-c1-clock-7".to_owned());
        module.replicas.push(replica);
        module.platform_trouble = Some(PlatformTrouble::new(125, "connection refused"));
        insta::assert_snapshot!(text(std::slice::from_ref(&module)), @r"
        MODULE   DESIRED   READY   RESTARTS   AGE   PLATFORM   PLACE            DEPLOYMENT           LAST ERROR
        clock    2         1       3          1m    docker     ftl-c1-clock-7   clock-6b86b273ff34   exited with code 3
        ");
        let troubles: Vec<String> = troubles(&[module.clone(), module]).into_iter().collect();
        assert_eq!(
            troubles,
            ["platform `docker` has not worked for 2m: connection refused; what runs there goes on"]
        );
        assert_eq!([age(5), age(7200), age(200_000)], ["5s", "2h", "2d"]);
    }
}
