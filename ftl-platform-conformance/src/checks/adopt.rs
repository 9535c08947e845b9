//! What one Controller made, the next one finds; and nobody else.

use std::collections::BTreeSet;

use ftl_core::PlatformExt;
use ftl_core::key::RunnerKey;
use ftl_core::platform::{
    Capability, ErrorKind, InstanceRef, InstanceSpec, InstanceStatus, ReleaseOptions, RemoveOptions,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::bench::{Bench, GENERATION, Live};
use crate::check::{Check, Flaw, Verdict, ensure};
use crate::fixture::Lookalike;
use crate::probe::Order;

const OUTLIVE: &str = "adopt: instances and their exits outlive the Controller's process";
/// How many instances make a list that could be cut.
const MANY: usize = 40;

pub(super) const CHECKS: &[Check] = &[
    Check::new("adopt::new_value_sees", "what runs is forgotten, or started again", OUTLIVE, |bench| {
        Box::pin(new_value_sees(bench))
    })
    .needs(Capability::Adopt),
    Check::new(
        "adopt::exit_unwatched",
        "the end that nobody watched is invented or lost",
        OUTLIVE,
        |bench| Box::pin(exit_unwatched(bench)),
    )
    .needs(Capability::Adopt),
    Check::new(
        "adopt::complete",
        "what is found after a restart is a part of what there is",
        "rule 3: observe is complete, or an error",
        |bench| Box::pin(complete(bench)),
    )
    .needs(Capability::Adopt),
    Check::new(
        "adopt::other_cluster",
        "one cluster sees and ends what another one owns",
        "rule 1: identity is (cluster, runner)",
        |bench| Box::pin(other_cluster(bench)),
    ),
    Check::new(
        "adopt::foreign_lookalike",
        "what is somebody else's is taken for an instance, because of its name",
        "rule 1: identity is (cluster, runner)",
        |bench| Box::pin(foreign_lookalike(bench)),
    )
    .needs(Capability::Adopt),
];

async fn new_value_sees(bench: &Bench) -> Verdict {
    let first = bench.fresh().await?;
    let live = bench.start_on(&*first, bench.spec()).await?;
    drop(first);
    let second = bench.fresh().await?;
    let status = bench.running_on(&*second, live.key()).await?;
    ensure!(status.instance == live.instance, "{:?} became {:?}", live.instance, status.instance);
    ensure!(status.digest == live.spec.digest(), "its digest was not kept");
    ensure!(status.generation == GENERATION, "its generation was not kept: {}", status.generation);
    ensure!(live.probe.serves().await, "it ended with the value that made it");
    bench.one_start(live.key()).await?;
    second.stop_instance(&live.instance, bench.times.patience).await?;
    let exit = bench.ended_on(&*second, live.key()).await?;
    ensure!(exit.asked, "the new value asked it to end, and does not know: {exit:?}");
    Ok(())
}

async fn exit_unwatched(bench: &Bench) -> Verdict {
    let first = bench.fresh().await?;
    let live = bench.start_on(&*first, bench.spec()).await?;
    drop(first);
    live.probe.end(Order::Exit { code: 42 }).await?;
    bench.gone(&live.probe).await?;
    let exit = bench.ended_on(&*bench.fresh().await?, live.key()).await?;
    let code = bench.can(Capability::ExitCode).then_some(42);
    ensure!(exit.code == code, "it ended with 42, and is told to have ended with {:?}", exit.code);
    ensure!(!exit.asked, "nobody asked it to end: {exit:?}");
    Ok(())
}

async fn complete(bench: &Bench) -> Verdict {
    let first = bench.fresh().await?;
    let starts: Vec<_> = (0..MANY).map(|_| bench.start_on(&*first, bench.spec())).collect();
    let at_once = first.describe().facts.creates_parallel.max(1);
    let lives: Vec<Live> = stream::iter(starts).buffered(at_once).try_collect().await?;
    let (ending, running) = lives.split_at(MANY / 2);
    for live in ending {
        live.probe.end(Order::Exit { code: 0 }).await?;
    }
    for live in ending {
        bench.gone(&live.probe).await?;
    }
    drop(first);
    let second = bench.fresh().await?;
    let keys = |lives: &[Live]| lives.iter().map(Live::key).collect::<BTreeSet<_>>();
    let (ending, running) = (keys(ending), keys(running));
    let all = || async {
        let seen = second.observe(&bench.cluster).await?;
        ensure!(seen.len() == MANY, "there are {MANY} instances, and {} are told of", seen.len());
        let (ended, others): (Vec<_>, Vec<_>) = seen.into_iter().partition(InstanceStatus::ended);
        let keys =
            |seen: Vec<InstanceStatus>| seen.into_iter().map(|status| status.instance.runner).collect();
        let (ended, others): (BTreeSet<RunnerKey>, BTreeSet<_>) = (keys(ended), keys(others));
        Ok((ended == ending && others == running).then_some(()))
    };
    bench.until("just those that ended are told to have ended", all).await
}

async fn other_cluster(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    let other = format!("{}-x", bench.cluster).parse();
    let other = other.map_err(|error: ftl_core::name::NameError| Flaw::broken(error.to_string()))?;
    let seen = bench.platform.observe(&other).await?;
    ensure!(seen.is_empty(), "another cluster sees {} instances of ours", seen.len());
    let same_key = InstanceRef::new(other.clone(), live.key(), live.instance.native.clone());
    bench.platform.stop_instance(&same_key, std::time::Duration::ZERO).await?;
    bench.platform.remove_instance(&same_key, RemoveOptions::forced()).await?;
    bench.platform.release(&other, ReleaseOptions::with_instances()).await?;
    bench.never("another cluster ended ours", || async { Ok(!live.probe.serves().await) }).await
}

async fn foreign_lookalike(bench: &Bench) -> Verdict {
    let spec = bench.spec();
    let Some(foreign) = bench.fixture.lookalike(&bench.cluster, spec.runner).await else {
        return Err(Flaw::not_proven("the fixture cannot make anything that is somebody else's"));
    };
    let verdict = is_left_alone(bench, &spec, &*foreign).await;
    foreign.remove().await;
    verdict
}

async fn is_left_alone(bench: &Bench, spec: &InstanceSpec, foreign: &dyn Lookalike) -> Verdict {
    let platform = bench.fresh().await?;
    let seen = bench.status_on(&*platform, spec.runner).await?;
    ensure!(seen.is_none(), "it is told of as an instance: {seen:?}");
    // Whether there is room for both is the backend's affair.
    match platform.create_runner(spec).await {
        Ok(_) => drop(bench.registered(spec.runner).await?),
        Err(error) => ensure!(error.kind == ErrorKind::Conflict, "refused as {:?}: {error}", error.kind),
    }
    ensure!(foreign.is_untouched().await, "a create touched it");
    platform.release(&bench.cluster, ReleaseOptions::with_instances()).await?;
    ensure!(foreign.is_untouched().await, "the release of the cluster touched it");
    Ok(())
}

/// What a platform that does not claim `adopt` does: its instances end with it.
pub(super) async fn none_left(bench: &Bench) -> Verdict {
    let first = bench.fresh().await?;
    let live = bench.start_on(&*first, bench.spec()).await?;
    drop(first);
    bench.gone(&live.probe).await?;
    let second = bench.fresh().await?;
    let seen = bench.status_on(&*second, live.key()).await?;
    ensure!(seen.is_none(), "without `adopt`, a new value tells of what an old one made: {seen:?}");
    Ok(())
}
