//! Ends what outlives Controllers: every instance of a data directory's cluster, without serving anything.

use std::collections::BTreeSet;
use std::path::Path;

use ftl_core::Platform;
use ftl_core::name::{ClusterId, PlatformName};
use ftl_core::platform::{PlatformError, ReleaseOptions};
use tokio::task::JoinSet;

use crate::data::DataDirectory;
use crate::desired::{Desired, Startup};
use crate::error::ServiceError;
use crate::options::Options;
use crate::platforms::{end_all, in_time};
use crate::store::Store;
use crate::time::Clock;

/// What became of the instances on one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlatformEnded {
    /// Which platform.
    pub platform: PlatformName,
    /// How many instances were there and are gone.
    pub ended: usize,
    /// What could not be ended or removed, and why.
    pub left: Vec<String>,
}

/// Whether a Controller has kept its state in this directory.
#[must_use]
pub fn keeps_state(data: &Path) -> bool {
    DataDirectory::database_in(data).is_file()
}

/// Ends every instance of the cluster whose state is in `options.data`, on every platform of `options`, asking first;
/// then removes what they shared. What is desired stays: the next Controller starts it anew.
///
/// # Errors
/// When a Controller works there now, or the store fails. What a platform does not do is
/// in its [`PlatformEnded`].
pub async fn end_instances(options: &Options) -> Result<Vec<PlatformEnded>, ServiceError> {
    let data = DataDirectory::open(&options.data)?;
    // As a Controller begins that adopts nothing: keys are never used twice, and these are used up.
    let startup = Startup { adopting: BTreeSet::new(), at: Clock::start().now() };
    let opened = Store::open(&data.database(), None, &startup).await?;
    let used = platforms_of(&opened.desired);
    let mut ending = JoinSet::new();
    for platform in options.platforms.iter().cloned() {
        let cluster = opened.cluster.clone();
        let used = used.contains(&platform.describe().name);
        ending.spawn(async move { end_on(&*platform, &cluster, used).await });
    }
    let ended = ending.join_all().await.into_iter().flatten();
    let mut ended: Vec<PlatformEnded> = ended.collect();
    ended.sort_by(|one, other| one.platform.cmp(&other.platform));
    opened.store.close().await;
    Ok(ended)
}

/// The platforms on which something was to run, as far as it is remembered.
fn platforms_of(desired: &Desired) -> BTreeSet<PlatformName> {
    let slots = desired.slots.values().map(|slot| &slot.target);
    let ended = desired.ended.values().map(|ended| &ended.target);
    slots.chain(ended).map(|target| target.platform.clone()).collect()
}

/// Ends what is on one platform; `None` when it cannot be asked and nothing was ever to run there.
async fn end_on(platform: &dyn Platform, cluster: &ClusterId, used: bool) -> Option<PlatformEnded> {
    let name = platform.describe().name.clone();
    let failed = |error: PlatformError| PlatformEnded {
        platform: name.clone(),
        ended: 0,
        left: vec![error.to_string()],
    };
    let before = match in_time("observe", platform.observe(cluster)).await {
        Ok(instances) => instances.len(),
        Err(error) => return used.then(|| failed(error)),
    };
    if let Err(error) = end_all(platform, cluster).await {
        tracing::warn!(platform = %name, %error, "its instances cannot be listed");
    }
    let released = in_time("release", platform.release(cluster, ReleaseOptions::with_instances())).await;
    let left = match released {
        Ok(released) => released.left,
        Err(error) => return Some(failed(error)),
    };
    let after = in_time("observe", platform.observe(cluster)).await;
    let after = after.map_or(before, |instances| instances.len());
    Some(PlatformEnded { platform: name, ended: before.saturating_sub(after), left })
}
