//! The twelve bytes before every frame.

use crate::limits::{FRAME_BYTES_MAX, META_BYTES_MAX};

/// Length of a header, in bytes.
pub const HEADER_BYTES: usize = 12;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// The dialler introduces itself.
    Hello = 0x01,
    /// The acceptor proves itself and asks for a proof.
    Challenge = 0x02,
    /// The dialler proves itself.
    Proof = 0x03,
    /// The dialler is known.
    Welcome = 0x04,
    /// The last frame.
    Close = 0x05,
    /// Asks for a PONG.
    Ping = 0x06,
    /// Answers a PING.
    Pong = 0x07,
    /// Takes no new calls.
    Goaway = 0x08,
    /// Answers an unknown kind that must be understood.
    Unsupported = 0x09,
    /// Opens a call.
    Call = 0x10,
    /// Reserved for streams.
    Data = 0x11,
    /// Ends a call: the verb's reply.
    Reply = 0x12,
    /// Ends a call: the verb's own error.
    Fail = 0x13,
    /// Ends a call: it failed, and may have run.
    Error = 0x14,
    /// Ends a call: it was not started.
    Reject = 0x15,
    /// Asks for the end of a call.
    Cancel = 0x16,
    /// Reserved for streams.
    Credit = 0x17,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Hello,
        Self::Challenge,
        Self::Proof,
        Self::Welcome,
        Self::Close,
        Self::Ping,
        Self::Pong,
        Self::Goaway,
        Self::Unsupported,
        Self::Call,
        Self::Data,
        Self::Reply,
        Self::Fail,
        Self::Error,
        Self::Reject,
        Self::Cancel,
        Self::Credit,
    ];

    /// The kind of this number; `None` for one that a newer version may have.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let index = match number {
            0x01..=0x09 => number - 0x01,
            0x10..=0x17 => number - 0x10 + 9,
            _ => return None,
        };
        Self::ALL.get(usize::from(index)).copied()
    }
}

/// The bits of a frame's flags. Unknown bits are sent as 0 and ignored.
pub mod flags {
    /// The last frame of this direction of its stream.
    pub const END: u8 = 0x01;
    /// Reserved: on a CALL, the request is a stream; on a REPLY, the reply is one.
    pub const STREAM: u8 = 0x02;
    /// Reserved: a message ends here.
    pub const MSG: u8 = 0x04;
    /// May be sent before other traffic.
    pub const URGENT: u8 = 0x08;
    /// Who does not know this kind must say so.
    pub const MUST: u8 = 0x80;
}

/// Names one call on one connection, or the connection itself ([`StreamId::CONNECTION`]).
///
/// * bit 31: who opened it, 0 the dialler, 1 the acceptor;
/// * bits 20–30: the generation of the slot, 1 to 2047 and then 1 again, so that no call is called 0;
/// * bits 0–19: the slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(u32);

impl StreamId {
    /// The connection itself.
    pub const CONNECTION: Self = Self(0);
    /// The highest generation of a slot.
    pub const GENERATION_MAX: u16 = 0x7FF;

    /// Reads the number on the wire.
    #[must_use]
    pub fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// The number on the wire.
    #[must_use]
    pub fn raw(self) -> u32 {
        self.0
    }

    /// Puts an id together; `by_acceptor` says who opens the call.
    #[must_use]
    pub(crate) fn new(by_acceptor: bool, generation: u16, slot: usize) -> Self {
        debug_assert!((1..=Self::GENERATION_MAX).contains(&generation) && slot < 1 << 20);
        Self(u32::from(by_acceptor) << 31 | u32::from(generation) << 20 | (slot as u32 & 0xF_FFFF))
    }

    /// Whether the acceptor opened it.
    #[must_use]
    pub fn by_acceptor(self) -> bool {
        self.0 >> 31 == 1
    }

    /// The generation of the slot; 0 only for the connection.
    #[must_use]
    pub fn generation(self) -> u16 {
        (self.0 >> 20) as u16 & Self::GENERATION_MAX
    }

    /// The slot.
    #[must_use]
    pub fn slot(self) -> usize {
        (self.0 & 0xF_FFFF) as usize
    }
}

impl std::fmt::Debug for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes after the header.
    pub len: u32,
    /// Whose frame it is.
    pub id: StreamId,
    /// The number of its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// How many of the `len` bytes are metadata.
    pub meta: u16,
}

/// Bytes that break the protocol. The connection is closed with this as its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A frame that is larger than was agreed on.
    #[error("a frame of {0} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    FrameTooLarge(usize),
    /// Anything else.
    #[error("{0}")]
    Malformed(&'static str),
}

impl Header {
    /// Reads a header and checks all that can be checked without knowing the kind.
    ///
    /// # Errors
    /// When the frame is too large, or its parts contradict each other.
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Violation> {
        let [l0, l1, l2, l3, i0, i1, i2, i3, kind, flags, m0, m1] = *bytes;
        let header = Self {
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            id: StreamId(u32::from_le_bytes([i0, i1, i2, i3])),
            kind,
            flags,
            meta: u16::from_le_bytes([m0, m1]),
        };
        if header.len as usize > FRAME_BYTES_MAX {
            return Err(Violation::FrameTooLarge(header.len as usize));
        }
        if usize::from(header.meta) > META_BYTES_MAX || u32::from(header.meta) > header.len {
            return Err(Violation::Malformed("more metadata than the frame or the protocol allows"));
        }
        match (header.id, header.kind) {
            (_, 0) => Err(Violation::Malformed("a frame of kind 0")),
            (StreamId::CONNECTION, 0x01..=0x0F | 0x17) => Ok(header),
            (StreamId::CONNECTION, _) => Err(Violation::Malformed("a frame of a call without a call's id")),
            (_, 0x01..=0x0F) => Err(Violation::Malformed("a frame of the connection with a call's id")),
            (id, _) if id.generation() == 0 => Err(Violation::Malformed("a call's id of generation 0")),
            _ => Ok(header),
        }
    }

    /// Writes a header.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.id.raw().to_le_bytes());
        bytes[8] = self.kind;
        bytes[9] = self.flags;
        bytes[10..].copy_from_slice(&self.meta.to_le_bytes());
        bytes
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        HEADER_BYTES + self.len as usize
    }
}

/// One frame where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// What relays may read.
    pub meta: &'a [u8],
    /// What only the two ends read.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// What it is; `None` for a kind that is not known here.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.header.kind)
    }

    /// Whether all these flags are set.
    #[must_use]
    pub fn has(&self, flags: u8) -> bool {
        self.header.flags & flags == flags
    }
}

/// The frame at the beginning of these bytes; `None` while bytes are missing. Allocates nothing.
///
/// # Errors
/// As [`Header::read`].
pub fn decode(bytes: &[u8]) -> Result<Option<Frame<'_>>, Violation> {
    let Some(head) = bytes.first_chunk() else { return Ok(None) };
    let header = Header::read(head)?;
    if bytes.len() < header.frame_len() {
        return Ok(None);
    }
    Ok(Some(Frame::at(header, bytes)))
}

impl<'a> Frame<'a> {
    /// The frame at the beginning of these bytes, whose header was read before.
    pub(crate) fn at(header: Header, bytes: &'a [u8]) -> Self {
        let (meta, body) = bytes[HEADER_BYTES..header.frame_len()].split_at(usize::from(header.meta));
        Self { header, meta, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(len: u32, id: u32, kind: u8, meta: u16) -> Result<Header, Violation> {
        Header::read(&Header { len, id: StreamId(id), kind, flags: 0, meta }.to_bytes())
    }

    #[test]
    fn kinds_and_numbers_match() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_number(0x0A), None);
        assert_eq!(Kind::from_number(0x18), None);
    }

    #[test]
    fn a_frame_may_have_a_mebibyte_and_no_byte_more() {
        let max = FRAME_BYTES_MAX as u32;
        assert!(header(max, 1 << 20, 0x12, 0).is_ok());
        assert_eq!(header(max + 1, 1 << 20, 0x12, 0), Err(Violation::FrameTooLarge(FRAME_BYTES_MAX + 1)));
    }

    #[test]
    fn metadata_may_have_16_kib_and_no_byte_more() {
        let max = META_BYTES_MAX as u16;
        assert!(header(u32::from(max), 1 << 20, 0x10, max).is_ok());
        assert!(header(u32::from(max) + 1, 1 << 20, 0x10, max + 1).is_err());
        assert!(header(4, 1 << 20, 0x10, 5).is_err(), "more than the frame has");
    }

    #[test]
    fn ids_belong_to_their_kinds() {
        assert!(header(0, 0, 0x06, 0).is_ok());
        assert!(header(0, 0, 0x17, 0).is_ok(), "credit of the connection");
        assert!(header(0, 0, 0x10, 0).is_err());
        assert!(header(0, 1 << 20, 0x06, 0).is_err());
        assert!(header(0, 7, 0x10, 0).is_err(), "generation 0");
        assert!(header(0, 0, 0, 0).is_err());
    }
}
