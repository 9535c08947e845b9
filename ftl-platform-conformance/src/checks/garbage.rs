//! Afterwards the backend holds what it held before.

use ftl_core::platform::{ReleaseOptions, RemoveOptions};

use super::create::no_program;
use crate::bench::Bench;
use crate::check::{Check, Verdict, ensure};
use crate::probe::Order;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "garbage::remove",
        "a removed instance leaves something behind",
        "remove_instance \"free all that it held\"",
        |bench| Box::pin(remove(bench)),
    ),
    Check::new(
        "garbage::failed_create",
        "what could not be started leaves something behind",
        "remove_instance \"free all that it held\"",
        |bench| Box::pin(failed_create(bench)),
    ),
    Check::new(
        "garbage::release",
        "a cluster that is given up leaves something behind",
        "release \"undoes prepare; ends and removes every instance of the cluster first\"",
        |bench| Box::pin(release(bench)),
    ),
];

async fn remove(bench: &Bench) -> Verdict {
    let before = bench.leftovers().await?;
    let ended = bench.start().await?;
    let running = bench.start().await?;
    ensure!(bench.leftovers().await? != before, "the fixture does not see an instance that runs");
    ended.probe.end(Order::Exit { code: 0 }).await?;
    bench.ended(ended.key()).await?;
    bench.platform.remove_instance(&ended.instance, RemoveOptions::default()).await?;
    bench.platform.remove_instance(&running.instance, RemoveOptions::forced()).await?;
    bench.holds(&before).await
}

async fn failed_create(bench: &Bench) -> Verdict {
    let before = bench.leftovers().await?;
    let mut spec = bench.spec();
    spec.program = no_program(bench);
    if let Ok(created) = bench.create(&spec).await {
        bench.ended(spec.runner).await?;
        bench.platform.remove_instance(&created.instance, RemoveOptions::default()).await?;
    }
    bench.holds(&before).await
}

async fn release(bench: &Bench) -> Verdict {
    let ended = bench.start().await?;
    let running = bench.start().await?;
    ended.probe.end(Order::Exit { code: 0 }).await?;
    bench.ended(ended.key()).await?;
    let released = bench.platform.release(&bench.cluster, ReleaseOptions::with_instances()).await?;
    ensure!(released.left.is_empty(), "left: {}", released.left.join(", "));
    ensure!(released.removed.len() >= 2, "two instances were removed, and told of: {:?}", released.removed);
    ensure!(bench.platform.observe(&bench.cluster).await?.is_empty(), "observe still tells of instances");
    bench.gone(&running.probe).await?;
    let again = bench.platform.release(&bench.cluster, ReleaseOptions::with_instances()).await?;
    ensure!(again.left.is_empty(), "released again, left: {}", again.left.join(", "));
    bench.holds(&[]).await
}
