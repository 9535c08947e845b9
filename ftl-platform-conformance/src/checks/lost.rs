//! What was lost on its way happens once all the same.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::platform::{Capability, Effect, ErrorKind, InstanceSpec, PlatformError, RemoveOptions};
use ftl_core::{Platform, PlatformExt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::bench::{Bench, Live};
use crate::check::{Check, Flaw, Verdict, ensure};
use crate::faulty::{Fault, Faulty};
use crate::host::{Asked, BEGUN, CREATED};

/// A call that takes more polls than this is dropped at this many of them only.
const POLLS_MAX: usize = 64;
/// How long the shortest wait for a program's consent is.
const NOW: Duration = Duration::ZERO;
/// A host is killed at so many moments of a create, evenly apart, and once after it.
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
    let created = faulty.create_runner(&spec).await?;
    ensure!(created.existed, "an instance that was found says that it was made");
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
    for key in keys {
        ensure!(bench.starts(key) == 1, "runner {key} was started {} times", bench.starts(key));
    }
    Ok(())
}

async fn half_made(bench: &Bench) -> Verdict {
    for fault in drops() {
        let dies = bench.fresh().await?;
        let (spec, hit) = give_up_create(&dies, bench.spec(), fault).await?;
        drop(dies);
        complete(bench, &*bench.fresh().await?, &spec, &format!("{fault:?}")).await?;
        ensure!(bench.starts(spec.runner) == 1, "{fault:?}: started {} times", bench.starts(spec.runner));
        if !hit {
            break;
        }
    }
    Ok(())
}

async fn kill_host(bench: &Bench) -> Verdict {
    let mut keys = Vec::new();
    for part in 0..=KILLS {
        let key = bench.key();
        let asked = bench.asked(key, bench.secret(key));
        let Some(host) = bench.fixture.host() else {
            return Err(Flaw::not_proven("the fixture has no process that hosts the platform"));
        };
        // The last one is killed when all is done.
        let at = (part < KILLS).then(|| bench.times.start * part / KILLS);
        let killed = timeout(bench.times.patience, kill_at(host, &asked, at)).await;
        let killed = killed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        killed.map_err(|error| Flaw::broken(format!("the host of the platform: {error}")))?;
        let spec = asked.instance(&*bench.fixture);
        let when = match at {
            Some(at) => format!("killed {at:?} after it began"),
            None => "killed after the answer".to_owned(),
        };
        complete(bench, &*bench.fresh().await?, &spec, &when).await?;
        keys.push(key);
    }
    // Whoever was started twice may say so late.
    let twice = || async { Ok(keys.iter().any(|key| bench.starts(*key) > 1)) };
    bench.never("an instance was started by a Controller that was killed, and again", twice).await
}

/// Has a host do this, and kills it so long after it began, or when it is done.
async fn kill_at(host: std::process::Command, asked: &Asked, at: Option<Duration>) -> io::Result<()> {
    let mut host = Command::from(host);
    host.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut host = host.spawn()?;
    let (Some(mut tell), Some(says)) = (host.stdin.take(), host.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut line = serde_json::to_vec(asked)?;
    line.push(b'\n');
    tell.write_all(&line).await?;
    let mut said = BufReader::new(says).lines();
    let awaited = if at.is_some() { BEGUN } else { CREATED };
    loop {
        match said.next_line().await? {
            Some(line) if line == awaited => break,
            Some(_) => {}
            None => return Err(io::Error::other(format!("it ended before it said `{awaited}`"))),
        }
    }
    sleep(at.unwrap_or_default()).await;
    host.kill().await
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
async fn complete(bench: &Bench, platform: &dyn Platform, spec: &InstanceSpec, when: &str) -> Verdict {
    let what = format!("{when}: the create is taken when asked again");
    bench.until(&what, || async { busy_or(platform.create_runner(spec).await) }).await?;
    let registered = || async { Ok(bench.controller.probes(spec.runner).pop()) };
    bench.until(&format!("{when}: the instance registers"), registered).await?;
    bench.status_on(platform, spec.runner).await?;
    Ok(())
}

/// Work that is under way may make a platform refuse for the moment.
fn busy_or<T>(outcome: Result<T, PlatformError>) -> Result<Option<T>, Flaw> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind == ErrorKind::Busy => Ok(None),
        Err(error) => Err(error.into()),
    }
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
