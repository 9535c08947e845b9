//! Runs checks: time first, then each in a cluster of its own, and everything is cleaned up afterwards.

use std::sync::Arc;
use std::time::Duration;

use ftl_core::digest::Digest;
use ftl_core::platform::{Capability, PlatformError, ReleaseOptions};
use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, sleep, timeout};

use crate::bench::{Bench, Times, Waits, make};
use crate::check::{Check, Flaw, Outcome, chain, ensure};
use crate::checks::{all, refused};
use crate::fixture::Fixture;
use crate::report::{Finding, Report};

/// Names the cluster of the starts that are timed, as the name of a check names its.
const STARTS: &str = "starts";
/// Starts that are timed before anything is checked.
const TIMED_STARTS: u32 = 5;
/// How long one of them may take: nothing is known of the backend yet.
const FIRST_START: Duration = Duration::from_secs(30);
/// What a check may take, in waits of its own: the longest wait some times, one after the other.
const WAITS_PER_CHECK: u32 = 20;

/// What to check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Selection {
    /// Groups, or checks as `group::check`; all when it is empty.
    pub only: Vec<String>,
    /// Names the clusters, so that a run can be told from others and repeated.
    pub seed: u64,
    /// How many checks are under way at once.
    pub parallel: usize,
    /// How long is waited at least.
    pub waits: Waits,
}

impl Selection {
    /// Everything, a few at once.
    #[must_use]
    pub fn all(seed: u64) -> Self {
        Self { only: Vec::new(), seed, parallel: 4, waits: Waits::default() }
    }

    /// The same, but only this group or check.
    #[must_use]
    pub fn only(mut self, asked: impl Into<String>) -> Self {
        self.only.push(asked.into());
        self
    }

    /// The checks that are asked for, in the order in which they are told.
    ///
    /// # Errors
    /// What was asked for and is no check.
    pub fn checks(&self) -> Result<Vec<Check>, UnknownCheck> {
        let all = all();
        let unknown = self.only.iter().find(|asked| !all.iter().any(|check| check.is(asked)));
        if let Some(asked) = unknown {
            return Err(UnknownCheck { asked: asked.clone() });
        }
        let asked = |check: &Check| self.only.is_empty() || self.only.iter().any(|asked| check.is(asked));
        Ok(all.into_iter().filter(asked).collect())
    }
}

/// Something was asked for that is no check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no check and no group `{asked}`: `--list` shows them")]
pub struct UnknownCheck {
    /// What was asked for.
    pub asked: String,
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Something was asked for that is no check.
    #[error(transparent)]
    Unknown(#[from] UnknownCheck),
    /// There is no platform to check.
    #[error("the platform cannot be made")]
    Platform(#[source] PlatformError),
}

/// Checks a backend; `each` is told of every check as it ends, in order. Needs a runtime of several threads, because a
/// program in this process may keep one for itself.
///
/// # Errors
/// When there is no such check, or no platform. Whatever goes wrong later is a finding.
pub async fn run(
    fixture: Arc<dyn Fixture>,
    selection: &Selection,
    mut each: impl FnMut(&Finding),
) -> Result<Report, RunError> {
    let checks = selection.checks()?;
    let began = Instant::now();
    let platform = make(&*fixture, FIRST_START).await.map_err(RunError::Platform)?;
    let name = platform.describe().name.clone();
    drop(platform);
    // A backend that starts nothing is given the shortest times: every check says what is wrong itself.
    let start = time_starts(&fixture, selection).await.unwrap_or_default();
    let times = Times::of(start, selection.waits);
    let mut findings = Vec::with_capacity(checks.len());
    let running = checks.into_iter().map(|check| find(fixture.clone(), check, selection.seed, times));
    let mut running = std::pin::pin!(stream::iter(running).buffered(selection.parallel.max(1)));
    while let Some(finding) = running.next().await {
        each(&finding);
        findings.push(finding);
    }
    Ok(Report::new(name, selection.seed, start, began.elapsed(), findings))
}

/// Ends and removes whatever a run of this selection made, for who gave it up in the middle. Answers with what is left.
///
/// # Errors
/// When there is no platform.
pub async fn abandon(fixture: &dyn Fixture, selection: &Selection) -> Result<Vec<String>, RunError> {
    let platform = make(fixture, FIRST_START).await.map_err(RunError::Platform)?;
    let names = selection.checks()?.into_iter().map(|check| check.name).chain([STARTS]);
    let mut left = Vec::new();
    // A cluster's name is always legal: a word and hexadecimal digits.
    for id in names.filter_map(|name| cluster(selection.seed, name).parse().ok()) {
        match platform.release(&id, ReleaseOptions::with_instances()).await {
            Ok(released) => left.extend(released.left),
            Err(error) => left.push(format!("cluster {id}: {}", chain(&error))),
        }
    }
    Ok(left)
}

/// The slowest of some starts.
async fn time_starts(fixture: &Arc<dyn Fixture>, selection: &Selection) -> Result<Duration, Flaw> {
    let times = Times { patience: FIRST_START, ..Times::of(Duration::ZERO, selection.waits) };
    let mut bench = Bench::new(fixture.clone(), &cluster(selection.seed, STARTS), times).await?;
    let limit = FIRST_START * (TIMED_STARTS + 1);
    let timed = timeout(limit, slowest_start(&mut bench)).await;
    clean(&bench).await?;
    timed.map_err(|_| did_not_end(limit))?
}

async fn slowest_start(bench: &mut Bench) -> Result<Duration, Flaw> {
    bench.ready().await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..TIMED_STARTS {
        let began = Instant::now();
        bench.start().await?;
        slowest = slowest.max(began.elapsed());
    }
    Ok(slowest)
}

/// The cluster of a check: no other check and no other run has it.
fn cluster(seed: u64, check: &str) -> String {
    format!("verify-{}", &Digest::of(format!("{seed} {check}").as_bytes()).to_string()[..12])
}

/// Runs one check and cleans up after it, however it ended.
async fn find(fixture: Arc<dyn Fixture>, check: Check, seed: u64, times: Times) -> Finding {
    let began = Instant::now();
    let outcome = match Bench::new(fixture, &cluster(seed, check.name), times).await {
        Ok(mut bench) => {
            let outcome = judge(&mut bench, &check).await;
            match (outcome, clean(&bench).await) {
                (Outcome::Fail(why), _) => Outcome::Fail(why),
                (_, Err(Flaw::Broken(why))) => Outcome::Fail(format!("cleaning up: {why}")),
                (outcome, _) => outcome,
            }
        }
        Err(Flaw::Broken(why)) => Outcome::Fail(why),
        Err(Flaw::NotProven(why)) => Outcome::NotProven(why),
    };
    Finding::new(&check, outcome, began.elapsed())
}

async fn judge(bench: &mut Bench, check: &Check) -> Outcome {
    let unclaimed = check.gate.filter(|gate| !bench.can(*gate));
    let limit = bench.times.patience * WAITS_PER_CHECK;
    let judging = async {
        bench.ready().await?;
        match unclaimed {
            None => (check.run)(bench).await,
            Some(capability) => refused(bench, capability).await,
        }
    };
    match timeout(limit, judging).await.unwrap_or_else(|_| Err(did_not_end(limit))) {
        Ok(()) => unclaimed.map_or(Outcome::Pass, Outcome::RefusedAsDeclared),
        Err(Flaw::Broken(why)) => {
            let claim = unclaimed.map(|claim: Capability| format!("`{claim}` is not claimed: "));
            Outcome::Fail(format!("{}{why}", claim.unwrap_or_default()))
        }
        Err(Flaw::NotProven(why)) => Outcome::NotProven(why),
    }
}

fn did_not_end(limit: Duration) -> Flaw {
    Flaw::broken(format!("it did not end within {limit:?}"))
}

/// Ends and removes all that a check left, and makes sure of it.
async fn clean(bench: &Bench) -> Result<(), Flaw> {
    let limit = bench.times.patience;
    let deadline = Instant::now() + limit;
    loop {
        let released = bench.platform.release(&bench.cluster, ReleaseOptions::with_instances());
        let left = timeout(limit, released).await.map_err(|_| did_not_end(limit))??.left;
        if left.is_empty() {
            break;
        }
        // It is no error: what a backend is still busy with is asked for again.
        ensure!(Instant::now() < deadline, "release left {}", left.join(", "));
        sleep(bench.times.look).await;
    }
    match bench.holds(&[]).await {
        // That it cannot be told is said by the checks that are about it.
        Err(Flaw::NotProven(_)) => Ok(()),
        held => held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_checks_can_be_asked_for() {
        let of = |selection: &Selection| {
            selection.checks().unwrap().iter().map(|check| check.name).collect::<Vec<_>>()
        };
        assert_eq!(of(&Selection::all(1)).len(), all().len());
        let some = Selection::all(1).only("remove").only("stop::graceful");
        assert_eq!(
            of(&some),
            ["stop::graceful", "remove::running", "remove::ended", "remove::force", "remove::twice"]
        );
        let none = Selection::all(1).only("stop::nothing").checks().unwrap_err();
        assert_eq!(none, UnknownCheck { asked: "stop::nothing".into() });
    }

    #[test]
    fn each_check_of_each_run_has_a_cluster_of_its_own() {
        assert_eq!(cluster(1, "a::b"), cluster(1, "a::b"));
        assert_ne!(cluster(1, "a::b"), cluster(2, "a::b"));
        assert_ne!(cluster(1, "a::b"), cluster(1, "a::c"));
    }
}
