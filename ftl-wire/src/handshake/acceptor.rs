//! The end that listens: a Controller for its Runners, a Runner for its user code.

use ftl_core::key::RunnerKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::mac::{Prover, Transcript};
use super::wire::{Wire, parsed};
use super::{HandshakeError, nonce};
use crate::connection::Peer;
use crate::frame::{Challenge, HEADER_BYTES, Hello, Kind, Role, Terms, write_welcome};
use crate::limits::{LAYOUT, PREFACE, VERSION};
use crate::listener::Authority;
use crate::options::Options;
use crate::shared::Established;

/// How requests of HTTP begin, the preface of HTTP/2 among them.
const HTTP: [&[u8]; 8] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"PRI "];

pub(crate) async fn accept_runner<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    authority: &dyn Authority,
    options: &Options,
) -> Result<(S, Established), HandshakeError> {
    let mut wire = Wire::new(io);
    let known = timeout(options.handshake, meet_runner(&mut wire, authority, options)).await;
    match known.unwrap_or(Err(HandshakeError::Timeout)) {
        Ok(established) => Ok((wire.into_inner(), established)),
        Err(error) => {
            wire.refuse(&error).await;
            Err(error)
        }
    }
}

async fn meet_runner<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    authority: &dyn Authority,
    options: &Options,
) -> Result<Established, HandshakeError> {
    let (hello, bytes) = read_hello(wire, options).await?;
    let Role::Runner { key, instance } = hello.role else {
        return Err(HandshakeError::Denied("user code is only let in on the socket that it inherits"));
    };
    prove(wire, &bytes, key, authority).await?;
    if !authority.wanted(key, instance) {
        return Err(HandshakeError::Unwanted);
    }
    welcome(wire).await?;
    Ok(established(Peer::Runner { key, instance }, "controller", &hello))
}

/// Proves that we know the secret of this key, and asks for the same.
async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    hello: &[u8],
    key: RunnerKey,
    authority: &dyn Authority,
) -> Result<(), HandshakeError> {
    let secret = authority.secret(key);
    let mut bytes = Vec::new();
    Challenge { version: VERSION, nonce: nonce()?, terms: Terms::default() }.write(&mut bytes, &[0; 32]);
    let unsigned = HEADER_BYTES + parsed(&bytes)?.meta.len();
    let (challenge, mac) = bytes.split_at_mut(unsigned);
    let transcript = Transcript { hello, challenge };
    mac.copy_from_slice(&transcript.prove(&secret, Prover::Acceptor));
    wire.send(&[transcript.challenge, mac].concat()).await?;
    let proof = wire.frame(Kind::Proof).await?;
    if !transcript.proves(&secret, Prover::Dialler, parsed(&proof)?.body) {
        return Err(HandshakeError::Denied("it does not know the secret of the runner that it says it is"));
    }
    Ok(())
}

pub(super) async fn accept_deployment<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    options: &Options,
) -> Result<(S, Established), HandshakeError> {
    let mut wire = Wire::new(io);
    let known = timeout(options.handshake, meet_deployment(&mut wire, options)).await;
    match known.unwrap_or(Err(HandshakeError::Timeout)) {
        Ok(established) => Ok((wire.into_inner(), established)),
        Err(error) => {
            wire.refuse(&error).await;
            Err(error)
        }
    }
}

async fn meet_deployment<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    options: &Options,
) -> Result<Established, HandshakeError> {
    let (hello, _) = read_hello(wire, options).await?;
    let Role::Deployment { schema } = hello.role else {
        return Err(HandshakeError::Denied("only user code is let in on an inherited socket"));
    };
    welcome(wire).await?;
    Ok(established(Peer::Deployment { schema }, "runner", &hello))
}

fn established(peer: Peer, origin: &str, hello: &Hello) -> Established {
    Established { peer, origin: origin.to_owned(), acceptor: true, terms: hello.terms }
}

async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> Result<(), HandshakeError> {
    let mut bytes = Vec::new();
    write_welcome(&mut bytes, Terms::default());
    wire.send(&bytes).await
}

async fn read_hello<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    options: &Options,
) -> Result<(Hello, Vec<u8>), HandshakeError> {
    // Four bytes tell HTTP from everything else: a garbled request may have no more.
    let (mut first, mut rest) = ([0; 4], [0; 4]);
    wire.read(&mut first).await?;
    if HTTP.contains(&&first[..]) {
        return Err(HandshakeError::Http { answer: http_answer(options) });
    }
    if first != PREFACE[..4] {
        return Err(HandshakeError::NotOurs);
    }
    wire.read(&mut rest).await?;
    match rest {
        [b'\r', b'\n', 0, LAYOUT] => {}
        [b'\r', b'\n', 0, layout] => {
            return Err(HandshakeError::Version { low: layout.into(), high: layout.into() });
        }
        _ => return Err(HandshakeError::NotOurs),
    }
    let bytes = wire.frame(Kind::Hello).await?;
    let hello = Hello::read(parsed(&bytes)?.meta)?;
    let (low, high) = hello.versions;
    match hello.common_version() {
        Some(_) => Ok((hello, bytes)),
        None => Err(HandshakeError::Version { low, high }),
    }
}

fn http_answer(options: &Options) -> String {
    let api = match &options.http_api {
        Some(url) => format!("The HTTP API is at {url}."),
        None => {
            "The Controller's HTTP API listens elsewhere: `ftl serve` and `ftl dev` print its URL.".to_owned()
        }
    };
    let body = format!("This is the port of FTL's wire protocol, which is not HTTP. {api}\n");
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_told_where_to_go() {
        let answer = http_answer(&Options::default().with_http_api("http://127.0.0.1:8892"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "));
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(body.contains("http://127.0.0.1:8892"));
    }
}
