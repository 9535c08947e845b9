//! Rules 1 and 6: when the table may be published, and what stands in it.

use ftl_core::key::Replica;
use ftl_core::routing::Row;

use super::{Action, View};
use crate::desired::Slot;
use crate::observed::Routes;

impl View<'_> {
    /// Rule 1: nothing is published yet in this epoch, and one who served may still report.
    ///
    /// A restart must not publish an empty table while its Runners are on their way back.
    pub(super) fn is_held(&self) -> bool {
        let awaited = |slot: &Slot| {
            !slot.drain
                && self.desired.serves(&slot.target)
                && self.ready(slot).is_none()
                && !self.is_over(slot.key)
        };
        self.observed.table().is_none()
            && self.desired.slots.values().any(awaited)
            && !self.reached(self.observed.started().plus(self.timings.hold))
    }
}

/// Rule 6: the table, unless it is what was published last.
pub(super) fn publish(view: &View<'_>) -> Option<Action> {
    let routes = routes(view);
    let published = view.observed.table();
    published.is_none_or(|published| published.routes != routes).then_some(Action::Publish(routes))
}

fn routes(view: &View<'_>) -> Routes {
    let serving = view.desired.serving.iter();
    let modules = serving.map(|(module, want)| (module.clone(), want.target.deployment.clone()));
    let slots = view.desired.slots.values().filter(|slot| !slot.drain && view.desired.serves(&slot.target));
    let row = |slot: &Slot| {
        let seen = view.ready(slot)?;
        Some(Row {
            module: slot.target.module().clone(),
            deployment: slot.target.deployment.clone(),
            replica: Replica { runner: slot.key, instance: seen.instance },
        })
    };
    Routes { modules: modules.collect(), rows: slots.filter_map(row).collect() }
}
