//! What platforms say: answers to creations, listings, errors.

use std::collections::BTreeMap;
use std::time::Duration;

use ftl_core::key::{Epoch, RunnerKey};
use ftl_core::name::PlatformName;
use ftl_core::platform::{
    Effect, ErrorKind, Exit, InstanceRef, InstanceState, InstanceStatus, PlatformError,
};

use super::{Asked, Observed};
use crate::desired::Desired;
use crate::time::Time;

/// How the creation of an instance stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// Where.
    pub platform: PlatformName,
    /// When it was last asked for.
    pub sent_at: Time,
    /// When it was first acknowledged: from then on its Runner is waited for.
    pub acked_at: Option<Time>,
    /// What the platform calls it.
    pub instance: Option<InstanceRef>,
    /// How long the platform wants to be left alone, if it said so.
    pub retry_after: Option<Duration>,
    /// The platform says that the key is another instance's; the next listing tells whose.
    pub contested: Option<Contested>,
    /// The platform's words, if it refused and asking again cannot help.
    pub refused: Option<String>,
    /// The platform's words, if it failed and is asked again.
    pub failed: Option<String>,
}

/// A creation that was answered with a conflict.
///
/// Keys are never reused, so an instance that is listed under the key is the slot's own: a former Controller asked for
/// it with other options. One that is not listed is a stranger's that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contested {
    /// How many listings had been asked for by then: a later one tells.
    asked: u64,
    /// The platform's words.
    message: String,
}

impl Creation {
    /// The instance is there, made when a former Controller asked for it.
    fn settle(&mut self, instance: InstanceRef) {
        self.contested = None;
        self.acked_at.get_or_insert(self.sent_at);
        (self.instance, self.failed) = (Some(instance), None);
    }

    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut Time> {
        [&mut self.sent_at].into_iter().chain(&mut self.acked_at)
    }
}

/// The number of a listing: which of this epoch it answers. Older ones than the newest taken are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListNumber {
    /// The Controller's life that asked: the answer to a dead one's 19th must not outrank the first of this one.
    pub epoch: Epoch,
    /// Its number within that life.
    pub seq: u64,
}

/// An instance, as a platform listed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What the platform calls it.
    pub instance: InstanceRef,
    /// How it ended; `None` while it runs, or if the platform cannot tell.
    pub exit: Option<Exit>,
    /// Where people find it on the platform.
    pub place: Option<String>,
}

/// A platform that does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Time,
    /// Its newest words.
    pub why: String,
}

/// What a platform listed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// How long it usually takes to start an instance.
    pub start_typical: Duration,
    /// When a listing was last asked for.
    pub sent_at: Option<Time>,
    /// Whether something hints that a listing would tell news.
    pub woken: bool,
    /// What is wrong with the platform, if it does not do what it is asked.
    pub trouble: Option<Trouble>,
    /// The number of the last that was asked for.
    sent: u64,
    /// The number of the newest that was taken.
    taken: u64,
    instances: BTreeMap<RunnerKey, Listed>,
}

impl Listing {
    pub(super) fn new(start_typical: Duration) -> Self {
        Self {
            start_typical,
            sent_at: None,
            woken: false,
            trouble: None,
            sent: 0,
            taken: 0,
            instances: BTreeMap::new(),
        }
    }

    /// The instance of this key.
    #[must_use]
    pub fn get(&self, key: RunnerKey) -> Option<&Listed> {
        self.instances.get(&key)
    }

    /// All instances, in the order of their keys.
    pub fn instances(&self) -> impl Iterator<Item = (RunnerKey, &Listed)> {
        self.instances.iter().map(|(key, listed)| (*key, listed))
    }

    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut Time> {
        self.sent_at.iter_mut().chain(self.trouble.iter_mut().map(|trouble| &mut trouble.since))
    }
}

impl Observed {
    /// The creation of a replica's instance was asked for, not necessarily for the first time.
    pub fn create_sent(&mut self, desired: &Desired, key: RunnerKey, now: Time) {
        let Some(slot) = desired.slot(key) else { return };
        let creation = self.creations.entry(key).or_insert_with(|| Creation {
            platform: slot.target.platform.clone(),
            sent_at: now,
            acked_at: None,
            instance: None,
            retry_after: None,
            contested: None,
            refused: None,
            failed: None,
        });
        creation.sent_at = now;
        creation.retry_after = None;
    }

    /// A platform acknowledged a creation.
    pub fn on_created(&mut self, key: RunnerKey, instance: InstanceRef, now: Time) {
        if let Some(creation) = self.creations.get_mut(&key) {
            creation.acked_at.get_or_insert(now);
            (creation.instance, creation.failed) = (Some(instance), None);
        }
    }

    /// A platform did not carry out a creation, or may have.
    ///
    /// What may have taken effect, or may work later, is asked again; what is refused for good ends the change that
    /// wanted it; a conflict with the slot's own instance counts as an acknowledgement ([`Contested`]); a higher
    /// generation ends this Controller.
    pub fn on_create_failed(&mut self, key: RunnerKey, error: &PlatformError) {
        self.on_platform_failed(error);
        let Some(creation) = self.creations.get_mut(&key) else { return };
        if error.may_retry() {
            creation.retry_after = error.retry_after;
            creation.failed = Some(error.advice());
        } else if error.kind == ErrorKind::Conflict {
            self.contest(key, &error.advice());
        } else if error.kind != ErrorKind::Stale {
            creation.refused = Some(error.advice());
        }
    }

    fn contest(&mut self, key: RunnerKey, message: &str) {
        let Some(creation) = self.creations.get_mut(&key) else { return };
        let Some(listing) = self.platforms.get_mut(&creation.platform) else { return };
        match listing.get(key) {
            Some(listed) => creation.settle(listed.instance.clone()),
            None => {
                let (asked, message) = (listing.sent, message.to_owned());
                creation.contested.get_or_insert(Contested { asked, message });
                listing.woken = true;
            }
        }
    }

    /// A platform did not list, stop or remove. It is asked again; only a higher generation means something.
    pub fn on_platform_failed(&mut self, error: &PlatformError) {
        self.superseded |= error.kind == ErrorKind::Stale && error.effect == Effect::None;
    }

    /// A listing was asked for; its answer must carry the number that is returned.
    pub fn list_sent(&mut self, platform: &PlatformName, now: Time) -> ListNumber {
        let epoch = self.epoch;
        let Some(listing) = self.platforms.get_mut(platform) else { return ListNumber { epoch, seq: 0 } };
        listing.sent += 1;
        (listing.sent_at, listing.woken) = (Some(now), false);
        ListNumber { epoch, seq: listing.sent }
    }

    /// A platform listed its instances. Returns whether the listing was taken; one that is older than the newest is
    /// dropped, but an end that it tells is believed all the same.
    pub fn on_listed(
        &mut self,
        desired: &Desired,
        platform: &PlatformName,
        number: ListNumber,
        instances: &[InstanceStatus],
    ) -> bool {
        for status in instances {
            if let InstanceState::Ended(exit) = &status.state
                && desired.slot(status.instance.runner).is_some()
            {
                self.ends.entry(status.instance.runner).or_insert_with(|| exit.clone());
            }
        }
        let Some(listing) = self.platforms.get_mut(platform) else { return false };
        if number.epoch != self.epoch || number.seq < listing.taken {
            return false;
        }
        listing.taken = number.seq;
        listing.instances = instances.iter().map(listed).collect();
        for (key, creation) in
            self.creations.iter_mut().filter(|(_, creation)| creation.platform == *platform)
        {
            let Some(contested) = &creation.contested else { continue };
            if let Some(listed) = listing.get(*key) {
                creation.settle(listed.instance.clone());
            } else if number.seq > contested.asked {
                creation.refused = Some(contested.message.clone());
                creation.contested = None;
            }
        }
        self.forget(desired);
        true
    }

    /// A platform hints that something changed: it is listed soon.
    pub fn on_wake(&mut self, platform: &PlatformName) {
        if let Some(listing) = self.platforms.get_mut(platform) {
            listing.woken = true;
        }
    }

    /// A platform cannot be reached or does not work. Answers whether that is new.
    pub fn on_trouble(&mut self, platform: &PlatformName, error: &PlatformError, now: Time) -> bool {
        let down = matches!(
            error.kind,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Denied | ErrorKind::Internal
        );
        let Some(listing) = self.platforms.get_mut(platform).filter(|_| down) else { return false };
        let since = listing.trouble.as_ref().map(|trouble| trouble.since);
        listing.trouble = Some(Trouble { since: since.unwrap_or(now), why: error.advice() });
        since.is_none()
    }

    /// A platform works. Answers whether it did not before.
    pub fn on_recovery(&mut self, platform: &PlatformName) -> bool {
        self.platforms.get_mut(platform).is_some_and(|listing| listing.trouble.take().is_some())
    }

    /// The stop of an instance without a slot was asked for.
    pub fn stop_sent(&mut self, key: RunnerKey, now: Time) {
        self.ask(key, now);
    }

    /// The last lines of an instance without a slot were asked for.
    pub fn tail_sent(&mut self, key: RunnerKey, now: Time) {
        self.ask(key, now).tails += 1;
    }

    /// The removal of an instance without a slot was asked for.
    pub fn purge_sent(&mut self, key: RunnerKey, now: Time) {
        self.ask(key, now);
    }

    /// A platform removed an instance.
    pub fn on_purged(&mut self, desired: &Desired, platform: &PlatformName, key: RunnerKey) {
        if let Some(listing) = self.platforms.get_mut(platform) {
            listing.instances.remove(&key);
        }
        self.forget(desired);
    }

    fn ask(&mut self, key: RunnerKey, now: Time) -> &mut Asked {
        let asked = self.asked.entry(key).or_insert(Asked { at: now, tails: 0 });
        asked.at = now;
        asked
    }
}

fn listed(status: &InstanceStatus) -> (RunnerKey, Listed) {
    let exit = match &status.state {
        InstanceState::Ended(exit) => Some(exit.clone()),
        _ => None,
    };
    (status.instance.runner, Listed { instance: status.instance.clone(), exit, place: status.place.clone() })
}
