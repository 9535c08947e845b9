//! Calls that go on while something happens, each counted outside of the system.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ftl_core::name::VerbRef;
use ftl_core::{Body, Call, CallError, Failure, Fate, Head, VerbService};
use tokio::time::Instant;

use crate::{Running, block_on};

/// Calls that are under way at once.
pub const LANES: usize = 8;
/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(25);

/// What became of every call that was made.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered.
    pub ok: Vec<String>,
    /// Said not to have been started.
    pub not_started: Vec<String>,
    /// Said to have been run, perhaps.
    pub may_have_run: Vec<String>,
    /// Failed otherwise.
    pub other: Vec<(String, Failure)>,
}

impl Tally {
    fn add(&mut self, id: String, failure: Failure) {
        match failure.fate {
            Fate::NotStarted { .. } => self.not_started.push(id),
            Fate::MayHaveRun => self.may_have_run.push(id),
            Fate::Ran => self.other.push((id, failure)),
        }
    }

    /// Asserts what holds of every call, whatever became of its Controller, its Runner or the engine: `file` has what
    /// really ran.
    pub fn assert_nothing_lost_or_doubled(&self, file: &Path) {
        let noted = noted(file);
        assert!(noted.values().all(|times| *times == 1), "ran twice: {noted:?}");
        assert!(self.ok.iter().all(|id| noted.contains_key(id)), "answered and not run");
        assert!(!self.not_started.iter().any(|id| noted.contains_key(id)), "said `not started` and ran");
        assert!(self.other.is_empty(), "{:?}", self.other);
    }
}

/// Calls `counter.note`, which is not idempotent, again and again, while `disturb` does its worst: until that is done,
/// and at least so many times in each of [`LANES`].
pub fn under_load(serve: &Running, file: &Path, calls: usize, disturb: impl FnOnce() + Send) -> Tally {
    let disturbed = AtomicBool::new(false);
    let lane = |lane: usize| {
        let client = serve.client();
        let mut results = Vec::new();
        block_on(async {
            while results.len() < calls || !disturbed.load(Ordering::Relaxed) {
                let id = format!("{lane}-{}", results.len());
                results.push((id.clone(), client.call(note(file, &id)).await));
            }
        });
        results
    };
    let results = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|number| scope.spawn(move || lane(number))).collect();
        // It may panic: the lanes end all the same.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(disturb));
        disturbed.store(true, Ordering::Relaxed);
        let results: Vec<_> = lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect();
        outcome.map(|()| results).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let mut tally = Tally::default();
    for (id, result) in results {
        match result {
            Ok(_) => tally.ok.push(id),
            Err(CallError::Failed(failure)) => tally.add(id, failure),
            Err(CallError::Verb(body)) => panic!("{:?}", body.bytes()),
        }
    }
    tally
}

fn note(file: &Path, id: &str) -> Call {
    let target: VerbRef = "counter.note".parse().unwrap();
    let head = Head::new(target, format!("r-{id}").parse().unwrap(), Instant::now() + DEADLINE);
    Call::new(head, Body::once(serde_json::json!({"file": file, "id": id, "pause_ms": 5}).to_string()))
}

/// How often each id was noted.
#[must_use]
pub fn noted(file: &Path) -> BTreeMap<String, usize> {
    let mut noted = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap().lines() {
        *noted.entry(line.to_owned()).or_insert(0) += 1;
    }
    noted
}
