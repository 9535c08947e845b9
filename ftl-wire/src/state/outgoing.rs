//! The bytes that wait to be sent, and where each call ends among them.

use crate::limits::{QUEUE_BODIES_MAX, QUEUE_BYTES_MAX};

/// Spare capacity that is not kept once everything is sent.
const KEPT_BYTES: usize = 256 << 10;

/// Frames queue here; the connection's task takes all of them at once and writes them with one call.
///
/// Offsets count every byte of the connection since its first frame, so that "did this frame leave?" is a comparison.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    queue: Vec<u8>,
    /// Bytes that the task has taken, ever.
    taken: u64,
    /// Bytes that the kernel has accepted, ever, as far as the task has told.
    written: u64,
    /// Somebody was told that there is no room.
    wanted: bool,
}

impl Outgoing {
    /// Where frames are appended.
    pub(crate) fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.queue
    }

    /// The offset behind the last queued byte.
    pub(crate) fn end(&self) -> u64 {
        self.taken + self.queue.len() as u64
    }

    /// Bytes that have not left yet.
    pub(crate) fn waiting(&self) -> usize {
        (self.end() - self.written) as usize
    }

    /// Whether a frame with a body may be queued.
    pub(crate) fn has_room(&mut self) -> bool {
        let room = self.waiting() < QUEUE_BODIES_MAX;
        self.wanted |= !room;
        room
    }

    /// Whether there is room again, for the first time since somebody was told that there is none.
    pub(crate) fn has_room_again(&mut self) -> bool {
        let again = self.wanted && self.waiting() < QUEUE_BODIES_MAX;
        self.wanted &= !again;
        again
    }

    /// Whether the peer makes more wait than one that keeps the rules ever could.
    pub(crate) fn overflows(&self) -> bool {
        self.waiting() > QUEUE_BYTES_MAX
    }

    /// Tells how many bytes the kernel has accepted, and takes all that is queued in exchange for an empty buffer.
    pub(crate) fn take(&mut self, written: u64, buffer: &mut Vec<u8>) {
        debug_assert!(written == self.taken, "everything that was taken before is written");
        self.written = written;
        buffer.clear();
        if buffer.capacity() > KEPT_BYTES {
            *buffer = Vec::new();
        }
        std::mem::swap(&mut self.queue, buffer);
        self.taken += buffer.len() as u64;
    }

    /// Tells how many bytes the kernel has accepted.
    pub(crate) fn note_written(&mut self, written: u64) {
        self.written = written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_through_every_take() {
        let mut out = Outgoing::default();
        out.queue().extend_from_slice(b"one");
        assert_eq!((out.end(), out.waiting()), (3, 3));
        let mut buffer = Vec::new();
        out.take(0, &mut buffer);
        assert_eq!((buffer.as_slice(), out.end(), out.waiting()), (&b"one"[..], 3, 3));
        out.queue().extend_from_slice(b"four");
        assert_eq!((out.end(), out.waiting()), (7, 7));
        out.note_written(2);
        assert_eq!(out.waiting(), 5);
        out.take(3, &mut buffer);
        assert_eq!((buffer.as_slice(), out.end(), out.waiting()), (&b"four"[..], 7, 4));
    }

    #[test]
    fn bodies_wait_before_the_peer_is_cut_off() {
        let mut out = Outgoing::default();
        out.queue().resize(QUEUE_BODIES_MAX - 1, 0);
        assert!(out.has_room());
        out.queue().push(0);
        assert!(!out.has_room());
        out.queue().resize(QUEUE_BYTES_MAX, 0);
        assert!(!out.overflows());
        out.queue().push(0);
        assert!(out.overflows());
    }
}
