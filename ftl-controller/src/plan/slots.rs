//! Rules 7 and 8: each slot is brought to what it shall be.
//!
//! A wanted one is created, told to deploy, and replaced when it fails; one on its way out is drained and removed.

use super::{Action, View, wants};
use crate::desired::{End, Slot, Transaction, Why};
use crate::observed::{Creation, Seen, Stage};

/// At most one step for each slot.
pub(super) fn advance(view: &View<'_>) -> Vec<Action> {
    let wanted = wants::wanted(view);
    let step = |slot: &Slot| match slot.drain {
        true => take_down(view, slot),
        false => wanted.contains_key(&slot.target).then(|| bring_up(view, slot)).flatten(),
    };
    view.desired.slots.values().filter_map(step).collect()
}

/// Rule 7: a wanted slot.
fn bring_up(view: &View<'_>, slot: &Slot) -> Option<Action> {
    if let Some(end) = failure(view, slot) {
        return Some(replace(view, slot, end));
    }
    match view.observed.seen(slot.key) {
        None => create_is_due(view, slot).then_some(Action::Create(slot.key)),
        Some(seen) => {
            let untold = seen.is_connected() && seen.stage == Stage::Starting && !seen.deploy_sent;
            untold.then_some(Action::Deploy(slot.key))
        }
    }
}

/// Why a wanted slot must be given up, if it must.
fn failure(view: &View<'_>, slot: &Slot) -> Option<End> {
    let timings = view.timings;
    let seen = view.observed.seen(slot.key);
    if let Some(Stage::Crashed(crash)) = seen.map(|seen| &seen.stage) {
        return Some(End::of_crash(crash));
    }
    if let Some(exit) = view.observed.end_of(slot.key) {
        return Some(End::new(Why::Ended).with_exit(exit.clone()));
    }
    let Some(seen) = seen else {
        return view.observed.creation(slot.key).and_then(|creation| not_registered(view, slot, creation));
    };
    let silent = view.reached(seen.lost_at.unwrap_or(seen.heard).plus(timings.lease));
    let unready = seen.is_connected()
        && seen.stage == Stage::Starting
        && view.reached(seen.registered_at.plus(timings.start));
    if silent { Some(End::new(Why::Silent)) } else { unready.then(|| End::new(Why::NeverReady)) }
}

/// Why an instance that was asked for will not register.
///
/// Its time runs from the platform's answer: a platform that is down delays, and gives nothing up.
fn not_registered(view: &View<'_>, slot: &Slot, creation: &Creation) -> Option<End> {
    if let Some(message) = &creation.refused {
        return Some(End::of_refusal(message));
    }
    let listing = view.observed.platforms().find(|(name, _)| **name == slot.target.platform);
    let typical = listing.map(|(_, listing)| listing.start_typical).unwrap_or_default();
    let late = view.reached(creation.acked_at?.plus(view.timings.provision_for(typical)));
    late.then(|| End::new(Why::NeverRegistered))
}

fn create_is_due(view: &View<'_>, slot: &Slot) -> bool {
    match view.observed.creation(slot.key) {
        None => view.reached(slot.not_before),
        Some(creation) => {
            let wait = creation.retry_after.unwrap_or_default().max(view.timings.retry);
            creation.acked_at.is_none() && view.reached(creation.sent_at.plus(wait))
        }
    }
}

/// A fresh key in its place. Who had served long enough begins to count anew.
fn replace(view: &View<'_>, slot: &Slot, end: End) -> Action {
    let ready_at = view.observed.seen(slot.key).and_then(|seen: &Seen| seen.ready_at);
    let was_stable = ready_at.is_some_and(|at| view.reached(at.plus(view.timings.stable)));
    let attempts = if was_stable { 1 } else { slot.attempts.saturating_add(1) };
    let (at, not_before) = (view.now(), view.now().plus(view.timings.backoff(attempts)));
    Action::Write(Transaction::Replace { key: slot.key, end, attempts, not_before, at })
}

/// Rule 8: a slot on its way out.
fn take_down(view: &View<'_>, slot: &Slot) -> Option<Action> {
    let remove = |end| Action::Write(Transaction::Remove { key: slot.key, end, at: view.now() });
    if let Some(exit) = view.observed.end_of(slot.key) {
        return Some(remove(End::new(Why::Ended).with_exit(exit.clone())));
    }
    let Some(seen) = view.observed.seen(slot.key) else {
        return unheard(view, slot).map(remove);
    };
    match &seen.stage {
        Stage::Crashed(crash) => return Some(remove(End::of_crash(crash))),
        Stage::Drained => return Some(remove(End::new(Why::Drained))),
        Stage::Starting | Stage::Ready | Stage::Draining => {}
    }
    if view.reached(seen.lost_at.unwrap_or(seen.heard).plus(view.timings.lease)) {
        return Some(remove(End::new(Why::Silent)));
    }
    match seen.drain_sent {
        _ if !seen.is_connected() => None,
        Some(at) => {
            let cut = view.reached(at.plus(view.timings.grace).plus(view.timings.drain_slack));
            cut.then(|| remove(End::new(Why::DrainCut)))
        }
        // Withdrawn first: a new epoch has withdrawn nothing before it published.
        None => {
            let withdrawn = view.observed.table().is_some() && !view.observed.routes_to(slot.key);
            withdrawn.then_some(Action::SendDrain(slot.key))
        }
    }
}

/// The end of a slot whose Runner was not heard in this epoch. One of an earlier epoch may be serving still, and gets
/// the time to say so.
fn unheard(view: &View<'_>, slot: &Slot) -> Option<End> {
    if let Some(message) = view.observed.creation(slot.key).and_then(|creation| creation.refused.as_ref()) {
        return Some(End::of_refusal(message));
    }
    let started = view.observed.started();
    if slot.created_at > started {
        return Some(End::new(Why::Drained));
    }
    view.reached(started.plus(view.timings.lease)).then(|| End::new(Why::Silent))
}
