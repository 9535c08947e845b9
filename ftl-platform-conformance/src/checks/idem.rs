//! The same asked again is the same instance.

use std::sync::Arc;

use ftl_core::key::Epoch;
use ftl_core::platform::{Capability, Effect, ErrorKind, InstanceState, PlatformError, RemoveOptions};
use ftl_core::{Platform, PlatformExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::bench::{Bench, GENERATION, Times};
use crate::check::{Check, Flaw, Verdict, ensure};
use crate::probe::Order;

const SAME: &str = "create_instance \"same key and digest: existed\"";

pub(super) const CHECKS: &[Check] = &[
    Check::new("idem::twice", "every create is told to be the first", SAME, |bench| Box::pin(twice(bench))),
    Check::new("idem::eight_parallel", "creates at once start more than one", SAME, |bench| {
        Box::pin(eight_parallel(bench))
    }),
    Check::new(
        "idem::other_digest",
        "another specification under the same key is taken for the same",
        "create_instance \"other digest: Conflict\"",
        |bench| Box::pin(other_digest(bench)),
    ),
    Check::new(
        "idem::lower_generation",
        "a Controller of the past is obeyed",
        "create_instance \"a higher generation is there: Stale\"",
        |bench| Box::pin(lower_generation(bench)),
    ),
    Check::new("idem::higher_generation", "a Controller that starts again loses what runs", SAME, |bench| {
        Box::pin(higher_generation(bench))
    }),
    Check::new(
        "idem::ended_stays_ended",
        "a create of something that ended starts it again",
        "create_instance \"an ended one stays ended\"",
        |bench| Box::pin(ended_stays_ended(bench)),
    ),
    Check::new(
        "idem::other_boot",
        "a retry with another boot document is a conflict",
        "InstanceSpec::digest: everything but generation and boot",
        |bench| Box::pin(other_boot(bench)),
    ),
    Check::new(
        "idem::after_remove",
        "what was removed is remembered",
        "remove_instance \"forget an ended instance\"",
        |bench| Box::pin(after_remove(bench)),
    ),
];

async fn twice(bench: &Bench) -> Verdict {
    let spec = bench.spec();
    let first = bench.create(&spec).await?;
    let second = bench.create(&spec).await?;
    ensure!(!first.existed, "the first create says that it existed");
    ensure!(second.existed, "the second create says that it made it");
    ensure!(first.instance == second.instance, "{:?} became {:?}", first.instance, second.instance);
    bench.one_start(spec.runner).await
}

async fn eight_parallel(bench: &Bench) -> Verdict {
    let adopts = bench.can(Capability::Adopt);
    let other = if adopts { bench.fresh().await? } else { bench.platform.clone() };
    let spec = bench.spec();
    let mut creates = JoinSet::new();
    for number in 0..8 {
        let platform: Arc<dyn Platform> =
            if number % 2 == 0 { bench.platform.clone() } else { other.clone() };
        let (spec, times) = (spec.clone(), bench.times);
        creates.spawn(async move { insist(&*platform, &spec, times).await });
    }
    let mut first = 0;
    while let Some(created) = creates.join_next().await {
        let existed = created.map_err(|error| Flaw::broken(error.to_string()))??;
        first += usize::from(!existed);
    }
    ensure!(first == 1, "{first} of eight creates say that they made it");
    bench.one_start(spec.runner).await
}

/// Creates; a platform that works on the key already may say so, and is asked again.
async fn insist(
    platform: &dyn Platform,
    spec: &ftl_core::platform::InstanceSpec,
    times: Times,
) -> Result<bool, PlatformError> {
    let deadline = Instant::now() + times.patience;
    loop {
        match platform.create_runner(spec).await {
            Err(error) if error.kind == ErrorKind::Busy && Instant::now() < deadline => {
                sleep(error.retry_after.unwrap_or(times.look)).await;
            }
            other => return other.map(|created| created.existed),
        }
    }
}

/// Makes sure that a create is refused so, and hurts nobody.
async fn refused_as(
    bench: &Bench,
    kind: ErrorKind,
    change: impl Fn(&mut ftl_core::platform::InstanceSpec),
) -> Verdict {
    let live = bench.start().await?;
    let mut other = live.spec.clone();
    change(&mut other);
    match bench.create(&other).await {
        Ok(created) => {
            return Err(Flaw::broken(format!("taken for the same: existed = {}", created.existed)));
        }
        Err(error) => {
            ensure!(error.kind == kind, "refused as {:?}, not as {kind:?}: {error}", error.kind);
            ensure!(error.effect == Effect::None, "the refusal says that it may have taken effect");
        }
    }
    ensure!(live.probe.serves().await, "the refused create ended the one that runs");
    bench.one_start(live.key()).await
}

async fn other_digest(bench: &Bench) -> Verdict {
    refused_as(bench, ErrorKind::Conflict, |spec| {
        spec.labels.insert("module".to_owned(), "another".to_owned());
    })
    .await
}

async fn lower_generation(bench: &Bench) -> Verdict {
    refused_as(bench, ErrorKind::Stale, |spec| spec.generation = Epoch(GENERATION.0 - 1)).await
}

async fn higher_generation(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    let mut later = live.spec.clone();
    later.generation = Epoch(GENERATION.0 + 1);
    ensure!(bench.create(&later).await?.existed, "the create of a later generation says that it made it");
    ensure!(live.probe.serves().await, "the create of a later generation ended what ran");
    bench.one_start(live.key()).await
}

async fn ended_stays_ended(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.end(Order::Exit { code: 3 }).await?;
    let exit = bench.ended(live.key()).await?;
    ensure!(bench.create(&live.spec).await?.existed, "a create of an ended instance says that it made it");
    bench.one_start(live.key()).await?;
    let state = bench.status(live.key()).await?.map(|status| status.state);
    ensure!(state == Some(InstanceState::Ended(exit.clone())), "{exit:?} became {state:?}");
    Ok(())
}

async fn other_boot(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    let mut retry = live.spec.clone();
    retry.boot = bench.boot(live.key(), "another secret".to_owned());
    ensure!(bench.create(&retry).await?.existed, "a retry with another boot document says that it made it");
    ensure!(live.probe.serves().await, "a retry with another boot document ended what ran");
    bench.one_start(live.key()).await
}

async fn after_remove(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    bench.platform.remove_instance(&live.instance, RemoveOptions::forced()).await?;
    ensure!(!bench.create(&live.spec).await?.existed, "a create after the removal says that it existed");
    let again = || async { Ok((bench.starts(live.key()) == 2).then_some(())) };
    bench.until("the second process registers", again).await
}
