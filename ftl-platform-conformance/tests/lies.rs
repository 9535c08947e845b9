//! The suite is checked by lies: each must be found out by the check that is about it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ftl_core::platform::Capability;
use ftl_platform_conformance::fixtures::Memory;
use ftl_platform_conformance::{Fixture, Outcome, Selection, all, run};
use futures_util::{StreamExt, stream};
use support::lying::{Lie, LyingFixture};

/// Lies that are told at once.
const PARALLEL: usize = 24;
/// Short, because many lies are found out when it is over, and whoever lies may also be late.
const PATIENCE: Duration = Duration::from_secs(4);
/// Long, because other lies are found out only if a second event comes before it is over.
const QUIET: Duration = Duration::from_secs(3);

/// Who lies.
#[derive(Clone, Copy, Debug)]
enum Who {
    Memory,
    Local,
    Detached,
}
use Who::{Detached, Local, Memory as Tasks};

/// Who tells which lie, and which check must find it out.
const LIES: &[(Who, Lie, &str)] = &[
    (Tasks, Lie::IsNeverReady, "create::registers"),
    (Tasks, Lie::StartsNothing, "create::registers"),
    (Tasks, Lie::StartsTwice, "create::boots_once"),
    (Tasks, Lie::SeesLate, "create::observed_at_once"),
    (Tasks, Lie::DropsEnvironment, "create::environment"),
    (Local, Lie::CutsValues, "create::environment"),
    (Local, Lie::OnlyAscii, "create::environment"),
    (Tasks, Lie::TrustsNatives, "create::bad_names"),
    (Tasks, Lie::MissingRuns, "create::missing_program"),
    (Local, Lie::BareErrno, "create::missing_program"),
    (Local, Lie::BareErrno, "create::not_executable"),
    (Local, Lie::Denies(Capability::ProgramBinary), "create::not_executable"),
    (Tasks, Lie::NeverExisted, "idem::twice"),
    (Tasks, Lie::ChecksThenActs, "idem::eight_parallel"),
    (Tasks, Lie::OtherIsTheSame, "idem::other_digest"),
    (Tasks, Lie::ObeysThePast, "idem::lower_generation"),
    (Tasks, Lie::RestartsForTheFuture, "idem::higher_generation"),
    (Tasks, Lie::RevivesTheEnded, "idem::ended_stays_ended"),
    (Tasks, Lie::BootCounts, "idem::other_boot"),
    (Tasks, Lie::RemembersTheRemoved, "idem::after_remove"),
    (Tasks, Lie::SeesLate, "lost::create_reply"),
    (Tasks, Lie::TellsWhatIsNotThere, "lost::create_request"),
    (Tasks, Lie::MarksBeforeItCreates, "lost::create_dropped"),
    (Local, Lie::MarksBeforeItCreates, "lost::create_dropped"),
    (Detached, Lie::MarksBeforeItCreates, "lost::half_made"),
    (Detached, Lie::LosesWhatTheDeadBegan, "lost::kill_host"),
    (Tasks, Lie::SecondStopIsAnError, "lost::stop_reply"),
    (Tasks, Lie::RemovalOfNothingIsAnError, "lost::remove_reply"),
    (Tasks, Lie::MarksBeforeItStops, "lost::stop_dropped"),
    (Tasks, Lie::MarksBeforeItRemoves, "lost::remove_dropped"),
    (Tasks, Lie::Claims(Capability::Adopt), "adopt::new_value_sees"),
    (Tasks, Lie::OutlivesItself, "adopt::new_value_sees"),
    (Detached, Lie::Denies(Capability::Adopt), "adopt::new_value_sees"),
    (Local, Lie::Claims(Capability::Adopt), "adopt::exit_unwatched"),
    (Local, Lie::Claims(Capability::Adopt), "adopt::complete"),
    (Tasks, Lie::SeesAllClusters, "adopt::other_cluster"),
    (Local, Lie::TouchesTheForeign, "adopt::foreign_lookalike"),
    (Tasks, Lie::StopsNothing, "stop::graceful"),
    (Tasks, Lie::GivesNoGrace, "stop::grace_respected"),
    (Tasks, Lie::SaysStoppingIsEnded, "stop::grace_respected"),
    (Tasks, Lie::SaysStoppingIsEnded, "stop::kills"),
    (Local, Lie::GivesAllGrace, "stop::kills"),
    (Local, Lie::GivesNoGrace, "stop::kills"),
    (Local, Lie::Denies(Capability::Kill), "stop::kills"),
    (Local, Lie::HearsTheFirstStop, "stop::shortens"),
    (Tasks, Lie::StopOfNothingIsAnError, "stop::ended_or_unknown"),
    (Tasks, Lie::LosesStopsOfTheUnseen, "stop::while_starting"),
    (Local, Lie::LosesStopsOfTheUnseen, "stop::while_starting"),
    (Local, Lie::Claims(Capability::KillTree), "stop::tree"),
    (Tasks, Lie::RemovesWhatRuns, "remove::running"),
    (Tasks, Lie::RemovesNothing, "remove::ended"),
    (Tasks, Lie::ForceHides, "remove::force"),
    (Tasks, Lie::RemovalOfNothingIsAnError, "remove::twice"),
    (Local, Lie::ZeroIsTheCode, "exit::codes"),
    (Tasks, Lie::ZeroIsTheCode, "exit::codes"),
    (Local, Lie::SignalIsACode, "exit::signal"),
    (Local, Lie::Denies(Capability::ExitSignal), "exit::signal"),
    (Local, Lie::Claims(Capability::ExitOom), "exit::oom"),
    (Local, Lie::NoMemoryIsFalse, "exit::oom"),
    (Local, Lie::NoMemoryIsAKill, "exit::oom"),
    (Local, Lie::AnyNoMemoryIsItsOwn, "exit::child_oom"),
    (Tasks, Lie::EverybodyAsked, "exit::by_itself"),
    (Tasks, Lie::ZeroIsTheCode, "exit::panic"),
    (Local, Lie::CrashSpreads, "exit::crash"),
    (Local, Lie::ForgetsTheQuick, "exit::at_once"),
    (Tasks, Lie::Restarts, "exit::no_restart"),
    (Local, Lie::LosesTheLastLine, "logs::last_words"),
    (Tasks, Lie::OutputIsEmpty, "logs::last_words"),
    (Local, Lie::HidesLosses, "logs::counted"),
    (Local, Lie::TellsTheOldest, "logs::tail"),
    (Local, Lie::Denies(Capability::Logs), "logs::tail"),
    (Local, Lie::HidesLosses, "logs::odd"),
    (Local, Lie::DoesNotFollow, "logs::follow_ends"),
    (Local, Lie::FollowsForEver, "logs::follow_ends"),
    (Local, Lie::LosesTheLateReader, "logs::slow_reader"),
    (Local, Lie::ForgetsOutput, "logs::after_exit"),
    (Local, Lie::OneStream, "logs::split"),
    (Local, Lie::Denies(Capability::LogsSplit), "logs::split"),
    (Tasks, Lie::BootInTheEnvironment, "secret::argv_env"),
    (Local, Lie::BootInTheEnvironment, "secret::backend_view"),
    (Tasks, Lie::DebugTells, "secret::told"),
    (Local, Lie::LeavesAFile, "secret::gone"),
    (Tasks, Lie::ForceHides, "garbage::remove"),
    (Local, Lie::LeavesAFile, "garbage::failed_create"),
    (Tasks, Lie::ReleasesNothing, "garbage::release"),
];

/// What the check says of the lie.
async fn told(number: usize, who: Who, lie: Lie, check: &str) -> Outcome {
    let (inner, folder): (Arc<dyn Fixture>, _) = match who {
        Who::Memory => (Arc::new(Memory::default()), tempfile::tempdir().unwrap()),
        Who::Local => {
            let (fixture, folder) = support::tied();
            (Arc::new(fixture), folder)
        }
        Who::Detached => {
            let (fixture, folder) = support::detached();
            (Arc::new(fixture), folder)
        }
    };
    let (folder_path, values) = (folder.path().to_owned(), AtomicUsize::new(0));
    let (touched, known) = (Arc::default(), Arc::default());
    let fixture = LyingFixture { inner, lie, folder: folder_path, values, touched, known };
    let mut selection = Selection::all(support::seed(number as u16)).only(check);
    (selection.waits.patience, selection.waits.quiet) = (PATIENCE, QUIET);
    let report = run(Arc::new(fixture), &selection, |_| {}).await.unwrap();
    report.findings[0].outcome.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_is_found_out() {
    let told = |(number, (who, lie, check)): (usize, &(Who, Lie, &'static str))| {
        let (who, lie, check) = (*who, *lie, *check);
        async move { (who, lie, check, told(number, who, lie, check).await) }
    };
    let told = stream::iter(LIES.iter().enumerate().map(told));
    let told: Vec<_> = told.buffer_unordered(PARALLEL).collect().await;
    let mut survived = Vec::new();
    for (who, lie, check, outcome) in told {
        match outcome {
            // What is found only when all is over was found by the cleaning, and not by the check.
            Outcome::Fail(why) if !why.starts_with("cleaning up") => {
                println!("{check}: {who:?} {lie:?}: {why}")
            }
            other => survived.push(format!("{check}: {who:?} {lie:?}: {other:?}")),
        }
    }
    assert!(survived.is_empty(), "{survived:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_cannot_be_looked_at_is_not_empty() {
    let Outcome::Fail(why) = told(LIES.len(), Tasks, Lie::CannotBeSeen, "create::registers").await else {
        panic!()
    };
    assert!(why.starts_with("cleaning up") && why.contains("the backend is away"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_although_it_is_not_promised_is_not_proven() {
    let denied = [(Capability::Process, "exit::crash"), (Capability::SecretFiles, "secret::backend_view")];
    for (number, (capability, check)) in (LIES.len() + 1..).zip(denied) {
        let outcome = told(number, Local, Lie::Denies(capability), check).await;
        assert!(matches!(outcome, Outcome::NotProven(_)), "{check}: {outcome:?}");
    }
}

#[test]
fn every_check_has_a_lie() {
    let lied_about: BTreeSet<_> = LIES.iter().map(|(_, _, check)| *check).collect();
    let checks: BTreeSet<_> = all().iter().map(|check| check.name).collect();
    assert_eq!(lied_about, checks);
}
