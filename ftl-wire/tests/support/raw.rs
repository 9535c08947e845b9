//! A peer that speaks frames by hand: what no connection of ours would send.

use std::sync::Arc;

use ftl_wire::frame::{
    Frame, HEADER_BYTES, Header, Hello, Kind, Role, StreamId, Terms, Writer, decode, flags,
};
use ftl_wire::limits::{PREFACE, VERSION};
use ftl_wire::{Connection, Dispatch, Options, accept_deployment, dial_runner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A peer that speaks frames by hand.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) socket: UnixStream,
}

/// A frame that was received.
#[derive(Debug)]
pub(crate) struct Received(Vec<u8>);

impl Received {
    pub(crate) fn frame(&self) -> Frame<'_> {
        decode(&self.0).unwrap().unwrap()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.frame().kind().unwrap()
    }

    pub(crate) fn id(&self) -> StreamId {
        self.frame().header.id
    }
}

impl Raw {
    /// User code, and the connection of the Runner that let it in.
    pub(crate) async fn user_code(dispatch: Arc<dyn Dispatch>) -> (Self, Connection) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut raw = Self { socket: UnixStream::from_std(ours).unwrap() };
        let options = Options::default();
        let (connection, ()) = tokio::join!(accept_deployment(theirs, dispatch, &options), async {
            let mut bytes = PREFACE.to_vec();
            let role = Role::Deployment { schema: super::schema() };
            let versions = (VERSION, VERSION);
            Hello { versions, role, nonce: [1; 32], terms: Terms::default() }.write(&mut bytes);
            raw.send(&bytes).await;
            assert_eq!(raw.next().await.unwrap().kind(), Kind::Welcome);
        });
        (raw, connection.unwrap())
    }

    /// A Runner, and the connection of the user code that dialled it.
    pub(crate) async fn runner(dispatch: Arc<dyn Dispatch>) -> (Self, Connection) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut raw = Self { socket: UnixStream::from_std(ours).unwrap() };
        let options = Options::default();
        let (connection, ()) =
            tokio::join!(dial_runner(theirs, super::schema(), dispatch, &options), async {
                raw.socket.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
                assert_eq!(raw.next().await.unwrap().kind(), Kind::Hello);
                let mut welcome = Vec::new();
                Writer::begin(&mut welcome, StreamId::CONNECTION, Kind::Welcome, 0)
                    .bytes(&VERSION.to_le_bytes())
                    .bytes(&[0; 6])
                    .bytes(&0u64.to_le_bytes())
                    .bytes(&(1u32 << 20).to_le_bytes())
                    .bytes(&1024u32.to_le_bytes())
                    .finish();
                raw.send(&welcome).await;
            });
        (raw, connection.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        let mut bytes = vec![0; HEADER_BYTES];
        self.socket.read_exact(&mut bytes).await.ok()?;
        let header = Header::read(bytes.first_chunk().unwrap()).unwrap();
        bytes.resize(header.frame_len(), 0);
        self.socket.read_exact(&mut bytes[HEADER_BYTES..]).await.unwrap();
        Some(Received(bytes))
    }

    /// The next frame that is no PING, after whatever else was due.
    pub(crate) async fn expect(&mut self, kind: Kind) -> Received {
        let received = self.next().await.unwrap();
        assert_eq!(received.kind(), kind, "{:?}", received.frame());
        received
    }
}

/// The id of a call that user code opens.
pub(crate) fn by_dialler(generation: u32, slot: u32) -> StreamId {
    StreamId::from_raw(generation << 20 | slot)
}

/// The id of a call that a Runner opens.
pub(crate) fn by_acceptor(generation: u32, slot: u32) -> StreamId {
    StreamId::from_raw(1 << 31 | generation << 20 | slot)
}

/// A CALL of `a.b` with these tagged values, as bytes.
pub(crate) fn a_call(id: StreamId, tlvs: &[(u8, &[u8])], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, id, Kind::Call, flags::END)
        .bytes(&10_000u32.to_le_bytes())
        .bytes(&[0, 8, 0, 3])
        .bytes(b"a.b");
    for (tag, value) in tlvs {
        writer = writer.tlv(*tag, &[value]);
    }
    writer.body(body);
    bytes
}

/// A frame that only has an id, a kind and flags.
pub(crate) fn bare(id: StreamId, kind: u8, flags: u8) -> Vec<u8> {
    Header { len: 0, id, kind, flags, meta: 0 }.to_bytes().to_vec()
}
