//! Who is asked to end ends, in his own time or in ours, and is not told to have ended before.

use std::time::Duration;

use ftl_core::platform::{Capability, InstanceRef, InstanceState};
use tokio::time::{Instant, sleep};

use crate::bench::{Bench, Live};
use crate::check::{Check, Flaw, Verdict, chain, ensure};
use crate::controller::OrderError;
use crate::probe::{GRACEFUL_CODE, Order};

/// Longer than any check may take.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);
/// A grace that is over only long after whoever is killed at once was seen to be gone.
const GRACE: Duration = Duration::from_secs(2);
const ASK: &str = "stop_instance \"ask to end; kill when grace is over\"";

pub(super) const CHECKS: &[Check] = &[
    Check::new("stop::graceful", "a stop is taken, and the program hears nothing", ASK, |bench| {
        Box::pin(graceful(bench))
    }),
    Check::new("stop::grace_respected", "a program is killed before its grace is over", ASK, |bench| {
        Box::pin(grace_respected(bench))
    }),
    Check::new("stop::kills", "who does not want to end runs on", ASK, |bench| Box::pin(kills(bench)))
        .needs(Capability::Kill),
    Check::new(
        "stop::shortens",
        "a second, shorter grace is not heard",
        "stop_instance \"a later call may only shorten\"",
        |bench| Box::pin(shortens(bench)),
    )
    .needs(Capability::Kill),
    Check::new(
        "stop::ended_or_unknown",
        "a stop of what is not there is an error, or changes an end",
        "stop_instance \"ended or unknown: Ok\"",
        |bench| Box::pin(ended_or_unknown(bench)),
    ),
    Check::new(
        "stop::while_starting",
        "a stop before the program runs is lost",
        "stop_instance \"valid before the program runs\"",
        |bench| Box::pin(while_starting(bench)),
    ),
    Check::new(
        "stop::tree",
        "descendants outlive their instance",
        "kill_tree: all descendants of an instance end too",
        |bench| Box::pin(tree(bench)),
    )
    .needs(Capability::KillTree),
];

async fn graceful(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    bench.platform.stop_instance(&live.instance, LONG).await?;
    let exit = bench.ended(live.key()).await?;
    ensure!(exit.asked, "it was asked to end, and is told to have ended by itself: {exit:?}");
    ensure!(!exit.never_started, "it ran, and is told to have never started");
    if bench.can(Capability::ExitCode) {
        let own = Some(i32::from(GRACEFUL_CODE));
        ensure!(exit.code == own, "it ended by itself with {GRACEFUL_CODE}, and is told: {exit:?}");
    }
    bench.gone(&live.probe).await
}

/// A probe that does not end when asked to.
async fn stubborn(bench: &Bench) -> Result<Live, Flaw> {
    let live = bench.start().await?;
    live.probe.order(Order::IgnoreTerm).await?;
    Ok(live)
}

async fn grace_respected(bench: &Bench) -> Verdict {
    let live = stubborn(bench).await?;
    bench.platform.stop_instance(&live.instance, LONG).await?;
    bench.never("it was killed within its grace", || async { Ok(!live.probe.serves().await) }).await?;
    runs_on(bench, &live).await
}

/// Makes sure that an instance is told to run. A backend may not know that it was asked to end.
async fn runs_on(bench: &Bench, live: &Live) -> Verdict {
    let state = bench.status(live.key()).await?.map(|status| status.state);
    let honest = matches!(state, Some(InstanceState::Stopping | InstanceState::Running));
    ensure!(honest, "it was asked to end and runs on, and is told to be {state:?}");
    Ok(())
}

async fn kills(bench: &Bench) -> Verdict {
    let live = stubborn(bench).await?;
    let (grace, asked) = (bench.times.quiet.max(GRACE), Instant::now());
    bench.platform.stop_instance(&live.instance, grace).await?;
    let exit = bench.ended(live.key()).await?;
    ensure!(asked.elapsed() >= grace, "it was killed after {:?}, before its grace was over", asked.elapsed());
    ensure!(exit.asked, "it was asked to end, and is told to have ended by itself: {exit:?}");
    bench.gone(&live.probe).await
}

async fn shortens(bench: &Bench) -> Verdict {
    let live = stubborn(bench).await?;
    bench.platform.stop_instance(&live.instance, LONG).await?;
    bench.platform.stop_instance(&live.instance, Duration::ZERO).await?;
    bench.ended(live.key()).await?;
    let other = stubborn(bench).await?;
    bench.platform.stop_instance(&other.instance, bench.times.quiet).await?;
    bench.platform.stop_instance(&other.instance, LONG).await?;
    bench.ended(other.key()).await?;
    bench.gone(&other.probe).await
}

async fn ended_or_unknown(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.end(Order::Exit { code: 0 }).await?;
    let exit = bench.ended(live.key()).await?;
    bench.platform.stop_instance(&live.instance, Duration::ZERO).await?;
    let after = bench.ended(live.key()).await?;
    ensure!(exit == after, "a stop of what had ended made {exit:?} into {after:?}");
    let key = bench.key();
    let nobody = InstanceRef::new(bench.cluster.clone(), key, key.to_string());
    bench.platform.stop_instance(&nobody, Duration::ZERO).await?;
    ensure!(bench.status(key).await?.is_none(), "a stop made an instance");
    Ok(())
}

async fn while_starting(bench: &Bench) -> Verdict {
    for millis in [0, 5, 20, 50] {
        let spec = bench.spec();
        let instance = bench.create(&spec).await?.instance;
        // What is tried is a moment of the start, and no state that could be waited for.
        sleep(Duration::from_millis(millis)).await;
        bench.platform.stop_instance(&instance, bench.times.quiet).await?;
        let exit = bench.ended(spec.runner).await;
        let exit = exit.map_err(|_| {
            let serving = bench.starts(spec.runner);
            Flaw::broken(format!(
                "stopped {millis} ms after its create, it did not end; {serving} registered"
            ))
        })?;
        ensure!(exit.asked, "stopped {millis} ms after its create, it is told to have ended by itself");
        for probe in bench.controller.probes(spec.runner) {
            bench.gone(&probe).await?;
        }
    }
    Ok(())
}

async fn tree(bench: &Bench) -> Verdict {
    for crash in [false, true] {
        let live = bench.start().await?;
        live.probe.order(Order::Spawn).await?;
        let child = || async { Ok(bench.controller.children(live.key()).pop()) };
        let child = bench.until("the probe's child registers", child).await?;
        if crash {
            live.probe.end(Order::Panic).await?;
        } else {
            bench.platform.stop_instance(&live.instance, bench.times.quiet).await?;
        }
        bench.ended(live.key()).await?;
        let gone = bench.gone(&child).await;
        gone.map_err(|_| {
            let after = if crash { "a crash" } else { "a stop" };
            Flaw::broken(format!("a child in a session of its own still runs after {after}"))
        })?;
    }
    Ok(())
}

/// What a platform that does not claim `kill` does with a program that cannot be ended: it says that it still runs.
pub(super) async fn not_killed_is_stopping(bench: &Bench) -> Verdict {
    let live = stubborn(bench).await?;
    // It lets go when it is told to, and not after a time: whoever looks may be late.
    let hold = bench.controller.directory().join("hold");
    let no_means = |error: &dyn std::error::Error| Flaw::not_proven(chain(error));
    std::fs::write(&hold, "").map_err(|error| no_means(&error))?;
    live.probe.order(Order::Hog { hold: hold.clone() }).await.map_err(|error| no_means(&error))?;
    bench.platform.stop_instance(&live.instance, Duration::ZERO).await?;
    let told = bench.never("", || async { runs_on(bench, &live).await.map(|()| false) }).await;
    std::fs::remove_file(&hold).map_err(|error| no_means(&error))?;
    told?;
    bench.ended(live.key()).await?;
    Ok(())
}

/// What a platform that does not claim `kill_tree` does with a descendant: it leaves it alone. Where programs have none,
/// there is nothing to end.
pub(super) async fn child_left(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    match live.probe.order(Order::Spawn).await {
        Err(OrderError::Cannot(_)) => return Ok(()),
        spawned => spawned?,
    };
    let child = || async { Ok(bench.controller.children(live.key()).pop()) };
    let child = bench.until("the probe's child registers", child).await?;
    bench.platform.stop_instance(&live.instance, Duration::ZERO).await?;
    bench.ended(live.key()).await?;
    bench.gone(&live.probe).await?;
    let left = bench.never("", || async { Ok(!child.serves().await) }).await;
    if left.is_err() {
        return Err(Flaw::not_proven("a child ended with its parent, and that is not claimed"));
    }
    // Nobody else ends it.
    child.end(Order::Exit { code: 0 }).await?;
    bench.gone(&child).await
}
