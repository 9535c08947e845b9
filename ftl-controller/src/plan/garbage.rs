//! Rules 9 and 10: what exists without a slot is stopped, its end recorded, and removed; platforms are listed.
//!
//! Stop is not removal: the exit of an instance is durable before the instance is gone. Only keys that this Controller
//! or a predecessor gave out are touched, so that one which was frozen for long cannot end what a newer one started.

use ftl_core::key::RunnerKey;
use ftl_core::name::PlatformName;
use ftl_core::platform::{Exit, InstanceRef};

use super::{Action, View};
use crate::desired::Transaction;
use crate::observed::Listing;

/// How often the last lines of an instance are asked for before its exit is recorded without them.
pub const TAIL_TRIES: u32 = 3;

/// One step for each instance without a slot, and the listings that are due.
pub(super) fn collect(view: &View<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    for (platform, listing) in view.observed.platforms() {
        let strays = listing.instances().filter(|(key, _)| is_stray(view, *key));
        actions.extend(strays.filter_map(|(key, listed)| match &listed.exit {
            Some(exit) => bury(view, key, platform, &listed.instance, exit),
            None => stop(view, key, platform, &listed.instance),
        }));
    }
    for key in view.observed.connected() {
        let listed = view.observed.platforms().any(|(_, listing)| listing.get(key).is_some());
        if is_stray(view, key) && !listed {
            let known = view.observed.instance(key);
            actions.extend(known.and_then(|(platform, instance)| stop(view, key, platform, instance)));
        }
    }
    let due = view.observed.platforms().filter(|(_, listing)| list_is_due(view, listing));
    actions.extend(due.map(|(platform, _)| Action::List(platform.clone())));
    actions
}

fn is_stray(view: &View<'_>, key: RunnerKey) -> bool {
    key < view.desired.next_key && view.desired.slot(key).is_none()
}

/// Whether the platform was not asked about this instance just now.
fn is_due(view: &View<'_>, key: RunnerKey) -> bool {
    view.observed.asked_at(key).is_none_or(|at| view.reached(at.plus(view.timings.retry)))
}

fn stop(view: &View<'_>, key: RunnerKey, platform: &PlatformName, instance: &InstanceRef) -> Option<Action> {
    let (platform, instance) = (platform.clone(), instance.clone());
    is_due(view, key).then_some(Action::Stop { platform, instance })
}

/// Records the end of an instance, then removes it.
///
/// An end that is not remembered is an old one: only such are forgotten.
fn bury(
    view: &View<'_>,
    key: RunnerKey,
    platform: &PlatformName,
    instance: &InstanceRef,
    exit: &Exit,
) -> Option<Action> {
    let open = view.desired.ended.get(&key).is_some_and(|ended| !ended.full);
    if open && view.observed.tails_asked(key) >= TAIL_TRIES {
        let (exit, tail) = (exit.clone(), Vec::new());
        return is_due(view, key).then_some(Action::Write(Transaction::Record { key, exit, tail }));
    }
    let (platform, instance, exit) = (platform.clone(), instance.clone(), exit.clone());
    let action =
        if open { Action::Record { platform, instance, exit } } else { Action::Purge { platform, instance } };
    is_due(view, key).then_some(action)
}

fn list_is_due(view: &View<'_>, listing: &Listing) -> bool {
    let wait = if listing.woken { view.timings.retry } else { view.timings.list };
    listing.sent_at.is_none_or(|at| view.reached(at.plus(wait)))
}
