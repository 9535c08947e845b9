//! The end of instances that do not outlive their Controller.

use std::time::Duration;

use ftl_core::name::ClusterId;
use ftl_core::platform::{InstanceStatus, Platform, RemoveOptions};
use tokio::time::{Instant, sleep};

use super::worker::in_time;

/// How often a Controller that ends looks whether its instances have ended.
const END_LOOK: Duration = Duration::from_millis(10);

/// Ends every instance of the cluster, for a platform whose instances do not outlive the Controller.
///
/// What cannot be ended is said and left to the platform: it ends its instances with this process.
pub(crate) async fn end_all(platform: &dyn Platform, cluster: &ClusterId, grace: Duration) {
    let name = &platform.describe().name;
    let deadline = Instant::now() + grace * 2;
    let mut asked = false;
    loop {
        let instances = match in_time("observe", platform.observe(cluster)).await {
            Ok(instances) => instances,
            Err(error) => return tracing::warn!(platform = %name, %error, "its instances cannot be listed"),
        };
        let running: Vec<&InstanceStatus> = instances.iter().filter(|status| !status.ended()).collect();
        if running.is_empty() || Instant::now() >= deadline {
            for status in &instances {
                let removed = platform.remove_instance(&status.instance, RemoveOptions::forced());
                if let Err(error) = in_time("remove", removed).await {
                    tracing::warn!(platform = %name, runner = %status.instance.runner, %error, "not removed");
                }
            }
            return;
        }
        if !asked {
            asked = true;
            for status in running {
                if let Err(error) = in_time("stop", platform.stop_instance(&status.instance, grace)).await {
                    tracing::warn!(platform = %name, runner = %status.instance.runner, %error, "not stopped");
                }
            }
        }
        sleep(END_LOOK).await;
    }
}
