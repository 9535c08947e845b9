//! What is known of every deployment that anything wants.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ftl_core::key::{DeploymentId, RunnerKey};

use crate::desired::{Desired, Slot};
use crate::runners::SlotView;
use crate::store::{Store, StoreError};

/// The deployments that anything wants.
#[derive(Debug, Default)]
pub(crate) struct Specs(HashMap<DeploymentId, Arc<SlotView>>);

impl Specs {
    /// Reads what is needed and not known; what nothing wants any more is forgotten.
    pub(crate) async fn read(&mut self, store: &Store, desired: &Desired) -> Result<(), StoreError> {
        let serving = desired.serving.values().map(|want| &want.target.deployment);
        let rolling = desired.rolling().flat_map(|change| change.wanted.values());
        let slots = desired.slots.values().map(|slot| &slot.target.deployment);
        let rolling = rolling.map(|want| &want.target.deployment);
        let ids: BTreeSet<DeploymentId> = serving.chain(rolling).chain(slots).cloned().collect();
        self.0.retain(|id, _| ids.contains(id));
        for id in ids {
            if !self.0.contains_key(&id)
                && let Some(spec) = store.deployment(&id).await?
            {
                let edges = Arc::new(spec.schema.call_edges());
                self.0.insert(id.clone(), Arc::new(SlotView { id, spec: Arc::new(spec), edges }));
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, id: &DeploymentId) -> Option<&Arc<SlotView>> {
        self.0.get(id)
    }

    /// What each slot is to run: a Runner without one is sent away for good.
    pub(crate) fn of_slots(&self, desired: &Desired) -> HashMap<RunnerKey, Arc<SlotView>> {
        let view = |slot: &Slot| Some((slot.key, self.get(&slot.target.deployment)?.clone()));
        desired.slots.values().filter_map(view).collect()
    }
}
