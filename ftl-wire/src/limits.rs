//! The protocol's numbers. Each is a promise to the other end; `docs/wire.md` lists them with their reasons.

use std::time::Duration;

pub use ftl_core::call::{BODY_BYTES_MAX, CALL_TIMEOUT_MAX, DEPTH_MAX};

/// The layout version: the last byte of the preface. Header, ids and the head of a call are frozen within it.
pub const LAYOUT: u8 = 1;
/// The protocol version that is spoken here, and the only one.
pub const VERSION: u16 = 1;
/// What a dialler sends first. `\r\n` and NUL make sure that no text protocol begins like this.
pub const PREFACE: [u8; 8] = [b'F', b'T', b'L', b'W', b'\r', b'\n', 0, LAYOUT];

/// Largest `len` of a frame, in bytes: metadata and body.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Largest metadata of a frame, in bytes.
pub const META_BYTES_MAX: usize = 16 << 10;
/// Most TLVs in one frame.
pub const TLVS_MAX: usize = 64;
/// Longest target, `module.verb`, in bytes: its length is one byte.
pub const TARGET_BYTES_MAX: usize = 255;
/// Longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;
/// Longest message of a failure, in bytes; what is longer is cut at a character.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Largest details of a failure, in bytes; larger ones are left out, because half of them means nothing.
pub const DETAILS_BYTES_MAX: usize = 8 << 10;
/// Longest name of who answered, in bytes; what is longer is cut.
pub const ORIGIN_BYTES_MAX: usize = 255;

/// Most calls that one end may have open on a connection; also one more than the highest slot.
pub const OPEN_CALLS_MAX: usize = 1024;
/// How many relays a call may pass.
pub const TTL: u8 = 8;
/// `timeout_ms` of a call without a deadline; only streams may have none.
pub const NO_TIMEOUT: u32 = u32::MAX;

/// Bytes that a peer may send before it has proved who it is.
pub const HANDSHAKE_BYTES_MAX: usize = 4 << 10;
/// How long it may take to do so.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes under way at once …
pub const HANDSHAKES_MAX: usize = 64;
/// … and from one address: an IP address, or a process behind a Unix socket.
pub const HANDSHAKES_PER_PEER_MAX: usize = 8;

/// Silence after which a PING is sent.
pub const PING_AFTER: Duration = Duration::from_secs(10);
/// Silence after which a peer is dead. Longer than the longest time that a verb may block its thread.
pub const DEAD_AFTER: Duration = Duration::from_secs(25);
/// A cancelled call whose end did not come for so long is overdue; a peer with more than half of all slots overdue
/// is stuck.
pub const CLOSING_MAX: Duration = Duration::from_secs(30);
/// How long a closing connection waits for its last bytes to leave, and then for the peer to see them.
pub const LINGER: Duration = Duration::from_secs(1);

/// Bytes that may wait to be sent before frames with bodies are held back.
pub const QUEUE_BODIES_MAX: usize = 32 << 20;
/// Bytes that may wait to be sent at all: a peer that makes more wait is cut off.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

// One body on top of the mark, and then one bodiless terminal for each slot of either direction: a peer that keeps the
// rules never reaches the cut-off.
const _: () = assert!(
    QUEUE_BODIES_MAX + FRAME_BYTES_MAX + (OPEN_CALLS_MAX + 1) * (META_BYTES_MAX + 12) < QUEUE_BYTES_MAX
);

/// Longest path of a Unix socket that is made here, in bytes: below the kernel's 107 on every system we know.
pub const SOCKET_PATH_BYTES_MAX: usize = 90;
