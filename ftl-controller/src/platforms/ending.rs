//! The end of all instances of a cluster.

use std::time::Duration;

use ftl_core::name::ClusterId;
use ftl_core::platform::{InstanceStatus, Platform, PlatformError, ReleaseOptions, RemoveOptions};
use tokio::time::{Instant, sleep};

use super::worker::in_time;

/// How long instances may take to end when they are asked to.
const END_GRACE: Duration = Duration::from_secs(5);
/// How often a Controller that ends looks whether its instances have ended.
const END_LOOK: Duration = Duration::from_millis(10);

/// Ends every instance of the cluster with its Controller, and removes what they shared. What cannot be is said.
pub(crate) async fn end_with_controller(platform: &dyn Platform, cluster: &ClusterId) {
    let name = &platform.describe().name;
    if let Err(error) = end_all(platform, cluster).await {
        return tracing::warn!(platform = %name, %error, "its instances cannot be listed");
    }
    match in_time("release", platform.release(cluster, ReleaseOptions::default())).await {
        Ok(released) => {
            for left in released.left {
                tracing::warn!(platform = %name, left, "not removed");
            }
        }
        Err(error) => tracing::warn!(platform = %name, %error, "what its instances shared is not removed"),
    }
}

/// Ends every instance of the cluster and removes it, asking first. What cannot be ended is said.
///
/// # Errors
/// When its instances cannot be listed.
pub(crate) async fn end_all(platform: &dyn Platform, cluster: &ClusterId) -> Result<(), PlatformError> {
    let name = &platform.describe().name;
    let deadline = Instant::now() + END_GRACE * 2;
    let mut asked = false;
    loop {
        let instances = in_time("observe", platform.observe(cluster)).await?;
        let running: Vec<&InstanceStatus> = instances.iter().filter(|status| !status.ended()).collect();
        if running.is_empty() || Instant::now() >= deadline {
            for status in &instances {
                let removed = platform.remove_instance(&status.instance, RemoveOptions::forced());
                if let Err(error) = in_time("remove", removed).await {
                    tracing::warn!(platform = %name, runner = %status.instance.runner, %error, "not removed");
                }
            }
            return Ok(());
        }
        if !asked {
            asked = true;
            for status in running {
                if let Err(error) = in_time("stop", platform.stop_instance(&status.instance, END_GRACE)).await
                {
                    tracing::warn!(platform = %name, runner = %status.instance.runner, %error, "not stopped");
                }
            }
        }
        sleep(END_LOOK).await;
    }
}
