//! The life of a Runner.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::key::Instance;
use ftl_core::routing::Load;
use ftl_core::runner::{Crash, Report};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, set_parent_process_death_signal};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::agent::Agent;
use crate::control::{Control, Parting};
use crate::deploy::Deploying;
use crate::options::Options;
use crate::output::Output;

/// How often a draining Runner looks whether calls are still running.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// How long the last output may take to reach the Controller.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
/// How long after a request to end the lifeline may take to close, if it was the end of the parent that asked: both
/// are the kernel's doing, at one moment.
const LIFELINE_LOOK: Duration = Duration::from_millis(50);
/// How long the user code of an orphan may take to end: nobody waits for its calls any more.
const ORPHAN_GRACE: Duration = Duration::from_millis(300);

/// How a Runner ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It was asked to.
    Asked,
    /// Its slot does not exist any more.
    Gone,
    /// No Controller has let it in for so long that none will.
    Forgotten,
    /// Whoever started it is no more.
    Orphaned,
    /// Its deployment ended.
    Crashed(Crash),
}

impl From<Parting> for Ending {
    fn from(parting: Parting) -> Self {
        match parting {
            Parting::Gone => Self::Gone,
            Parting::Forgotten => Self::Forgotten,
        }
    }
}

/// Runs until the Runner ends. Call it on the main thread of a process of its own, on a current-thread runtime.
///
/// # Errors
/// When signals cannot be watched or no random bytes can be had.
pub async fn run(options: Options) -> std::io::Result<Ending> {
    // The boot secret is in memory: keep other processes of this user from reading it. Not every kernel knows how.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let lifeline = lifeline(options.lifeline);
    tokio::pin!(lifeline);
    let mut requests = Requests::watch()?;
    let agent = Arc::new(Agent::new(options.boot.runner, random_instance()?));
    let control = Arc::new(Control::new(&options.boot, agent.clone(), options.timings));
    let output = Arc::new(Output::default());
    // All three end with this function, because their sets do.
    let (mut keeping, mut helping) = (JoinSet::new(), JoinSet::new());
    keeping.spawn({
        let control = control.clone();
        async move { control.keep().await }
    });
    helping.spawn({
        let (control, output) = (control.clone(), output.clone());
        async move { control.ship(&output).await }
    });
    helping.spawn(drain_when_told(agent.clone()));

    let deploying = Deploying {
        agent: &agent,
        control: &control,
        output: &output,
        directory: &options.directory,
        libraries: options.libraries,
        timings: options.timings,
    };
    let (stop, stopped) = watch::channel(None);
    let life = deploying.live(stopped);
    tokio::pin!(life);
    let ending = tokio::select! {
        crash = &mut life => crash.map_or(Ending::Asked, Ending::Crashed),
        parting = keeping.join_next() => parting.and_then(Result::ok).map_or(Ending::Gone, Ending::from),
        () = &mut lifeline => Ending::Orphaned,
        // The parent-death signal is the same as a request to end: the lifeline tells them apart.
        () = requests.come() => match timeout(LIFELINE_LOOK, &mut lifeline).await {
            Ok(()) => Ending::Orphaned,
            Err(_) => Ending::Asked,
        },
    };
    let crash = match &ending {
        Ending::Crashed(crash) => Some(crash.clone()),
        _ => {
            info!(?ending, "ending");
            let finished = async {
                if matches!(ending, Ending::Asked | Ending::Forgotten) {
                    finish_calls(&agent, &control, &mut keeping, options.timings.grace).await;
                }
            };
            // It may end by itself while its calls are waited for.
            tokio::select! {
                crash = &mut life => crash,
                () = finished => {
                    let orphaned = ending == Ending::Orphaned;
                    stop.send_replace(Some(if orphaned { ORPHAN_GRACE } else { options.timings.child_grace }));
                    life.await
                }
            }
        }
    };
    match crash {
        Some(crash) => say_last_words(&agent, &control, &output, &crash).await,
        None if ending == Ending::Orphaned => {}
        None => ship_last_output(&control, &output).await,
    }
    Ok(ending)
}

fn random_instance() -> std::io::Result<Instance> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    Ok(Instance(random))
}

/// Requests of the system to end.
struct Requests {
    term: Signal,
    interrupt: Signal,
}

impl Requests {
    fn watch() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reports `Drained` when the Controller asked for a drain and no call is running any more.
async fn drain_when_told(agent: Arc<Agent>) {
    let mut drain_by = agent.drain_by.subscribe();
    // The sender is in the agent that this task holds, so it cannot be gone.
    let deadline = drain_by.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
    wait_for_calls(&agent, deadline.unwrap_or_else(Instant::now)).await;
    agent.phase.send_if_modified(|phase| {
        let draining = *phase == Report::Draining;
        if draining {
            *phase = Report::Drained;
        }
        draining
    });
}

/// Lets calls finish when somebody else than the Controller asks the Runner to end.
async fn finish_calls(agent: &Agent, control: &Control, keeping: &mut JoinSet<Parting>, grace: Duration) {
    if !matches!(*agent.phase.borrow(), Report::Starting | Report::Ready | Report::Draining) {
        return;
    }
    agent.begin_drain(Instant::now() + grace);
    // The Controller must hear of it before the calls end, so that it sends no more of them, and so that it does not
    // take the end for a crash.
    tokio::select! {
        () = control.unreachable() => {}
        () = control.told(&Report::Draining) => {}
        () = control.told(&Report::Drained) => {}
        _ = keeping.join_next() => {}
    }
    let deadline = agent.drain_by.borrow().unwrap_or_else(Instant::now);
    wait_for_calls(agent, deadline).await;
}

async fn wait_for_calls(agent: &Agent, deadline: Instant) {
    while let Some(user_code) = agent.user_code.get()
        && user_code.open_calls() > 0
        && Instant::now() < deadline
    {
        sleep(DRAIN_LOOK).await;
    }
}

/// Tells the Controller how the deployment ended, after its last output.
async fn say_last_words(agent: &Agent, control: &Control, output: &Output, crash: &Crash) {
    warn!(reason = %crash.reason, "the deployment ended");
    let report = Report::Crashed(crash.clone());
    agent.phase.send_replace(report.clone());
    tokio::join!(control.told(&report), ship_last_output(control, output));
}

/// Waits until the Controller has everything that the user code wrote, as long as there is one.
async fn ship_last_output(control: &Control, output: &Output) {
    let emptied = async {
        while !output.is_empty() {
            sleep(DRAIN_LOOK).await;
        }
    };
    tokio::select! {
        _ = timeout(LAST_OUTPUT, emptied) => {}
        () = control.unreachable() => {}
    }
}

/// Resolves when whoever started this Runner is no more; never, if it is not tied.
async fn lifeline(tied: bool) {
    if !tied {
        return std::future::pending().await;
    }
    // Sooner than the pipe where there is one: SIGTERM, so that the user code is ended in order.
    let _ = set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    let (closed, closing) = oneshot::channel();
    // A thread, because a read of a pipe that is somebody's standard input cannot be cancelled. It ends with us.
    std::thread::spawn(move || {
        let mut byte = [0];
        while std::io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        let _ = closed.send(());
    });
    let _ = closing.await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Timings;
    use ftl_core::Secret;
    use ftl_core::boot::Boot;
    use ftl_core::key::{Epoch, RunnerKey};

    /// A Runner whose Controller is at this address.
    fn options(directory: &std::path::Path, controller: String, orphan: Duration) -> Options {
        let (cluster, language) = ("c".parse().unwrap(), "rust".parse().unwrap());
        let secret = Secret::new([7; 32]);
        let boot = Boot::new(cluster, RunnerKey(1), language, Epoch(1), vec![controller], secret);
        let redial_max = Duration::from_millis(20);
        let timings = Timings { orphan, redial_first: redial_max, redial_max, ..Timings::default() };
        Options { boot, directory: directory.to_owned(), lifeline: false, libraries: false, timings }
    }

    #[tokio::test]
    async fn a_runner_that_no_controller_lets_in_ends_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let nobody = format!("unix:{}", directory.path().join("nobody").display());
        let orphan = Duration::from_millis(300);
        let started = Instant::now();
        let running = run(options(directory.path(), nobody, orphan));
        let ending = timeout(Duration::from_secs(20), running).await.unwrap().unwrap();
        assert_eq!(ending, Ending::Forgotten);
        assert!(started.elapsed() >= orphan, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_runner_that_is_not_let_in_for_a_while_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let nobody = format!("unix:{}", directory.path().join("nobody").display());
        let running = run(options(directory.path(), nobody, Timings::default().orphan));
        assert!(timeout(Duration::from_millis(300), running).await.is_err());
    }
}
