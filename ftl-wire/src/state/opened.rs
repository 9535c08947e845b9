//! The calls that this end opened: a slot for each, taken until its terminal arrives.

use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::{Effects, End, Leg};
use crate::frame::{Frame, StreamId, Terminal, Violation, read_terminal};
use crate::limits::CLOSING_MAX;

/// Who waits for the end of a call.
#[derive(Debug)]
enum Use {
    Free,
    /// A caller in this process, who waits.
    Waiting(Option<Waker>),
    /// A caller in this process, who has not looked since the end came.
    Answered(Terminal),
    /// A caller in this process, whose deadline passed, and who has not looked since.
    Expired,
    /// A caller at the other end of another connection, where the call has that id.
    Relayed(Leg, StreamId),
    /// Nobody any more; only the slot waits.
    Abandoned,
}

#[derive(Debug)]
struct Slot {
    generation: u16,
    /// Which CALL of this connection it is, from 1.
    number: u64,
    /// The offset behind its last byte.
    end: u64,
    deadline: Option<Instant>,
    /// When CANCEL was sent.
    cancelled: Option<Instant>,
    usage: Use,
}

/// What a caller in this process holds: an id is used again after 2,047 calls, a number never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) id: StreamId,
    number: u64,
}

/// What a caller in this process finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// The end of the call.
    Ended(Terminal),
    /// The deadline passed first.
    Expired,
}

/// Where a terminal goes.
#[derive(Debug)]
pub(crate) enum Ended {
    /// To a caller in this process, who is to be woken.
    Here(Option<Waker>),
    /// On to another connection.
    There(Leg, StreamId),
    /// Nowhere: its caller is gone.
    Nowhere,
}

/// A call that ended because its connection did.
#[derive(Debug)]
pub(crate) struct Orphan {
    /// Which CALL of this connection it is, from 1.
    pub(crate) number: u64,
    /// The offset behind its last byte.
    pub(crate) end: u64,
}

/// The calls that this end opened.
#[derive(Debug)]
pub(crate) struct Opened {
    by_acceptor: bool,
    limit: usize,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// CALLs that were queued, ever.
    sent: u64,
}

impl Opened {
    pub(crate) fn new(by_acceptor: bool, limit: usize) -> Self {
        Self { by_acceptor, limit, slots: Vec::new(), free: Vec::new(), sent: 0 }
    }

    /// How many slots are taken.
    pub(crate) fn taken(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.taken() >= self.limit
    }

    /// Takes a slot for a caller in this process; `None` when all are taken.
    pub(crate) fn open(&mut self, deadline: Instant) -> Option<Ticket> {
        let id = self.take_slot(Use::Waiting(None), Some(deadline))?;
        Some(Ticket { id, number: self.sent })
    }

    /// Takes a slot for a call from another connection; `None` when all are taken.
    pub(crate) fn open_relayed(&mut self, leg: &Leg, id: StreamId) -> Option<StreamId> {
        self.take_slot(Use::Relayed(leg.clone(), id), None)
    }

    fn take_slot(&mut self, usage: Use, deadline: Option<Instant>) -> Option<StreamId> {
        if self.is_full() {
            return None;
        }
        self.sent += 1;
        let (number, end, cancelled) = (self.sent, u64::MAX, None);
        let index = match self.free.pop() {
            Some(index) => {
                let generation = self.slots[index].generation % StreamId::GENERATION_MAX + 1;
                self.slots[index] = Slot { generation, number, end, deadline, cancelled, usage };
                index
            }
            None => {
                self.slots.push(Slot { generation: 1, number, end, deadline, cancelled, usage });
                self.slots.len() - 1
            }
        };
        Some(StreamId::new(self.by_acceptor, self.slots[index].generation, index))
    }

    /// Notes the offset behind the last byte of a call.
    pub(crate) fn queued(&mut self, id: StreamId, end: u64) {
        if let Some(slot) = self.slot(id) {
            slot.end = end;
        }
    }

    fn slot(&mut self, id: StreamId) -> Option<&mut Slot> {
        if id.by_acceptor() != self.by_acceptor {
            return None;
        }
        let slot = self.slots.get_mut(id.slot())?;
        (slot.generation == id.generation() && !matches!(slot.usage, Use::Free)).then_some(slot)
    }

    fn held(&mut self, ticket: Ticket) -> Option<&mut Slot> {
        self.slot(ticket.id).filter(|slot| slot.number == ticket.number)
    }

    fn release(&mut self, id: StreamId) {
        if let Some(slot) = self.slot(id) {
            slot.usage = Use::Free;
            self.free.push(id.slot());
        }
    }

    /// Takes the end of a call.
    pub(crate) fn end(&mut self, id: StreamId, frame: &Frame<'_>) -> Result<Ended, Violation> {
        let Some(slot) = self.slot(id) else {
            return Err(Violation::Malformed("the end of a call that is not open"));
        };
        match &mut slot.usage {
            Use::Waiting(waker) => {
                let waker = waker.take();
                slot.usage = Use::Answered(read_terminal(frame)?);
                return Ok(Ended::Here(waker));
            }
            Use::Free | Use::Answered(_) => {
                return Err(Violation::Malformed("a second end of a call"));
            }
            // A caller whose deadline passed finds its number gone, and needs nothing else.
            Use::Expired | Use::Relayed(..) | Use::Abandoned => {}
        }
        let usage = std::mem::replace(&mut slot.usage, Use::Abandoned);
        self.release(id);
        Ok(match usage {
            Use::Relayed(leg, there) => Ended::There(leg, there),
            _ => Ended::Nowhere,
        })
    }

    /// Looks for the end of a call of a caller in this process.
    pub(crate) fn poll(&mut self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Found> {
        let Some(slot) = self.held(ticket) else { return Poll::Ready(Found::Expired) };
        match &mut slot.usage {
            Use::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            Use::Answered(_) => {
                let usage = std::mem::replace(&mut slot.usage, Use::Abandoned);
                self.release(ticket.id);
                match usage {
                    Use::Answered(terminal) => Poll::Ready(Found::Ended(terminal)),
                    _ => Poll::Ready(Found::Expired),
                }
            }
            _ => {
                slot.usage = Use::Abandoned;
                Poll::Ready(Found::Expired)
            }
        }
    }

    /// The caller in this process is gone. Answers whether CANCEL is to be sent.
    pub(crate) fn abandon(&mut self, ticket: Ticket, now: Instant) -> bool {
        let Some(slot) = self.held(ticket) else { return false };
        match slot.usage {
            Use::Waiting(_) => {
                (slot.usage, slot.cancelled) = (Use::Abandoned, Some(now));
                true
            }
            Use::Answered(_) => {
                self.release(ticket.id);
                false
            }
            Use::Expired => {
                slot.usage = Use::Abandoned;
                false
            }
            Use::Free | Use::Relayed(..) | Use::Abandoned => false,
        }
    }

    /// The caller at the other end of `leg` wants the call to end, or is gone itself (`gone`). Answers whether CANCEL
    /// is to be sent.
    pub(crate) fn cancel_relayed(&mut self, id: StreamId, leg: &Leg, gone: bool, now: Instant) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        if !matches!(&slot.usage, Use::Relayed(back, _) if std::sync::Arc::ptr_eq(back, leg)) {
            return false;
        }
        if gone {
            slot.usage = Use::Abandoned;
        }
        let first = slot.cancelled.is_none();
        slot.cancelled.get_or_insert(now);
        first
    }

    /// Ends the waiting of callers in this process whose deadline passed. Answers their calls and wakers, each of
    /// which needs a CANCEL, and when to look again.
    pub(crate) fn expire(&mut self, now: Instant) -> (Vec<(StreamId, Option<Waker>)>, Option<Instant>) {
        let (mut expired, mut next) = (Vec::new(), None);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let (Use::Waiting(waker), Some(deadline)) = (&mut slot.usage, slot.deadline) else { continue };
            if deadline > now {
                next = super::sooner(next, Some(deadline));
                continue;
            }
            let waker = waker.take();
            (slot.usage, slot.cancelled) = (Use::Expired, Some(now));
            expired.push((StreamId::new(self.by_acceptor, slot.generation, index), waker));
        }
        (expired, next)
    }

    /// Whether more than half of all slots have waited for [`CLOSING_MAX`] since their CANCEL, and when to look again.
    pub(crate) fn is_stuck(&self, now: Instant) -> (bool, Option<Instant>) {
        let mut overdue = 0;
        let mut next = None;
        for slot in self.slots.iter().filter(|slot| !matches!(slot.usage, Use::Free)) {
            match slot.cancelled.map(|since| since + CLOSING_MAX) {
                Some(due) if due <= now => overdue += 1,
                due => next = super::sooner(next, due),
            }
        }
        (overdue > self.limit / 2, next)
    }

    /// Ends the open calls to which `end` gives an end.
    pub(crate) fn end_where(&mut self, end: impl Fn(&Orphan) -> Option<End>, effects: &mut Effects) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if matches!(slot.usage, Use::Free | Use::Answered(_)) {
                continue;
            }
            let Some(end) = end(&Orphan { number: slot.number, end: slot.end }) else { continue };
            let id = StreamId::new(self.by_acceptor, slot.generation, index);
            match std::mem::replace(&mut slot.usage, Use::Abandoned) {
                Use::Waiting(waker) => {
                    slot.usage = Use::Answered(Terminal::Failed(Box::new(end.failure)));
                    effects.wakers.extend(waker);
                }
                Use::Relayed(leg, there) => {
                    self.release(id);
                    effects.ends.push((leg, there, id, end));
                }
                Use::Free | Use::Answered(_) | Use::Expired | Use::Abandoned => self.release(id),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Kind, Writer, decode, flags};
    use crate::limits::OPEN_CALLS_MAX;
    use std::time::Duration;

    fn reply(id: StreamId) -> Vec<u8> {
        let mut bytes = Vec::new();
        Writer::begin(&mut bytes, id, Kind::Reply, flags::END).body(b"{}");
        bytes
    }

    fn end(opened: &mut Opened, id: StreamId) -> Result<Ended, Violation> {
        let bytes = reply(id);
        opened.end(id, &decode(&bytes).unwrap().unwrap())
    }

    fn look(opened: &mut Opened, ticket: Ticket) -> Poll<Found> {
        opened.poll(ticket, &mut Context::from_waker(Waker::noop()))
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// A slot goes through all its generations and begins again; no call is ever called 0, or like the one before it.
    #[test]
    fn id_never_zero_over_generation_wrap() {
        let mut opened = Opened::new(false, OPEN_CALLS_MAX);
        let mut last = StreamId::CONNECTION;
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 * u32::from(StreamId::GENERATION_MAX) {
            let ticket = opened.open(later()).unwrap();
            assert!(ticket.id != StreamId::CONNECTION && ticket.id != last && ticket.id.slot() == 0);
            (last, _) = (ticket.id, seen.insert(ticket.id));
            end(&mut opened, ticket.id).unwrap();
            assert!(matches!(look(&mut opened, ticket), Poll::Ready(Found::Ended(_))));
        }
        assert_eq!(seen.len(), usize::from(StreamId::GENERATION_MAX));
    }

    /// A caller that did not look since its deadline must not find the end of a later call under the same id.
    #[test]
    fn a_late_caller_finds_nothing_of_anybody_else() {
        let mut opened = Opened::new(false, 1);
        let late = opened.open(Instant::now()).unwrap();
        let (expired, _) = opened.expire(later());
        assert_eq!(expired.len(), 1);
        end(&mut opened, late.id).unwrap();
        let mut current = opened.open(later()).unwrap();
        while current.id != late.id {
            end(&mut opened, current.id).unwrap();
            assert!(look(&mut opened, current).is_ready());
            current = opened.open(later()).unwrap();
        }
        end(&mut opened, current.id).unwrap();
        assert!(matches!(look(&mut opened, late), Poll::Ready(Found::Expired)));
        assert!(!opened.abandon(late, Instant::now()));
        assert!(matches!(look(&mut opened, current), Poll::Ready(Found::Ended(_))));
    }

    #[test]
    fn a_slot_is_taken_until_its_terminal() {
        let mut opened = Opened::new(false, 1);
        let now = Instant::now();
        let ticket = opened.open(later()).unwrap();
        assert!(opened.open(later()).is_none());
        assert!(opened.abandon(ticket, now), "CANCEL is to be sent");
        assert!(opened.is_full(), "a cancelled call still counts");
        assert!(matches!(end(&mut opened, ticket.id), Ok(Ended::Nowhere)));
        assert!(!opened.is_full());
        assert!(end(&mut opened, ticket.id).is_err(), "a second terminal");
    }

    #[test]
    fn the_end_of_a_call_that_is_not_open_breaks_the_protocol() {
        let mut opened = Opened::new(false, 4);
        let ticket = opened.open(later()).unwrap();
        for wrong in [
            StreamId::new(true, ticket.id.generation(), ticket.id.slot()),
            StreamId::new(false, ticket.id.generation() + 1, ticket.id.slot()),
            StreamId::new(false, 1, 3),
        ] {
            assert!(end(&mut opened, wrong).is_err(), "{wrong:?}");
        }
        end(&mut opened, ticket.id).unwrap();
        assert!(end(&mut opened, ticket.id).is_err(), "answered, and not looked at yet");
    }

    /// Half of all slots may be overdue for ever; one more, and the peer is stuck 30 s after its CANCEL.
    #[test]
    fn a_peer_is_stuck_when_more_than_half_of_all_slots_do_not_end() {
        let mut opened = Opened::new(false, 8);
        let now = Instant::now();
        let tickets: Vec<Ticket> = (0..5).map(|_| opened.open(later()).unwrap()).collect();
        for ticket in &tickets[..4] {
            assert!(opened.abandon(*ticket, now));
        }
        assert!(!opened.is_stuck(now + 10 * CLOSING_MAX).0, "half of 8");
        assert!(opened.abandon(tickets[4], now + Duration::from_secs(1)));
        let due = now + Duration::from_secs(1) + CLOSING_MAX;
        let before = opened.is_stuck(due - Duration::from_millis(1));
        assert_eq!(before, (false, Some(due)));
        assert!(opened.is_stuck(due).0);
    }
}
