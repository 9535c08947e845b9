//! Rules 3 to 5: slots are added and drained until they are those that are wanted.
//!
//! Counted are durable slots, whatever is observed of them: a replica that nobody has heard of yet is not missing.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Action, View};
use crate::desired::{Slot, Target, Transaction, Want};
use crate::observed::Stage;

/// How many replicas of each target are wanted: by what serves, what is kept and all Rolling changes, the most of it.
pub(super) fn wanted<'a>(view: &'a View<'_>) -> BTreeMap<&'a Target, usize> {
    let desired = view.desired;
    let kept = desired.kept.values().map(|kept| &kept.want).filter(|want| view.keeps(&want.target));
    let rolling = desired.rolling().flat_map(|change| change.wanted.values());
    let mut wanted = BTreeMap::new();
    for Want { target, replicas } in desired.serving.values().chain(kept).chain(rolling) {
        let most = wanted.entry(target).or_insert(0);
        *most = usize::from(*replicas).max(*most);
    }
    wanted
}

/// Adds, and while nothing is held, drains.
pub(super) fn balance(view: &View<'_>) -> Vec<Action> {
    let wanted = wanted(view);
    let mut transactions: Vec<Transaction> = Vec::new();
    for (&target, &replicas) in &wanted {
        let missing = replicas.saturating_sub(view.desired.staying(target).count());
        let add = Transaction::Add { target: target.clone(), at: view.now() };
        transactions.extend(std::iter::repeat_n(add, missing));
    }
    if !view.is_held() {
        transactions.extend(leaving(view, &wanted).map(|slot| Transaction::MarkDrain { key: slot.key }));
    }
    transactions.into_iter().map(Action::Write).collect()
}

/// The slots to drain: surplus, no longer wanted, and those whose Runners are ending by themselves.
fn leaving<'a>(
    view: &'a View<'_>,
    wanted: &'a BTreeMap<&Target, usize>,
) -> impl Iterator<Item = &'a Slot> + 'a {
    let surplus = wanted.iter().flat_map(|(target, replicas)| {
        let mut slots: Vec<&Slot> = view.desired.staying(target).collect();
        // Those that serve stay, and of them the oldest.
        slots.sort_by_key(|slot| (Reverse(view.ready(slot).is_some()), slot.key));
        slots.into_iter().skip(*replicas)
    });
    let staying = view.desired.slots.values().filter(|slot| !slot.drain);
    let others = staying.filter(|slot| !wanted.contains_key(&slot.target) || is_ending(view, slot));
    surplus.chain(others)
}

/// Whether the slot's Runner was asked to end by somebody else.
fn is_ending(view: &View<'_>, slot: &Slot) -> bool {
    let seen = view.observed.seen(slot.key);
    seen.is_some_and(|seen| matches!(seen.stage, Stage::Draining | Stage::Drained))
}
