//! How it ended is known exactly, or said not to be known.

use ftl_core::PlatformExt;
use ftl_core::platform::{Capability, Exit};

use crate::bench::{Bench, Live};
use crate::check::{Check, Flaw, Verdict, ensure};
use crate::probe::{AT_ONCE_VARIABLE, Answer, Order};

/// Every code that some backend takes for something else.
const CODES: [u8; 8] = [0, 1, 42, 125, 126, 127, 137, 255];
/// Aborted, killed, and a signal without meaning.
const SIGNALS: [i32; 3] = [6, 9, 10];
/// The memory that a probe may have, and what it tries to take, in bytes.
const MEMORY: u64 = 64 << 20;
const TOO_MUCH: usize = 512 << 20;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "exit::codes",
        "a code is lost, or taken for a signal",
        "exit_code: the exit code is known exactly",
        |bench| Box::pin(codes(bench)),
    )
    .needs(Capability::ExitCode),
    Check::new(
        "exit::signal",
        "a signal is lost, or taken for a code",
        "exit_signal: the signal is known exactly",
        |bench| Box::pin(signal(bench)),
    )
    .needs(Capability::ExitSignal),
    Check::new(
        "exit::oom",
        "memory that ran out looks like a kill",
        "exit_oom: whether memory ran out is known exactly",
        |bench| Box::pin(oom(bench)),
    )
    .needs(Capability::ExitOom),
    Check::new(
        "exit::child_oom",
        "a child's lack of memory is taken for the end of its parent",
        "exit_oom: whether memory ran out is known exactly",
        |bench| Box::pin(child_oom(bench)),
    )
    .needs(Capability::ExitOom),
    Check::new(
        "exit::by_itself",
        "an end that nobody asked for looks like one that somebody did",
        "Exit: \"whether it was asked to end\"",
        |bench| Box::pin(by_itself(bench)),
    ),
    Check::new(
        "exit::panic",
        "a panic hurts others, or looks like an end in order",
        "rule 7: what is not known is None, never 0",
        |bench| Box::pin(panic(bench)),
    ),
    Check::new(
        "exit::crash",
        "an instance that aborts takes others with it",
        "process: a crash hurts nobody else",
        |bench| Box::pin(crash(bench)),
    )
    .needs(Capability::Process),
    Check::new(
        "exit::at_once",
        "a program that ends at once is not seen, or its words are lost",
        "observe: \"ended ones until they are removed\"",
        |bench| Box::pin(at_once(bench)),
    )
    .needs(Capability::Logs),
    Check::new(
        "exit::no_restart",
        "what ended is started again",
        "rule 6: never restart an instance",
        |bench| Box::pin(no_restart(bench)),
    ),
];

/// What is told of the end of a probe that was ordered to end so.
pub(super) async fn exit_after(bench: &Bench, order: Order) -> Result<Exit, Flaw> {
    let live = bench.start().await?;
    live.probe.end(order).await?;
    bench.ended(live.key()).await
}

async fn codes(bench: &Bench) -> Verdict {
    for code in CODES {
        let exit = exit_after(bench, Order::Exit { code }).await?;
        ensure!(exit.code == Some(i32::from(code)), "it ended with {code}, and is told: {exit:?}");
        ensure!(exit.signal.is_none(), "it ended with {code}, and a signal is told: {exit:?}");
        ensure!(exit.oom != Some(true), "it ended with {code}, and is told to have had no memory");
    }
    Ok(())
}

async fn signal(bench: &Bench) -> Verdict {
    for number in SIGNALS {
        let exit = exit_after(bench, Order::Signal { number }).await?;
        ensure!(exit.signal == Some(number), "signal {number} ended it, and is told: {exit:?}");
        ensure!(exit.code.is_none(), "signal {number} ended it, and a code is told: {exit:?}");
    }
    Ok(())
}

/// Starts a probe whose memory is bounded.
async fn start_bounded(bench: &Bench) -> Result<Live, Flaw> {
    if !bench.can(Capability::LimitMemory) {
        return Err(Flaw::broken("exit_oom is claimed, but memory cannot be limited"));
    }
    let mut spec = bench.spec();
    spec.needs.limits.memory_bytes = Some(MEMORY);
    bench.start_on(&*bench.platform, spec).await
}

async fn oom(bench: &Bench) -> Verdict {
    let live = start_bounded(bench).await?;
    live.probe.end(Order::Eat { bytes: TOO_MUCH }).await?;
    let exit = bench.ended(live.key()).await?;
    ensure!(exit.oom == Some(true), "its memory ran out, and is told: {exit:?}");
    let killed = bench.start().await?;
    bench.platform.stop_instance(&killed.instance, std::time::Duration::ZERO).await?;
    let exit = bench.ended(killed.key()).await?;
    ensure!(exit.oom != Some(true), "it was killed on request, and is told to have had no memory");
    Ok(())
}

async fn child_oom(bench: &Bench) -> Verdict {
    let live = start_bounded(bench).await?;
    live.probe.order(Order::EatInAChild { bytes: TOO_MUCH }).await?;
    bench.running_on(&*bench.platform, live.key()).await?;
    live.probe.end(Order::Exit { code: 7 }).await?;
    let exit = bench.ended(live.key()).await?;
    ensure!(exit.oom != Some(true), "its child's memory ran out, and is told to have been its own");
    let code = bench.can(Capability::ExitCode).then_some(7);
    ensure!(exit.code == code, "it ended with 7 after its child was killed, and is told: {exit:?}");
    Ok(())
}

async fn by_itself(bench: &Bench) -> Verdict {
    let exit = exit_after(bench, Order::Exit { code: 0 }).await?;
    ensure!(!exit.asked, "nobody asked it to end: {exit:?}");
    ensure!(!exit.never_started, "it ran, and is told to have never started: {exit:?}");
    Ok(())
}

async fn panic(bench: &Bench) -> Verdict {
    let other = bench.start().await?;
    let exit = exit_after(bench, Order::Panic).await?;
    ensure!(exit.code != Some(0), "it panicked, and is told to have ended with 0");
    ensure!(!exit.asked && !exit.never_started, "it panicked by itself, and is told: {exit:?}");
    let told = exit.code.is_some() || exit.message.is_some();
    ensure!(told || !bench.can(Capability::ExitCode), "nothing is told of a panic");
    ensure!(other.probe.serves().await, "the panic of one ended another");
    Ok(())
}

async fn crash(bench: &Bench) -> Verdict {
    let other = bench.start().await?;
    exit_after(bench, Order::Signal { number: 6 }).await?;
    bench.never("the crash of one ended another", || async { Ok(!other.probe.serves().await) }).await
}

async fn at_once(bench: &Bench) -> Verdict {
    let mut spec = bench.spec();
    spec.env.insert(AT_ONCE_VARIABLE.to_owned(), "7 gone in a moment".to_owned());
    let instance = bench.create(&spec).await?.instance;
    let exit = bench.ended(spec.runner).await?;
    let code = bench.can(Capability::ExitCode).then_some(7);
    ensure!(exit.code == code, "it ended at once with 7, and is told: {exit:?}");
    ensure!(!exit.never_started, "it ran for a moment, and is told to have never started");
    if bench.can(Capability::LogsAfterExit) {
        let words = bench.platform.tail(&instance, 10).await?;
        ensure!(words == ["gone in a moment"], "its words were {words:?}");
    }
    Ok(())
}

async fn no_restart(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.end(Order::Exit { code: 1 }).await?;
    bench.ended(live.key()).await?;
    let again = || async {
        let state = bench.status(live.key()).await?;
        Ok(bench.starts(live.key()) > 1 || !state.is_some_and(|status| status.ended()))
    };
    bench.never("it ended, and runs again", again).await
}

/// Without the claim, instances share a process: what ends it ends them all.
pub(super) async fn one_process(bench: &Bench) -> Verdict {
    let mut processes = Vec::new();
    for _ in 0..2 {
        if let Answer::Seen { process, .. } = bench.start().await?.probe.order(Order::Look).await? {
            processes.push(process);
        }
    }
    if processes.first() != processes.last() {
        return Err(Flaw::not_proven("each instance has a process of its own, and that is not claimed"));
    }
    Ok(())
}

/// Without the claim, no code is told of an end with a code.
pub(super) async fn no_code(bench: &Bench) -> Verdict {
    let exit = exit_after(bench, Order::Exit { code: 42 }).await?;
    ensure!(exit.code.is_none(), "a code is told that is not claimed to be known: {exit:?}");
    Ok(())
}

/// Without the claims, neither a signal nor a lack of memory is told of an end by force.
pub(super) async fn no_cause(bench: &Bench, claim: Capability) -> Verdict {
    let live = bench.start().await?;
    live.probe.order(Order::IgnoreTerm).await?;
    bench.platform.stop_instance(&live.instance, std::time::Duration::ZERO).await?;
    let exit = bench.ended(live.key()).await?;
    let told = if claim == Capability::ExitSignal { exit.signal.is_some() } else { exit.oom.is_some() };
    ensure!(!told, "a cause is told that is not claimed to be known: {exit:?}");
    Ok(())
}
