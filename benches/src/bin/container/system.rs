//! A Controller with one module in containers.

use std::time::Duration;

use benches::serve::{Serve, build, seconds};
use ftl_client::Client;
use ftl_core::Operator;
use ftl_core::controller::{ChangeSpec, ChangeState, Wanted};

/// The name of its cluster.
pub(crate) const CLUSTER: &str = "bench";

/// A Controller whose module runs in containers. They end with it.
#[derive(Debug)]
pub(crate) struct System {
    serve: Serve,
    client: Client,
}

impl System {
    /// Builds, serves, and deploys one replica of `heavy`: what is shared is there afterwards.
    pub(crate) fn start() -> Self {
        let serve = Serve::start(&build(), &["--cluster", CLUSTER]);
        serve.deploy("benches/modules/heavy", &["--platform", "docker"]);
        let token = std::fs::read_to_string(&serve.token).unwrap();
        let client = Client::new(&serve.url, token.trim()).unwrap();
        Self { serve, client }
    }

    /// Adds a replica, and answers how long it took from `CreateRunner` to `Deployed`.
    pub(crate) async fn add_replica(&self) -> Duration {
        let module = self.client.status().await.unwrap().swap_remove(0);
        let replicas = module.desired + 1;
        let wanted = Wanted { deployment: module.deployment, platform: module.platform, replicas };
        let request = format!("replicas-{replicas}").parse().unwrap();
        let change = self.client.apply(ChangeSpec::new(request, vec![wanted])).await.unwrap();
        let mut seen = 0;
        loop {
            let status = self.client.change_status(change, seen).await.unwrap();
            match status.state {
                ChangeState::Rolling => seen = status.seen,
                ChangeState::Committed => break,
                failed => panic!("{failed:?}"),
            }
        }
        let messages = self.serve.messages();
        let last = |wanted: &str| {
            let of_name = |message: &&serde_json::Value| message["fields"]["message"] == wanted;
            seconds(messages.iter().rfind(of_name).unwrap())
        };
        Duration::from_secs_f64(last("Deployed") - last("CreateRunner"))
    }
}
