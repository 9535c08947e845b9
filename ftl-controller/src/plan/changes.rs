//! Rule 2: each Rolling change on its own commits, fails, or waits.
//!
//! Commit is asked before crash loop: replicas of a version that served before may carry attempts from long ago, and
//! the way back must not fail for them.

use ftl_core::key::ChangeId;

use super::{Action, View};
use crate::desired::{Change, Reason, Target, Transaction, Want};
use crate::time::Time;

/// Replaced more often than so, a new target's replica is a crash loop.
const ATTEMPTS_MAX: u32 = 2;

/// The decisions that are due.
pub(super) fn decide<'a>(view: &'a View<'_>) -> impl Iterator<Item = Action> + 'a {
    view.desired.rolling().filter_map(|change| decide_one(view, change)).map(Action::Write)
}

fn decide_one(view: &View<'_>, change: &Change) -> Option<Transaction> {
    if change.wanted.values().all(|want| is_ready(view, want)) {
        return Some(commit(view, change.id));
    }
    let reason = refusal(view, change)
        .or_else(|| loops(view, change).then_some(Reason::CrashLoop))
        .or_else(|| view.reached(change.deadline).then_some(Reason::Deadline))?;
    Some(Transaction::Fail { change: change.id, reason })
}

fn commit(view: &View<'_>, change: ChangeId) -> Transaction {
    let keep = view.timings.keep;
    Transaction::Commit { change, keep_until: (!keep.is_zero()).then(|| view.now().plus(keep)) }
}

/// Whether enough replicas are ready; new ones, for long enough.
fn is_ready(view: &View<'_>, want: &Want) -> bool {
    let serves = view.desired.serves(&want.target);
    let counts = |ready_at: Time| serves || view.reached(ready_at.plus(view.timings.settle));
    let ready = view.desired.staying(&want.target).filter_map(|slot| view.ready(slot));
    ready.filter(|seen| seen.ready_at.is_some_and(counts)).count() >= usize::from(want.replicas)
}

/// What a platform said that will never create one of the replicas.
fn refusal(view: &View<'_>, change: &Change) -> Option<Reason> {
    let mut slots = change.wanted.values().flat_map(|want| view.desired.staying(&want.target));
    let refused = slots.find_map(|slot| view.observed.creation(slot.key)?.refused.as_ref())?;
    Some(Reason::Refused(refused.clone()))
}

/// Whether a target that is new was replaced too often. One that serves or is kept has proved itself.
fn loops(view: &View<'_>, change: &Change) -> bool {
    let is_new = |target: &Target| !view.desired.serves(target) && !view.keeps(target);
    let fresh = change.wanted.values().filter(|want| is_new(&want.target));
    let mut slots = fresh.flat_map(|want| view.desired.staying(&want.target));
    slots.any(|slot| slot.attempts > ATTEMPTS_MAX)
}
