//! `ftl ps`: what is meant to run, and what does.

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
    Ok(Exit::Ok)
}

fn text(modules: &[ModuleStatus]) -> String {
    let header = ["MODULE", "DESIRED", "READY", "RESTARTS", "AGE", "PLATFORM", "DEPLOYMENT", "LAST ERROR"];
    let rows = modules.iter().map(|module| {
        let error = module.last_error.as_deref().and_then(|error| error.lines().next()).unwrap_or("-");
        vec![
            module.module.to_string(),
            module.desired.to_string(),
            module.ready.to_string(),
            module.restarts.to_string(),
            age(module.age_s),
            module.platform.to_string(),
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
    use ftl_core::controller::Wanted;
    use ftl_core::digest::Digest;
    use ftl_core::key::DeploymentId;

    #[test]
    fn a_module_is_one_line() {
        let deployment = DeploymentId::new("clock".parse().unwrap(), Digest::of(b"1"));
        let wanted = Wanted { deployment, platform: "local".parse().unwrap(), replicas: 2 };
        let mut module = ModuleStatus::new(&wanted);
        (module.ready, module.restarts, module.age_s) = (1, 3, 61);
        module.last_error = Some("exited with code 3\npanicked at …".into());
        insta::assert_snapshot!(text(&[module]), @r"
        MODULE   DESIRED   READY   RESTARTS   AGE   PLATFORM   DEPLOYMENT           LAST ERROR
        clock    2         1       3          1m    local      clock-6b86b273ff34   exited with code 3
        ");
        assert_eq!([age(5), age(7200), age(200_000)], ["5s", "2h", "2d"]);
    }
}
