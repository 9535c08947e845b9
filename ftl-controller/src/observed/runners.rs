//! What Runners say: registrations, reports, lost connections. Each is first held against the fence.

use ftl_core::ControllerError;
use ftl_core::key::{Instance, RunnerKey, Session};
use ftl_core::runner::{Crash, Order, Registration, Report};

use super::Observed;
use crate::desired::Desired;
use crate::time::Time;

/// How far a Runner has come. It only goes forward within one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Registered; its deployment does not serve yet.
    Starting,
    /// Deployed, and serving.
    Ready,
    /// Asked to end, by us or by somebody else.
    Draining,
    /// No call is running any more.
    Drained,
    /// Its deployment crashed or could not start.
    Crashed(Crash),
}

impl Stage {
    fn rank(&self) -> u8 {
        match self {
            Self::Starting => 0,
            Self::Ready => 1,
            Self::Draining => 2,
            Self::Drained => 3,
            Self::Crashed(_) => 4,
        }
    }

    fn of(report: &Report) -> Self {
        match report {
            Report::Ready => Self::Ready,
            Report::Draining => Self::Draining,
            Report::Drained => Self::Drained,
            Report::Crashed(crash) => Self::Crashed(crash.clone()),
            // What a newer Runner may say and we do not understand is a sign of life and nothing more.
            _ => Self::Starting,
        }
    }
}

/// What is known of a Runner, from its newest connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its newest connection.
    pub session: Session,
    /// Which process it is.
    pub instance: Instance,
    /// How far it had come when it was last heard.
    pub stage: Stage,
    /// When it registered on its newest connection.
    pub registered_at: Time,
    /// When it was last heard.
    pub heard: Time,
    /// When its newest connection was lost; `None` while it is there.
    pub lost_at: Option<Time>,
    /// Since when this process has served in this epoch, whatever its connections did.
    pub ready_at: Option<Time>,
    /// Whether Deploy was sent on its newest connection.
    pub deploy_sent: bool,
    /// When Drain was sent on its newest connection.
    pub drain_sent: Option<Time>,
}

impl Seen {
    /// Whether its newest connection is there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.lost_at.is_none()
    }

    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut Time> {
        let optional = [&mut self.lost_at, &mut self.ready_at, &mut self.drain_sent];
        [&mut self.registered_at, &mut self.heard].into_iter().chain(optional.into_iter().flatten())
    }

    fn advance(&mut self, stage: Stage, now: Time) {
        if stage.rank() > self.stage.rank() {
            if stage == Stage::Ready {
                self.ready_at.get_or_insert(now);
            }
            self.stage = stage;
        }
    }
}

/// Why a message of a Runner was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// It is not of this epoch, or not of the Runner's newest connection.
    #[error("not of the newest session")]
    Stale,
    /// There is no slot for it: the Runner must finish and end.
    #[error("no longer wanted")]
    Gone,
}

impl From<Refused> for ControllerError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stale => Self::Stale,
            Refused::Gone => Self::Gone,
        }
    }
}

impl Observed {
    /// A Runner registers on a new connection and says how far it has come. Who was ready resumes so.
    ///
    /// # Errors
    /// [`Refused::Gone`] when there is no slot for it, or when another process than before uses its key: then the
    /// key counts as crashed, because two processes cannot both be the replica. [`Refused::Stale`] when a newer
    /// connection has registered.
    pub fn on_register(
        &mut self,
        desired: &Desired,
        key: RunnerKey,
        session: Session,
        registration: &Registration,
        now: Time,
    ) -> Result<Order, Refused> {
        if desired.slot(key).is_none() {
            return Err(Refused::Gone);
        }
        let before = self.seen.get_mut(&key);
        if before.as_ref().is_some_and(|before| session <= before.session) {
            return Err(Refused::Stale);
        }
        let mut ready_at = None;
        if let Some(before) = before {
            if before.instance != registration.instance {
                before.stage = Stage::Crashed(Crash::new("a second process registered with its key"));
                return Err(Refused::Gone);
            }
            ready_at = before.ready_at;
        }
        let stage = Stage::of(&registration.report);
        if stage == Stage::Ready {
            ready_at.get_or_insert(now);
        }
        let seen = Seen {
            session,
            instance: registration.instance,
            stage,
            registered_at: now,
            heard: now,
            lost_at: None,
            ready_at,
            deploy_sent: false,
            drain_sent: None,
        };
        self.seen.insert(key, seen);
        Ok(Order { epoch: self.epoch, session })
    }

    /// A Runner says that its deployment answers, and is what was promised.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn on_deployed(
        &mut self,
        desired: &Desired,
        key: RunnerKey,
        order: Order,
        now: Time,
    ) -> Result<(), Refused> {
        self.on_report(desired, key, order, &Report::Ready, now)
    }

    /// A Runner says how far it has come; also its heartbeat.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn on_report(
        &mut self,
        desired: &Desired,
        key: RunnerKey,
        order: Order,
        report: &Report,
        now: Time,
    ) -> Result<(), Refused> {
        let epoch = self.epoch;
        let seen = self.seen.get_mut(&key);
        if desired.slot(key).is_none() {
            return Err(Refused::Gone);
        }
        let newest =
            |seen: &&mut Seen| order == Order { epoch, session: seen.session } && seen.is_connected();
        let seen = seen.filter(newest).ok_or(Refused::Stale)?;
        seen.heard = now;
        seen.advance(Stage::of(report), now);
        Ok(())
    }

    /// A connection is lost. That of an older session changes nothing: its Runner has connected again.
    ///
    /// # Errors
    /// [`Refused::Stale`] when it is not the Runner's newest.
    pub fn on_disconnected(&mut self, key: RunnerKey, session: Session, now: Time) -> Result<(), Refused> {
        let newest = |seen: &&mut Seen| seen.session == session && seen.is_connected();
        let seen = self.seen.get_mut(&key).filter(newest).ok_or(Refused::Stale)?;
        seen.lost_at = Some(now);
        // A Runner that is killed loses its connection first: whether it ended is worth asking at once.
        if let Some(platform) = self.platform_of(key).cloned() {
            self.on_wake(&platform);
        }
        Ok(())
    }

    /// Deploy was sent on the Runner's newest connection.
    pub fn deploy_sent(&mut self, key: RunnerKey) {
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.deploy_sent = true;
        }
    }

    /// Drain was sent on the Runner's newest connection.
    pub fn drain_sent(&mut self, key: RunnerKey, now: Time) {
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.drain_sent = Some(now);
        }
    }
}
