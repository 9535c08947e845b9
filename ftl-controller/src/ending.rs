//! Ends what outlives Controllers: every instance of a data directory's cluster, without serving anything.

use std::collections::BTreeSet;
use std::path::Path;

use ftl_core::name::PlatformName;
use ftl_core::platform::{ReleaseOptions, Released};
use tokio::task::JoinSet;

use crate::data::DataDirectory;
use crate::desired::Startup;
use crate::error::ServiceError;
use crate::options::Options;
use crate::platforms::{END_GRACE, end_all};
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
    let mut ending = JoinSet::new();
    for platform in options.platforms.iter().cloned() {
        let cluster = opened.cluster.clone();
        ending.spawn(async move {
            let name = platform.describe().name.clone();
            let before = platform.observe(&cluster).await.map_or(0, |instances| instances.len());
            end_all(&*platform, &cluster, END_GRACE).await;
            let released = platform.release(&cluster, ReleaseOptions::with_instances()).await;
            let Released { left, .. } = match released {
                Ok(released) => released,
                Err(error) => {
                    let mut nothing = Released::nothing();
                    nothing.left.push(error.to_string());
                    nothing
                }
            };
            let after = platform.observe(&cluster).await.map_or(before, |instances| instances.len());
            PlatformEnded { platform: name, ended: before.saturating_sub(after), left }
        });
    }
    let mut ended: Vec<PlatformEnded> = ending.join_all().await;
    ended.sort_by(|one, other| one.platform.cmp(&other.platform));
    opened.store.close().await;
    Ok(ended)
}
