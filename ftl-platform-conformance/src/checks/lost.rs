//! What was lost on its way happens once all the same.

use std::future::Future;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::key::RunnerKey;
use ftl_core::platform::{
    Capability, Created, Effect, ErrorKind, InstanceSpec, PlatformError, RemoveOptions,
};
use ftl_core::{Platform, PlatformExt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::bench::{Bench, Live};
use crate::check::{Check, Flaw, Verdict, ensure};
use crate::faulty::{Fault, Faulty};
use crate::host::{Asked, CREATING, PREPARING};
use crate::probe::Order;

/// A call that takes more polls than this is dropped at this many of them only.
const POLLS_MAX: usize = 64;
/// How long the shortest wait for a program's consent is.
const NOW: Duration = Duration::ZERO;
/// A host is killed at so many moments of a start, evenly apart, and once before and once after it.
const KILLS: u32 = 20;

const DROPPED: &str = "Cancellation: \"every method may be called again\"";
const HALF_MADE: &str = "create_instance \"a half-made instance is completed\"";

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "lost::create_reply",
        "a create whose answer was lost happens twice",
        "create_runner \"when the answer was lost looks whether the instance is there\"",
        |bench| Box::pin(create_reply(bench)),
    ),
    Check::new(
        "lost::create_request",
        "a create that never arrived is told to have happened",
        "rule 3: observe is the only truth",
        |bench| Box::pin(create_request(bench)),
    ),
    Check::new(
        "lost::create_dropped",
        "a create that was given up leaves an instance that never starts",
        HALF_MADE,
        |bench| Box::pin(create_dropped(bench)),
    ),
    Check::new("lost::half_made", "what a dead Controller began is taken for whole", HALF_MADE, |bench| {
        Box::pin(half_made(bench))
    })
    .needs(Capability::Adopt),
    Check::new(
        "lost::kill_host",
        "what a Controller began that was killed is lost, or happens twice",
        HALF_MADE,
        |bench| Box::pin(kill_host(bench)),
    )
    .needs(Capability::Adopt),
    Check::new("lost::stop_reply", "a stop whose answer was lost cannot be asked again", DROPPED, |bench| {
        Box::pin(stop_reply(bench))
    }),
    Check::new(
        "lost::remove_reply",
        "a removal whose answer was lost cannot be asked again",
        DROPPED,
        |bench| Box::pin(remove_reply(bench)),
    ),
    Check::new("lost::stop_dropped", "a stop that was given up cannot be asked again", DROPPED, |bench| {
        Box::pin(stop_dropped(bench))
    }),
    Check::new(
        "lost::remove_dropped",
        "a removal that was given up cannot be asked again",
        DROPPED,
        |bench| Box::pin(remove_dropped(bench)),
    ),
];

async fn create_reply(bench: &Bench) -> Verdict {
    let spec = bench.spec();
    let faulty = Faulty::new(bench.platform.clone(), Fault::Reply);
    match faulty.create_runner(&spec).await {
        Ok(created) => ensure!(created.existed, "an instance that was found says that it was made"),
        // There, and not seen to be started: it may be half made, and is asked for again.
        Err(error) => {
            ensure!(error.effect == Effect::Unknown, "the lost answer is told to have had no effect");
            let seen = bench.status(spec.runner).await?;
            ensure!(seen.is_some(), "what was created is not observed at once");
        }
    }
    ensure!(bench.create(&spec).await?.existed, "asked again, it was made again");
    bench.one_start(spec.runner).await
}

async fn create_request(bench: &Bench) -> Verdict {
    let spec = bench.spec();
    let faulty = Faulty::new(bench.platform.clone(), Fault::Request);
    match faulty.create_runner(&spec).await {
        Ok(_) => return Err(Flaw::broken("observe tells of an instance that nobody was asked for")),
        Err(error) => {
            ensure!(error.effect == Effect::Unknown, "the lost create is told to have had no effect")
        }
    }
    ensure!(!bench.create(&spec).await?.existed, "the first create that arrived says that it existed");
    bench.one_start(spec.runner).await
}

/// Every way to give up a call; for each of them, until one is not given up any more.
fn drops() -> impl Iterator<Item = Fault> {
    (0..=POLLS_MAX).map(Fault::DroppedAt)
}

async fn create_dropped(bench: &Bench) -> Verdict {
    let mut keys = Vec::new();
    for fault in drops() {
        let (spec, hit) = give_up_create(&bench.platform, bench.spec(), fault).await?;
        complete(bench, &*bench.platform, &spec, &format!("{fault:?}")).await?;
        keys.push(spec.runner);
        if !hit {
            break;
        }
    }
    bench.no_second_start(&keys).await
}

async fn half_made(bench: &Bench) -> Verdict {
    let mut keys = Vec::new();
    for fault in drops() {
        let dies = bench.fresh().await?;
        let (spec, hit) = give_up_create(&dies, bench.spec(), fault).await?;
        drop(dies);
        complete(bench, &*bench.fresh().await?, &spec, &format!("{fault:?}")).await?;
        keys.push(spec.runner);
        if !hit {
            break;
        }
    }
    bench.no_second_start(&keys).await
}

async fn kill_host(bench: &Bench) -> Verdict {
    let mut keys = Vec::new();
    let moments = (0..KILLS).map(|part| (CREATING, bench.times.start * part / KILLS));
    for (doing, at) in moments.chain([(PREPARING, bench.times.start / 2)]) {
        let moment = |_| async move {
            sleep(at).await;
            Ok(())
        };
        let spec = create_in_host(bench, doing, moment).await?;
        let when = format!("killed {at:?} after it was {doing}");
        complete(bench, &*bench.fresh().await?, &spec, &when).await?;
        keys.push(spec.runner);
    }
    let registered = |key| async move { bench.registered(key).await.map(drop) };
    let spec = create_in_host(bench, CREATING, registered).await?;
    let when = "killed after the instance registered";
    let created = complete(bench, &*bench.fresh().await?, &spec, when).await?;
    ensure!(created.existed, "{when}: asked again, it was made again");
    keys.push(spec.runner);
    bench.no_second_start(&keys).await
}

/// Has a host create an instance, and kills it at that moment after it said that it is doing this.
async fn create_in_host<F>(
    bench: &Bench,
    doing: &str,
    moment: impl FnOnce(RunnerKey) -> F,
) -> Result<InstanceSpec, Flaw>
where
    F: Future<Output = Verdict>,
{
    let key = bench.key();
    let asked = bench.asked(key, bench.secret(key));
    let Some(host) = bench.fixture.host() else {
        return Err(Flaw::not_proven("the fixture has no process that hosts the platform"));
    };
    let begun = timeout(bench.times.patience, begin(host, &asked, doing)).await;
    let begun = begun.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let broken = |error| Flaw::broken(format!("the host of the platform: {error}"));
    let mut host = begun.map_err(broken)?;
    moment(key).await?;
    host.kill().await.map_err(broken)?;
    Ok(asked.instance(&*bench.fixture))
}

/// Has a host do this, until it says so. It is killed with what is answered.
async fn begin(host: std::process::Command, asked: &Asked, until: &str) -> io::Result<Child> {
    let mut host = Command::from(host);
    host.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut host = host.spawn()?;
    let (Some(tell), Some(says)) = (host.stdin.as_mut(), host.stdout.as_mut()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut line = serde_json::to_vec(asked)?;
    line.push(b'\n');
    tell.write_all(&line).await?;
    let mut said = BufReader::new(says).lines();
    while let Some(line) = said.next_line().await? {
        if line == until {
            return Ok(host);
        }
    }
    Err(io::Error::other(format!("it ended before it said `{until}`")))
}

/// Creates and gives up there; says whether it was given up indeed.
async fn give_up_create(
    platform: &Arc<dyn Platform>,
    spec: InstanceSpec,
    fault: Fault,
) -> Result<(InstanceSpec, bool), Flaw> {
    let faulty = Faulty::new(platform.clone(), fault);
    match faulty.create_instance(&spec).await {
        Err(error) if !faulty.hit() => Err(error.into()),
        _ => Ok((spec, faulty.hit())),
    }
}

/// Asks until it is taken, and waits until it runs.
async fn complete(
    bench: &Bench,
    platform: &dyn Platform,
    spec: &InstanceSpec,
    when: &str,
) -> Result<Created, Flaw> {
    let what = format!("{when}: the create is taken when asked again");
    let created = bench.until(&what, || async { busy_or(platform.create_runner(spec).await) }).await?;
    let registered = || async { Ok(bench.controller.probes(spec.runner).pop()) };
    bench.until(&format!("{when}: the instance registers"), registered).await?;
    bench.status_on(platform, spec.runner).await?;
    Ok(created)
}

/// Work that is under way may make a platform refuse for the moment.
fn busy_or<T>(outcome: Result<T, PlatformError>) -> Result<Option<T>, Flaw> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind == ErrorKind::Busy => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn stop_reply(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.order(Order::IgnoreTerm).await?;
    let faulty = Faulty::new(bench.platform.clone(), Fault::Reply);
    let answer = faulty.stop_instance(&live.instance, bench.times.patience * 10).await;
    ensure!(faulty.hit(), "the stop was refused: {answer:?}");
    bench.platform.stop_instance(&live.instance, NOW).await?;
    let exit = bench.ended(live.key()).await?;
    ensure!(exit.asked, "it was asked to end, and is told to have ended by itself: {exit:?}");
    Ok(())
}

async fn remove_reply(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    let faulty = Faulty::new(bench.platform.clone(), Fault::Reply);
    let answer = faulty.remove_instance(&live.instance, RemoveOptions::forced()).await;
    ensure!(faulty.hit(), "the removal was refused: {answer:?}");
    ensure!(bench.status(live.key()).await?.is_none(), "it was removed, and is still told of");
    bench.platform.remove_instance(&live.instance, RemoveOptions::forced()).await?;
    bench.gone(&live.probe).await
}

async fn stop_dropped(bench: &Bench) -> Verdict {
    for fault in drops() {
        let Live { spec, instance, .. } = bench.start().await?;
        let faulty = Faulty::new(bench.platform.clone(), fault);
        let _ = faulty.stop_instance(&instance, NOW).await;
        bench.platform.stop_instance(&instance, NOW).await?;
        bench.ended(spec.runner).await?;
        if !faulty.hit() {
            break;
        }
    }
    Ok(())
}

async fn remove_dropped(bench: &Bench) -> Verdict {
    for fault in drops() {
        let live = bench.start().await?;
        let faulty = Faulty::new(bench.platform.clone(), fault);
        let _ = faulty.remove_instance(&live.instance, RemoveOptions::forced()).await;
        let again = || async {
            busy_or(bench.platform.remove_instance(&live.instance, RemoveOptions::forced()).await)
        };
        bench.until(&format!("{fault:?}: the removal is taken when asked again"), again).await?;
        ensure!(bench.status(live.key()).await?.is_none(), "{fault:?}: it is still told of");
        bench.gone(&live.probe).await?;
        if !faulty.hit() {
            break;
        }
    }
    Ok(())
}
