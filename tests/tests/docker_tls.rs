//! An engine that is reached by TLS, with certificates of an authority of its own: by variables, and by a context.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tests::Sandbox;

/// How long a client may take to say what it wants.
const READ_TIME: Duration = Duration::from_secs(60);
/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Where the docker command keeps what it knows of a context of the name `far`: by the SHA-256 of the name.
const FAR: &str = "512eea46ceb3921dff4363c7069d89d4964d1d9fccaa0f411851a7aa60a5c868";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn certified(by: &Authority) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (params.signed_by(&key, by).unwrap(), key)
}

/// An engine that only says what it is, and only to clients that the authority knows. It serves until this process ends.
fn engine(authority: &Authority) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut known = RootCertStore::empty();
    known.add(authority.der().clone()).unwrap();
    let clients =
        WebPkiClientVerifier::builder_with_provider(known.into(), provider.clone()).build().unwrap();
    let (certificate, key) = certified(authority);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // Who is not trusted, or does not trust it, gets nothing.
            let _ = serve(stream, &config);
        }
    });
    address
}

fn serve(stream: TcpStream, config: &Arc<ServerConfig>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(READ_TIME))?;
    let connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let (mut head, mut part) = (Vec::new(), [0; 1024]);
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut part)?;
        if read == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&part[..read]);
    }
    let asked = String::from_utf8_lossy(&head);
    let body = match asked.lines().next().unwrap_or_default() {
        line if line.contains("/version") => r#"{"ApiVersion":"1.41","Version":"20.10"}"#,
        line if line.contains("/info") => r#"{"OperatingSystem":"nothing"}"#,
        _ => "{}",
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// What a client needs, as the docker command lays it out.
fn write_certificates(folder: &Path, authority: &Authority) {
    let (certificate, key) = certified(authority);
    fs::create_dir_all(folder).unwrap();
    for (name, text) in
        [("ca.pem", authority.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        fs::write(folder.join(name), text).unwrap();
    }
}

/// How the engine is that these variables lead to.
fn health(sandbox: &Sandbox, variables: &[(&str, &str)]) -> (String, String) {
    let mut command = sandbox.command(&["platform", "list", "--format", "json"]);
    for name in ["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT", "DOCKER_CONFIG"] {
        command.env_remove(name);
    }
    let answer =
        tests::Answer::of(command.envs(variables.iter().copied()).output().unwrap()).expect(0).json();
    let platforms = answer["platforms"].as_array().unwrap();
    let docker = platforms.iter().find(|platform| platform["name"] == "docker").unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&docker["health"]), text(&docker["why"]))
}

#[test]
fn an_engine_behind_certificates_is_reached_by_variables_and_by_a_context() {
    let sandbox = Sandbox::new();
    let (ours, strange) = (authority(), authority());
    let address = engine(&ours);
    let host = format!("tcp://{address}");
    let known = sandbox.path("known");
    let unknown = sandbox.path("unknown");
    write_certificates(&known, &ours);
    write_certificates(&unknown, &strange);
    let by_variables = |certificates: &Path| {
        let certificates = certificates.to_str().unwrap();
        let variables =
            [("DOCKER_HOST", &*host), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", certificates)];
        health(&sandbox, &variables)
    };
    let well = ("ok".to_owned(), String::new());
    assert_eq!(by_variables(&known), well);
    let (health_of_strange, why) = by_variables(&unknown);
    assert_eq!(health_of_strange, "down", "{why}");
    // Without certificates it speaks of itself in plain HTTP, which this engine does not understand.
    assert_eq!(health(&sandbox, &[("DOCKER_HOST", &host)]).0, "down");

    let docker = sandbox.path("home/.docker");
    let meta = docker.join("contexts/meta").join(FAR);
    fs::create_dir_all(&meta).unwrap();
    let context =
        serde_json::json!({ "Name": "far", "Metadata": {}, "Endpoints": { "docker": { "Host": host } } });
    fs::write(meta.join("meta.json"), context.to_string()).unwrap();
    write_certificates(&docker.join("contexts/tls").join(FAR).join("docker"), &ours);
    assert_eq!(health(&sandbox, &[("DOCKER_CONTEXT", "far")]), well);
    fs::write(docker.join("config.json"), r#"{"currentContext":"far"}"#).unwrap();
    assert_eq!(health(&sandbox, &[]), well);
    sandbox.finish();
}
