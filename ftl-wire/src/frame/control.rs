//! The frames of the connection itself: handshake, GOAWAY, CLOSE.

use ftl_core::Digest;
use ftl_core::key::{Instance, RunnerKey};

use super::header::{Frame, Kind, StreamId, Violation};
use super::tlv::{Tlvs, exactly, tag, text};
use super::writer::Writer;
use crate::limits::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, OPEN_CALLS_MAX, VERSION};

/// What a dialler is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// A Runner, which proves its secret.
    Runner {
        /// Its key.
        key: RunnerKey,
        /// Its process.
        instance: Instance,
    },
    /// User code on an inherited socket, which has no secret.
    Deployment {
        /// The hash of the schema that it serves.
        schema: Digest,
    },
}

/// What one end can do and receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// Optional features, as bits; those that both ends name are used. None is defined yet.
    pub capabilities: u64,
    /// Largest `len` of a frame that it reads.
    pub frame_bytes_max: u32,
    /// Most calls that it takes at once.
    pub open_calls_max: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            capabilities: 0,
            frame_bytes_max: FRAME_BYTES_MAX as u32,
            open_calls_max: OPEN_CALLS_MAX as u32,
        }
    }
}

impl Terms {
    fn to_bytes(self) -> [u8; 16] {
        let calls = u128::from(self.open_calls_max) << 96;
        (calls | u128::from(self.frame_bytes_max) << 64 | u128::from(self.capabilities)).to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        let all = u128::from_le_bytes(bytes);
        Self {
            capabilities: all as u64,
            frame_bytes_max: (all >> 64) as u32,
            open_calls_max: (all >> 96) as u32,
        }
    }
}

/// HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest and the highest version that the dialler speaks.
    pub versions: (u16, u16),
    /// What it is.
    pub role: Role,
    /// Drawn for this connection.
    pub nonce: [u8; 32],
    /// What it can do and receive.
    pub terms: Terms,
}

const ROLE_RUNNER: u8 = 1;
const ROLE_DEPLOYMENT: u8 = 2;

impl Hello {
    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (role, key, instance, schema) = match self.role {
            Role::Runner { key, instance } => (ROLE_RUNNER, key.0, instance.0, None),
            Role::Deployment { schema } => (ROLE_DEPLOYMENT, 0, [0; 16], Some(*schema.as_bytes())),
        };
        Writer::begin(out, StreamId::CONNECTION, Kind::Hello, 0)
            .bytes(&self.versions.0.to_le_bytes())
            .bytes(&self.versions.1.to_le_bytes())
            .bytes(&[role, 0, 0, 0])
            .bytes(&key.to_le_bytes())
            .bytes(&instance)
            .bytes(&self.nonce)
            .bytes(&self.terms.to_bytes())
            .tlv_if(tag::SCHEMA_HASH, schema)
            .finish();
    }

    /// Reads the metadata of the frame.
    ///
    /// # Errors
    /// When it is malformed, or of a role that is not known here.
    pub fn read(meta: &[u8]) -> Result<Self, Violation> {
        let mut fields = Fields(meta);
        let versions = (u16::from_le_bytes(fields.take()?), u16::from_le_bytes(fields.take()?));
        let [role, ..] = fields.take::<4>()?;
        let key = RunnerKey(u64::from_le_bytes(fields.take()?));
        let instance = Instance(fields.take()?);
        let nonce = fields.take()?;
        let terms = Terms::from_bytes(fields.take()?);
        let mut schema = None;
        for tlv in Tlvs::new(fields.0) {
            let tlv = tlv?;
            if tlv.name() == tag::SCHEMA_HASH {
                schema = Some(Digest::from_bytes(exactly(tlv.value)?));
            }
        }
        let role = match (role, schema) {
            (ROLE_RUNNER, _) => Role::Runner { key, instance },
            (ROLE_DEPLOYMENT, Some(schema)) => Role::Deployment { schema },
            (ROLE_DEPLOYMENT, None) => {
                return Err(Violation::Malformed("user code that does not say which schema it serves"));
            }
            _ => return Err(Violation::Malformed("a role that is not known here")),
        };
        Ok(Self { versions, role, nonce, terms })
    }

    /// The highest version that both speak.
    #[must_use]
    pub fn common_version(&self) -> Option<u16> {
        (self.versions.0..=self.versions.1).contains(&VERSION).then_some(VERSION)
    }
}

/// CHALLENGE; the body of the frame is the acceptor's MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The version that is spoken from now on.
    pub version: u16,
    /// Drawn for this connection.
    pub nonce: [u8; 32],
    /// What the acceptor can do and receive.
    pub terms: Terms,
}

impl Challenge {
    /// Appends the frame with this MAC as its body.
    pub fn write(&self, out: &mut Vec<u8>, mac: &[u8; 32]) {
        Writer::begin(out, StreamId::CONNECTION, Kind::Challenge, 0)
            .bytes(&self.version.to_le_bytes())
            .bytes(&[0; 6])
            .bytes(&self.nonce)
            .bytes(&self.terms.to_bytes())
            .body(mac);
    }

    /// Reads the metadata of the frame.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(meta: &[u8]) -> Result<Self, Violation> {
        let mut fields = Fields(meta);
        let version = u16::from_le_bytes(fields.take()?);
        fields.take::<6>()?;
        Ok(Self { version, nonce: fields.take()?, terms: Terms::from_bytes(fields.take()?) })
    }
}

/// Fixed fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (field, rest) =
            self.0.split_first_chunk().ok_or(Violation::Malformed("a frame that is too short"))?;
        self.0 = rest;
        Ok(*field)
    }
}

/// WELCOME: the metadata repeats version and terms, because user code saw no CHALLENGE.
pub(crate) fn write_welcome(out: &mut Vec<u8>, terms: Terms) {
    Writer::begin(out, StreamId::CONNECTION, Kind::Welcome, 0)
        .bytes(&VERSION.to_le_bytes())
        .bytes(&[0; 6])
        .bytes(&terms.to_bytes())
        .finish();
}

pub(crate) fn read_welcome(meta: &[u8]) -> Result<(u16, Terms), Violation> {
    let mut fields = Fields(meta);
    let version = u16::from_le_bytes(fields.take()?);
    fields.take::<6>()?;
    Ok((version, Terms::from_bytes(fields.take()?)))
}

/// Why a connection is closed, as CLOSE says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum CloseCode {
    /// Somebody is done.
    Normal = 0,
    /// The Runner's slot does not exist any more.
    Gone = 1,
    /// Bytes that break the protocol.
    Protocol = 2,
    /// A frame larger than agreed on.
    FrameTooLarge = 3,
    /// Reserved for streams.
    FlowControl = 4,
    /// The proof is wrong, or the role is not allowed here.
    Denied = 5,
    /// The handshake took too long.
    AuthTimeout = 6,
    /// No common version.
    Version = 7,
    /// Too many cancelled calls do not end.
    StuckPeer = 8,
    /// Nothing was heard for too long.
    Silent = 9,
    /// Too many handshakes, or too much that waits to be sent.
    Overloaded = 10,
}

impl CloseCode {
    const ALL: [Self; 11] = [
        Self::Normal,
        Self::Gone,
        Self::Protocol,
        Self::FrameTooLarge,
        Self::FlowControl,
        Self::Denied,
        Self::AuthTimeout,
        Self::Version,
        Self::StuckPeer,
        Self::Silent,
        Self::Overloaded,
    ];

    /// The code of this number; `Normal` for one that is not known here: the words say it.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Normal)
    }

    /// Appends CLOSE.
    pub fn write(self, out: &mut Vec<u8>, message: &str) {
        let message = &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)];
        Writer::begin(out, StreamId::CONNECTION, Kind::Close, 0)
            .bytes(&[self as u8, 0, 0, 0])
            .tlv(tag::MESSAGE, &[message.as_bytes()])
            .finish();
    }

    /// Reads the metadata of CLOSE.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(meta: &[u8]) -> Result<(Self, String), Violation> {
        let mut fields = Fields(meta);
        let [code, ..] = fields.take::<4>()?;
        let mut message = String::new();
        for tlv in Tlvs::new(fields.0) {
            let tlv = tlv?;
            if tlv.name() == tag::MESSAGE {
                text(tlv.value)?.clone_into(&mut message);
            }
        }
        Ok((Self::from_number(code), message))
    }
}

/// GOAWAY: the sender takes no new calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goaway {
    /// 1: it still serves the calls that it reads. 2: it has read all that it will.
    pub phase: u8,
    /// How long running calls have, in ms.
    pub deadline_ms: u32,
    /// How many calls it has read on this connection; `u64::MAX` while it still reads. May only fall.
    pub accepted: u64,
}

impl Goaway {
    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        Writer::begin(out, StreamId::CONNECTION, Kind::Goaway, 0)
            .bytes(&[self.phase, 0, 0, 0])
            .bytes(&self.deadline_ms.to_le_bytes())
            .bytes(&self.accepted.to_le_bytes())
            .finish();
    }

    /// Reads the metadata of the frame.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(meta: &[u8]) -> Result<Self, Violation> {
        let mut fields = Fields(meta);
        let [phase, ..] = fields.take::<4>()?;
        let deadline_ms = u32::from_le_bytes(fields.take()?);
        Ok(Self { phase, deadline_ms, accepted: u64::from_le_bytes(fields.take()?) })
    }
}

/// PING and PONG: a number that comes back.
pub(crate) fn write_echo(out: &mut Vec<u8>, kind: Kind, echo: u64) {
    Writer::begin(out, StreamId::CONNECTION, kind, 0).bytes(&echo.to_le_bytes()).finish();
}

pub(crate) fn read_echo(frame: &Frame<'_>) -> Result<u64, Violation> {
    Fields(frame.meta).take().map(u64::from_le_bytes)
}

/// UNSUPPORTED: which kind, of which call.
pub(crate) fn write_unsupported(out: &mut Vec<u8>, kind: u8, id: StreamId) {
    Writer::begin(out, StreamId::CONNECTION, Kind::Unsupported, 0)
        .bytes(&[kind, 0, 0, 0])
        .bytes(&id.raw().to_le_bytes())
        .finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::decode;

    fn meta_of(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes);
        let frame = decode(&bytes).unwrap().unwrap();
        assert_eq!(frame.header.frame_len(), bytes.len());
        frame.meta.to_vec()
    }

    #[test]
    fn roundtrip_every_control_frame() {
        let roles = [
            Role::Runner { key: RunnerKey(41), instance: Instance([3; 16]) },
            Role::Deployment { schema: Digest::of(b"schema") },
        ];
        let terms = Terms { capabilities: 5, frame_bytes_max: 6, open_calls_max: 7 };
        for role in roles {
            let hello = Hello { versions: (1, 4), role, nonce: [9; 32], terms };
            assert_eq!(Hello::read(&meta_of(|out| hello.write(out))), Ok(hello));
        }
        let challenge = Challenge { version: 1, nonce: [8; 32], terms };
        assert_eq!(Challenge::read(&meta_of(|out| challenge.write(out, &[1; 32]))), Ok(challenge));
        assert_eq!(read_welcome(&meta_of(|out| write_welcome(out, terms))), Ok((VERSION, terms)));
        for code in CloseCode::ALL {
            let read = CloseCode::read(&meta_of(|out| code.write(out, "why")));
            assert_eq!(read, Ok((code, "why".to_owned())));
        }
        let goaway = Goaway { phase: 2, deadline_ms: 30_000, accepted: 17 };
        assert_eq!(Goaway::read(&meta_of(|out| goaway.write(out))), Ok(goaway));
    }

    #[test]
    fn what_is_cut_is_an_error() {
        let hello = Hello {
            versions: (1, 1),
            role: Role::Runner { key: RunnerKey(1), instance: Instance([0; 16]) },
            nonce: [0; 32],
            terms: Terms::default(),
        };
        let meta = meta_of(|out| hello.write(out));
        for cut in 0..meta.len() {
            assert!(Hello::read(&meta[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn versions_must_overlap() {
        let speaks = |low, high| Hello {
            versions: (low, high),
            role: Role::Deployment { schema: Digest::of(b"") },
            nonce: [0; 32],
            terms: Terms::default(),
        };
        assert_eq!(speaks(0, 9).common_version(), Some(VERSION));
        assert_eq!(speaks(2, 9).common_version(), None);
    }
}
