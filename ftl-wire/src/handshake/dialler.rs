//! The end that connects: a Runner to its Controller, user code to its Runner.

use ftl_core::digest::Digest;
use tokio::io::{AsyncRead, AsyncWrite};

use super::mac::{Prover, Transcript};
use super::wire::{Wire, parsed};
use super::{DialError, HandshakeError, Identity, after_proof, nonce};
use crate::connection::Peer;
use crate::frame::{
    Challenge, HEADER_BYTES, Hello, Kind, Role, StreamId, Terms, Violation, Writer, read_welcome,
};
use crate::limits::{PREFACE, VERSION};
use crate::shared::Established;

fn hello(role: Role) -> Result<Vec<u8>, HandshakeError> {
    let mut bytes = Vec::new();
    Hello { versions: (VERSION, VERSION), role, nonce: nonce()?, terms: Terms::default() }.write(&mut bytes);
    Ok(bytes)
}

pub(super) async fn introduce_runner<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    identity: &Identity,
) -> Result<(S, Established), DialError> {
    let mut wire = Wire::new(io);
    let hello = hello(Role::Runner { key: identity.key, instance: identity.instance })?;
    wire.send(&[&PREFACE, &hello[..]].concat()).await?;

    let bytes = wire.frame(Kind::Challenge).await?;
    let frame = parsed(&bytes)?;
    let challenge = Challenge::read(frame.meta)?;
    let unsigned = &bytes[..HEADER_BYTES + frame.meta.len()];
    let transcript = Transcript { hello: &hello, challenge: unsigned };
    if !transcript.proves(&identity.secret, Prover::Acceptor, frame.body) {
        let error = HandshakeError::Denied("it does not know this runner's secret");
        wire.refuse(&error).await;
        return Err(error.into());
    }
    check_version(challenge.version)?;

    let mut proof = Vec::new();
    Writer::begin(&mut proof, StreamId::CONNECTION, Kind::Proof, 0)
        .body(&transcript.prove(&identity.secret, Prover::Dialler));
    wire.send(&proof).await.map_err(after_proof)?;
    wire.frame(Kind::Welcome).await.map_err(after_proof)?;
    let established = Established {
        peer: Peer::Controller,
        origin: format!("runner {}", identity.key),
        acceptor: false,
        terms: challenge.terms,
    };
    Ok((wire.into_inner(), established))
}

pub(super) async fn introduce_deployment<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    schema: Digest,
) -> Result<(S, Established), HandshakeError> {
    let mut wire = Wire::new(io);
    wire.send(&[&PREFACE, &hello(Role::Deployment { schema })?[..]].concat()).await?;
    let bytes = wire.frame(Kind::Welcome).await?;
    let (version, terms) = read_welcome(parsed(&bytes)?.meta)?;
    check_version(version)?;
    let (peer, origin) = (Peer::ParentRunner, "deployment".to_owned());
    Ok((wire.into_inner(), Established { peer, origin, acceptor: false, terms }))
}

fn check_version(version: u16) -> Result<(), Violation> {
    if version == VERSION { Ok(()) } else { Err(Violation::Malformed("a version that was not offered")) }
}
