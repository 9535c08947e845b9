//! What a decision asks of others, done after the lock is released.

use std::task::Waker;

use ftl_core::Failure;
use tokio::task::AbortHandle;

use super::{Cancelled, Leg};
use crate::frame::{Reason, Refused, StreamId};

/// How a call ended that got no answer.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// Why it was not started, if it was not.
    pub(crate) reason: Option<Reason>,
    pub(crate) failure: Failure,
}

impl From<Refused> for End {
    fn from(Refused { reason, failure }: Refused) -> Self {
        Self { reason: Some(reason), failure }
    }
}

/// What a decision asks of others.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Callers to wake.
    pub(crate) wakers: Vec<Waker>,
    /// Tasks to abort.
    pub(crate) aborts: Vec<AbortHandle>,
    /// Calls to end on other connections: where, under which id there, under which id here, how.
    pub(crate) ends: Vec<(Leg, StreamId, StreamId, End)>,
    /// Calls to cancel on other connections; `true` if nobody waits for their end any more.
    cancels: Vec<(Leg, StreamId, bool)>,
}

impl Effects {
    /// Takes what a cancelled or ended call asks for; `gone` if nobody waits for its end any more.
    pub(crate) fn cancelled(&mut self, how: Cancelled, gone: bool) {
        match how {
            Cancelled::Abort(task) => self.aborts.push(task),
            Cancelled::Forward(leg, id) => self.cancels.push((leg, id, gone)),
            Cancelled::Nothing => {}
        }
    }

    /// Does all of it on behalf of the connection `from`, which must not be locked.
    pub(crate) fn run(&mut self, from: &Leg) {
        self.wakers.drain(..).for_each(Waker::wake);
        for task in self.aborts.drain(..) {
            task.abort();
        }
        for (leg, there, here, end) in self.ends.drain(..) {
            leg.end_relayed(there, from, here, &end);
        }
        for (leg, id, gone) in self.cancels.drain(..) {
            leg.cancel_relayed(id, from, gone);
        }
    }
}
