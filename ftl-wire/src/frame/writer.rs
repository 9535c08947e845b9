//! Appends one frame to the bytes that wait to be sent.

use super::header::{HEADER_BYTES, Header, Kind, StreamId};
use crate::limits::META_BYTES_MAX;

/// One frame being written. The lengths are filled in by [`Writer::body`] or [`Writer::finish`].
#[derive(Debug)]
#[must_use = "a frame without its lengths is no frame"]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    id: StreamId,
    kind: u8,
    flags: u8,
}

impl<'a> Writer<'a> {
    /// Begins a frame behind what is there.
    pub fn begin(out: &'a mut Vec<u8>, id: StreamId, kind: Kind, flags: u8) -> Self {
        Self::begin_raw(out, id, kind as u8, flags)
    }

    pub(crate) fn begin_raw(out: &'a mut Vec<u8>, id: StreamId, kind: u8, flags: u8) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        Self { out, start, id, kind, flags }
    }

    /// Appends metadata.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// Appends a TLV, whose value is the concatenation of these parts.
    pub fn tlv(self, tag: u8, parts: &[&[u8]]) -> Self {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        debug_assert!(len <= META_BYTES_MAX);
        self.out.push(tag);
        self.out.extend_from_slice(&(len as u16).to_le_bytes());
        parts.iter().for_each(|part| self.out.extend_from_slice(part));
        self
    }

    /// Appends a TLV if there is a value.
    pub fn tlv_if(self, tag: u8, value: Option<impl AsRef<[u8]>>) -> Self {
        match value {
            Some(value) => self.tlv(tag, &[value.as_ref()]),
            None => self,
        }
    }

    /// Ends the frame with a body.
    pub fn body(self, body: &[u8]) {
        let meta = self.out.len() - self.start - HEADER_BYTES;
        debug_assert!(meta <= META_BYTES_MAX);
        self.out.extend_from_slice(body);
        let header = Header {
            len: (meta + body.len()) as u32,
            id: self.id,
            kind: self.kind,
            flags: self.flags,
            meta: meta as u16,
        };
        self.out[self.start..self.start + HEADER_BYTES].copy_from_slice(&header.to_bytes());
    }

    /// Ends the frame without a body.
    pub fn finish(self) {
        self.body(&[]);
    }
}
