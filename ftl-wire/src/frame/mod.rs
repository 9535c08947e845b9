//! What lies in a frame: header, kinds, metadata. Pure: no I/O, no state.
//!
//! `docs/wire.md` is the specification; `tests/golden.rs` holds the two together.
//!
//! ```
//! use ftl_wire::frame::{Kind, StreamId, Writer, decode, flags};
//! let mut bytes = Vec::new();
//! let id = StreamId::from_raw(0x0010_0007);
//! Writer::begin(&mut bytes, id, Kind::Reply, flags::END).body(b"{}");
//! let frame = decode(&bytes).unwrap().expect("a whole frame");
//! assert_eq!((frame.header.id, frame.kind(), frame.body), (id, Some(Kind::Reply), &b"{}"[..]));
//! assert!(decode(&bytes[..5]).unwrap().is_none(), "more bytes are needed");
//! ```

mod call;
mod control;
mod header;
mod names;
mod terminal;
mod tlv;
mod writer;

pub use call::{CallHead, write_call};
pub(crate) use call::{Refused, STAMP_BYTES_MAX, forward_call, owned_head, retarget};
pub use control::{Challenge, CloseCode, Goaway, Hello, Role, Terms};
pub(crate) use control::{read_echo, read_welcome, write_echo, write_unsupported, write_welcome};
pub use header::{Frame, HEADER_BYTES, Header, Kind, StreamId, Violation, decode, flags};
pub(crate) use names::Names;
pub use terminal::{Outcome, Reason, read_outcome, write_failure};
pub(crate) use terminal::{Terminal, read_terminal};
pub use tlv::{Tlv, Tlvs, tag};
pub use writer::Writer;
