//! Tagged values: what may be added to a frame without a new version.

use super::header::Violation;
use crate::limits::TLVS_MAX;

/// The tags. Bit 7 of a tag on the wire says that the receiver must understand it; the rest names the value.
pub mod tag {
    /// Bit 7: an endpoint that does not know the value must refuse the call. Relays never judge.
    pub const MUST: u8 = 0x80;
    /// W3C trace context: trace id (16), span id (8), flags (1).
    pub const TRACE: u8 = 0x01;
    /// Reserved: W3C trace state.
    pub const TRACE_STATE: u8 = 0x02;
    /// The verb that calls.
    pub const CALLER: u8 = 0x03;
    /// What makes two attempts the same to the verb.
    pub const IDEMPOTENCY_KEY: u8 = 0x04;
    /// Reserved: named baggage.
    pub const BAGGAGE: u8 = 0x05;
    /// Reserved: the encoding of the body.
    pub const BODY_ENCODING: u8 = 0x06;
    /// The hash of a schema.
    pub const SCHEMA_HASH: u8 = 0x07;
    /// Reserved: on whose behalf the call is made.
    pub const PRINCIPAL: u8 = 0x08;
    /// The id of the whole request.
    pub const REQUEST: u8 = 0x09;
    /// What went wrong, in words.
    pub const MESSAGE: u8 = 0x20;
    /// What went wrong, structured.
    pub const DETAILS: u8 = 0x21;
    /// When another attempt may make sense, in ms (u32).
    pub const RETRY_AFTER: u8 = 0x22;
    /// Who answered so.
    pub const ORIGIN: u8 = 0x23;
    /// The version of the route table: epoch (u64), number (u64).
    pub const TABLE: u8 = 0x24;
    /// The replica that was picked: runner key (u64), instance (16).
    pub const REPLICA: u8 = 0x25;
    /// The verb that a failure speaks of.
    pub const VERB: u8 = 0x26;
}

/// One tagged value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// The tag as it stands, bit 7 included.
    pub tag: u8,
    /// The value.
    pub value: &'a [u8],
}

impl Tlv<'_> {
    /// Which value it is, without bit 7.
    #[must_use]
    pub fn name(&self) -> u8 {
        self.tag & !tag::MUST
    }

    /// Whether a receiver that does not know it must refuse.
    #[must_use]
    pub fn must(&self) -> bool {
        self.tag & tag::MUST != 0
    }
}

/// The tagged values of a frame, one after the other: at most [`TLVS_MAX`], each name once.
#[derive(Clone, Copy, Debug)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
    count: usize,
    seen: u128,
}

impl<'a> Tlvs<'a> {
    /// Reads these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, count: 0, seen: 0 }
    }

    fn take(&mut self) -> Result<Tlv<'a>, Violation> {
        let [tag, low, high, rest @ ..] = self.rest else {
            return Err(Violation::Malformed("a tagged value without its length"));
        };
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        let Some((value, rest)) = rest.split_at_checked(len) else {
            return Err(Violation::Malformed("a tagged value longer than its frame"));
        };
        self.rest = rest;
        self.count += 1;
        if self.count > TLVS_MAX {
            return Err(Violation::Malformed("more than 64 tagged values"));
        }
        let tlv = Tlv { tag: *tag, value };
        // Were two allowed, a relay could check the one and the endpoint read the other.
        let bit = 1 << tlv.name();
        if self.seen & bit != 0 {
            return Err(Violation::Malformed("a tagged value that is there twice"));
        }
        self.seen |= bit;
        Ok(tlv)
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, Violation>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.rest = &[];
        }
        Some(taken)
    }
}

/// The value as exactly this many bytes.
pub(super) fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], Violation> {
    value.try_into().map_err(|_| Violation::Malformed("a tagged value of the wrong length"))
}

/// The value as text.
pub(super) fn text(value: &[u8]) -> Result<&str, Violation> {
    std::str::from_utf8(value).map_err(|_| Violation::Malformed("a text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_may_have_64_and_not_one_more() {
        let many = |count: u8| (0..count).flat_map(|tag| [tag, 0, 0]).collect::<Vec<_>>();
        assert_eq!(Tlvs::new(&many(64)).filter_map(Result::ok).count(), TLVS_MAX);
        assert!(Tlvs::new(&many(65)).any(|tlv| tlv.is_err()));
    }

    #[test]
    fn each_is_there_once() {
        assert!(Tlvs::new(&[3, 0, 0, 0x83, 0, 0]).any(|tlv| tlv.is_err()));
        assert!(Tlvs::new(&[3, 0, 0, 4, 0, 0]).all(|tlv| tlv.is_ok()));
    }

    #[test]
    fn a_cut_one_is_an_error() {
        assert!(Tlvs::new(&[3, 0]).next().unwrap().is_err());
        assert!(Tlvs::new(&[3, 2, 0, 1]).next().unwrap().is_err());
    }
}
