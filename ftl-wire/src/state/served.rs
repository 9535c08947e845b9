//! The calls that the peer opened: who works on each, until its terminal is queued.

use std::sync::Arc;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Leg;
use crate::frame::{StreamId, Violation};
use crate::limits::OPEN_CALLS_MAX;

/// Why a call that is served here is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its caller asked for it.
    Cancelled,
    /// Its deadline passed.
    Deadline,
}

#[derive(Debug)]
enum Stage {
    Closed,
    /// A task of this process works on it; the handle is there as soon as the task is.
    Serving {
        task: Option<AbortHandle>,
        deadline: Instant,
        ending: Option<Ending>,
    },
    /// It is being handed to another connection, and has no id there yet.
    Relaying {
        to: Leg,
        cancelled: bool,
    },
    /// It was handed to another connection, where it has this id.
    Relayed(Leg, StreamId),
}

#[derive(Debug)]
struct Entry {
    generation: u16,
    stage: Stage,
}

/// What a CANCEL leads to.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// The task that works on it is to be aborted.
    Abort(AbortHandle),
    /// CANCEL goes on to another connection.
    Forward(Leg, StreamId),
    /// Nothing, now.
    Nothing,
}

/// Who answers a call that arrived.
#[derive(Debug)]
pub(crate) enum Worker {
    /// A task of this process, until then.
    Here(Instant),
    /// Another connection.
    There(Leg),
}

/// The calls that the peer opened.
#[derive(Debug)]
pub(crate) struct Served {
    by_acceptor: bool,
    entries: Vec<Entry>,
    open: usize,
    /// CALLs that were read, ever.
    read: u64,
}

impl Served {
    pub(crate) fn new(by_acceptor: bool) -> Self {
        Self { by_acceptor, entries: Vec::new(), open: 0, read: 0 }
    }

    /// How many have no terminal yet.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// How many CALLs were read, ever.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// Takes a CALL: checks that its slot may be used. It stays closed until [`Served::work`].
    pub(crate) fn begin(&mut self, id: StreamId) -> Result<(), Violation> {
        if id.by_acceptor() != self.by_acceptor {
            return Err(Violation::Malformed("a call under an id that only this end may give"));
        }
        if id.slot() >= OPEN_CALLS_MAX {
            return Err(Violation::Malformed("a call in a slot above the limit"));
        }
        while self.entries.len() <= id.slot() {
            self.entries.push(Entry { generation: 0, stage: Stage::Closed });
        }
        let entry = &mut self.entries[id.slot()];
        if !matches!(entry.stage, Stage::Closed) || entry.generation == id.generation() {
            return Err(Violation::Malformed("a call in a slot that is not free"));
        }
        entry.generation = id.generation();
        self.read += 1;
        Ok(())
    }

    /// Gives a call that has just begun to somebody.
    pub(crate) fn work(&mut self, id: StreamId, worker: Worker) {
        let entry = &mut self.entries[id.slot()];
        debug_assert!(entry.generation == id.generation() && matches!(entry.stage, Stage::Closed));
        entry.stage = match worker {
            Worker::Here(deadline) => Stage::Serving { task: None, deadline, ending: None },
            Worker::There(to) => Stage::Relaying { to, cancelled: false },
        };
        self.open += 1;
    }

    fn entry(&mut self, id: StreamId) -> Option<&mut Entry> {
        if id.by_acceptor() != self.by_acceptor {
            return None;
        }
        self.entries.get_mut(id.slot()).filter(|entry| entry.generation == id.generation())
    }

    /// Names the task of a call. Answers the handle again if the task is to be aborted already.
    pub(crate) fn started(&mut self, id: StreamId, handle: AbortHandle) -> Option<AbortHandle> {
        match self.entry(id).map(|entry| &mut entry.stage) {
            Some(Stage::Serving { ending: Some(_), .. }) => Some(handle),
            Some(Stage::Serving { task, .. }) => {
                *task = Some(handle);
                None
            }
            // It has ended already.
            _ => None,
        }
    }

    /// Names the id that a call has on the other connection. Answers the connection if it is to be cancelled there
    /// already.
    pub(crate) fn relayed(&mut self, id: StreamId, there: StreamId) -> Option<Leg> {
        let entry = self.entry(id)?;
        match std::mem::replace(&mut entry.stage, Stage::Closed) {
            Stage::Relaying { to, cancelled } => {
                let leg = cancelled.then(|| to.clone());
                entry.stage = Stage::Relayed(to, there);
                leg
            }
            // It has ended already.
            other => {
                entry.stage = other;
                None
            }
        }
    }

    /// Closes a call that is served here. Answers why it was ended from outside, if it was; `Err` if it is not open.
    pub(crate) fn end_here(&mut self, id: StreamId) -> Result<Option<Ending>, ()> {
        match self.entry(id).map(|entry| &entry.stage) {
            Some(&Stage::Serving { ending, .. }) => {
                self.close(id);
                Ok(ending)
            }
            _ => Err(()),
        }
    }

    /// Closes a call that was handed to `leg`, where it has the id `there`. Answers whether it was open: an answer
    /// must find the very call that it belongs to.
    pub(crate) fn end_there(&mut self, id: StreamId, leg: &Leg, there: Option<StreamId>) -> bool {
        let open = match self.entry(id).map(|entry| &entry.stage) {
            Some(Stage::Relaying { to, .. }) => Arc::ptr_eq(to, leg),
            Some(Stage::Relayed(to, known)) => Arc::ptr_eq(to, leg) && there == Some(*known),
            _ => false,
        };
        if open {
            self.close(id);
        }
        open
    }

    /// Closes a call, whoever works on it. Answers how its worker learns of that; `None` if it is not open.
    pub(crate) fn end(&mut self, id: StreamId) -> Option<Cancelled> {
        if matches!(self.entry(id)?.stage, Stage::Closed) {
            return None;
        }
        Some(stop(self.close(id)))
    }

    fn close(&mut self, id: StreamId) -> Stage {
        self.open -= 1;
        std::mem::replace(&mut self.entries[id.slot()].stage, Stage::Closed)
    }

    /// Takes a CANCEL.
    pub(crate) fn cancel(&mut self, id: StreamId) -> Result<Cancelled, Violation> {
        let Some(entry) = self.entry(id) else {
            return Err(Violation::Malformed("CANCEL of a call that never was"));
        };
        Ok(match &mut entry.stage {
            // It crossed the terminal.
            Stage::Closed => Cancelled::Nothing,
            Stage::Serving { task, ending, .. } => {
                ending.get_or_insert(Ending::Cancelled);
                task.take().map_or(Cancelled::Nothing, Cancelled::Abort)
            }
            Stage::Relaying { cancelled, .. } => {
                *cancelled = true;
                Cancelled::Nothing
            }
            Stage::Relayed(to, there) => Cancelled::Forward(to.clone(), *there),
        })
    }

    /// Whether a frame that is no CALL belongs to a call that is or just was open.
    pub(crate) fn knows(&mut self, id: StreamId) -> bool {
        self.entry(id).is_some()
    }

    /// Ends the tasks whose deadline passed. Answers them, and when to look again.
    pub(crate) fn expire(&mut self, now: Instant) -> (Vec<AbortHandle>, Option<Instant>) {
        let (mut aborts, mut next) = (Vec::new(), None);
        for entry in &mut self.entries {
            let Stage::Serving { task, deadline, ending: ending @ None } = &mut entry.stage else { continue };
            if *deadline > now {
                next = super::sooner(next, Some(*deadline));
                continue;
            }
            *ending = Some(Ending::Deadline);
            aborts.extend(task.take());
        }
        (aborts, next)
    }

    /// Closes every open call. Answers each, and how its worker learns of that.
    pub(crate) fn end_all(&mut self) -> Vec<(StreamId, Cancelled)> {
        let mut ended = Vec::new();
        for index in 0..self.entries.len() {
            let id = StreamId::new(self.by_acceptor, self.entries[index].generation.max(1), index);
            if let Some(how) = self.end(id) {
                ended.push((id, how));
            }
        }
        ended
    }
}

fn stop(stage: Stage) -> Cancelled {
    match stage {
        Stage::Serving { task: Some(task), .. } => Cancelled::Abort(task),
        Stage::Relayed(to, there) => Cancelled::Forward(to, there),
        Stage::Closed | Stage::Serving { task: None, .. } | Stage::Relaying { .. } => Cancelled::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(generation: u16, slot: usize) -> StreamId {
        StreamId::new(false, generation, slot)
    }

    fn here() -> Worker {
        Worker::Here(Instant::now())
    }

    #[test]
    fn a_slot_at_the_limit_breaks_the_protocol() {
        let mut served = Served::new(false);
        served.begin(id(1, OPEN_CALLS_MAX - 1)).unwrap();
        assert!(served.begin(id(1, OPEN_CALLS_MAX)).is_err());
        assert!(served.begin(StreamId::new(true, 1, 0)).is_err(), "an id that only this end may give");
    }

    #[test]
    fn a_slot_is_used_again_only_after_its_end_and_under_another_generation() {
        let mut served = Served::new(false);
        served.begin(id(1, 0)).unwrap();
        served.work(id(1, 0), here());
        assert!(served.begin(id(2, 0)).is_err(), "still open");
        served.end_here(id(1, 0)).unwrap();
        assert!(served.begin(id(1, 0)).is_err(), "the generation of the last call");
        served.begin(id(2, 0)).unwrap();
    }

    #[test]
    fn a_call_ends_once_whoever_ends_it() {
        let mut served = Served::new(false);
        served.begin(id(1, 0)).unwrap();
        served.work(id(1, 0), here());
        assert_eq!(served.end_here(id(1, 0)), Ok(None));
        assert_eq!(served.end_here(id(1, 0)), Err(()));
        assert!(served.end(id(1, 0)).is_none());
        assert_eq!(served.open(), 0);
    }

    /// Only the last closed generation may still be spoken of: the frame crossed the terminal.
    #[test]
    fn a_cancel_may_cross_the_end_of_its_call() {
        let mut served = Served::new(false);
        served.begin(id(1, 0)).unwrap();
        served.work(id(1, 0), here());
        served.end_here(id(1, 0)).unwrap();
        assert!(matches!(served.cancel(id(1, 0)), Ok(Cancelled::Nothing)));
        served.begin(id(2, 0)).unwrap();
        served.work(id(2, 0), here());
        assert!(served.cancel(id(1, 0)).is_err(), "two calls ago");
        assert!(served.cancel(id(1, 7)).is_err(), "never opened");
        assert_eq!(served.open(), 1);
    }

    fn leg() -> Leg {
        let (peer, terms) = (crate::connection::Peer::Controller, crate::frame::Terms::default());
        crate::shared::Shared::new(crate::shared::Established {
            peer,
            origin: String::new(),
            acceptor: false,
            terms,
        })
    }

    /// An answer on the wrong caller is the worst that can happen here: connection, id and generation must all fit.
    #[test]
    fn an_answer_finds_only_the_call_that_it_belongs_to() {
        let (right, wrong) = (leg(), leg());
        let (here, there) = (id(2, 5), StreamId::new(true, 3, 9));
        let mut served = Served::new(false);
        served.begin(here).unwrap();
        served.work(here, Worker::There(right.clone()));
        assert!(!served.end_there(here, &wrong, Some(there)), "not known there yet, and not theirs");
        assert!(served.relayed(here, there).is_none());
        assert!(!served.end_there(here, &wrong, Some(there)));
        assert!(!served.end_there(here, &right, Some(StreamId::new(true, 4, 9))), "a later call there");
        assert!(!served.end_there(here, &right, None));
        assert!(!served.end_there(id(1, 5), &right, Some(there)), "an earlier call here");
        assert!(served.end_there(here, &right, Some(there)));
        assert!(!served.end_there(here, &right, Some(there)), "once");
    }

    #[test]
    fn a_call_that_is_cancelled_before_it_has_an_id_there_is_cancelled_there_then() {
        let mut served = Served::new(false);
        served.begin(id(1, 0)).unwrap();
        served.work(id(1, 0), Worker::There(leg()));
        assert!(matches!(served.cancel(id(1, 0)), Ok(Cancelled::Nothing)));
        assert!(served.relayed(id(1, 0), StreamId::new(true, 1, 0)).is_some());
        assert_eq!(served.open(), 1, "its end still comes");
    }

    #[test]
    fn the_deadline_ends_a_call_once() {
        let mut served = Served::new(false);
        let now = Instant::now();
        served.begin(id(1, 0)).unwrap();
        served.work(id(1, 0), Worker::Here(now));
        assert_eq!(served.expire(now - std::time::Duration::from_millis(1)).1, Some(now));
        assert_eq!(served.expire(now).1, None);
        assert_eq!(served.end_here(id(1, 0)), Ok(Some(Ending::Deadline)));
    }
}
