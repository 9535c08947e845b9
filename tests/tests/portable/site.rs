//! A page by HTTPS, under the certificate of an authority that nobody knows.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it says.
pub(crate) const PAGE: &str = "a page for those who trust it";
/// Where this machine keeps the certificates that it trusts.
const OF_THIS_MACHINE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// How long one reader may take to say what he wants.
const READ_TIME: Duration = Duration::from_secs(10);
/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// It serves until this process ends.
pub(crate) struct Site {
    address: SocketAddr,
    authority: String,
}

impl Site {
    /// Starts one at this address, on a free port.
    pub(crate) fn start(at: IpAddr) -> Self {
        let listener = TcpListener::bind((at, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (authority, config) = certified(address);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // Who does not trust it hangs up.
                let _ = serve(stream, &config);
            }
        });
        Self { address, authority }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/", self.address)
    }

    /// What this machine trusts, and this authority.
    pub(crate) fn bundle(&self) -> String {
        let known = std::fs::read_to_string(OF_THIS_MACHINE).unwrap_or_default();
        format!("{known}\n{}", self.authority)
    }
}

/// An authority's certificate, and a server's under it for an address.
fn certified(address: SocketAddr) -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Of each site another one.
    params.distinguished_name.push(DnType::CommonName, format!("authority of {address}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![address.ip().to_string()]).unwrap().signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (authority.pem(), Arc::new(config))
}

fn serve(stream: TcpStream, config: &Arc<ServerConfig>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(READ_TIME))?;
    let connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut part)?;
        if read == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&part[..read]);
    }
    let length = PAGE.len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{PAGE}")?;
    stream.conn.send_close_notify();
    stream.flush()
}
