//! Where the engine is: what was configured, `DOCKER_HOST`, the docker context, and then the sockets where engines
//! usually listen. The driver knows only the second of these.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use ftl_core::Digest;
use ftl_core::platform::{ErrorKind, PlatformError};
use serde::Deserialize;

/// The context that means "no context".
const NO_CONTEXT: &str = "default";

/// Where an engine listens, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) endpoint: Endpoint,
    /// For messages: what to change when it is wrong.
    pub(crate) origin: String,
}

/// A way to speak to an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Unix(PathBuf),
    Tcp(String),
    Tls { host: String, certificates: PathBuf },
}

/// What tells where the engine is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// What was configured.
    pub(crate) configured: Option<String>,
    docker_host: Option<String>,
    docker_context: Option<String>,
    tls: bool,
    certificates: Option<PathBuf>,
    /// Where the docker command keeps its configuration.
    configuration: Option<PathBuf>,
    /// Where engines usually listen, best first.
    sockets: Vec<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_this_process(configured: Option<String>) -> Self {
        // Empty means unset, as for the docker command.
        let variable = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        let home = variable("HOME").map(PathBuf::from);
        let docker = home.as_ref().map(|home| home.join(".docker"));
        let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
        sockets.extend(docker.as_ref().map(|docker| docker.join("run/docker.sock")));
        sockets.extend(
            variable("XDG_RUNTIME_DIR").map(|directory| PathBuf::from(directory).join("podman/podman.sock")),
        );
        sockets.push("/run/podman/podman.sock".into());
        let configuration = variable("DOCKER_CONFIG").map(PathBuf::from).or(docker);
        Self {
            configured,
            docker_host: variable("DOCKER_HOST"),
            docker_context: variable("DOCKER_CONTEXT"),
            tls: variable("DOCKER_TLS_VERIFY").is_some(),
            certificates: variable("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| configuration.clone()),
            configuration,
            sockets,
        }
    }

    /// Where the engine is.
    pub(crate) fn address(&self) -> Result<Address, PlatformError> {
        let named = [(&self.configured, "the configured host"), (&self.docker_host, "`DOCKER_HOST`")];
        for (host, origin) in named {
            if let Some(host) = host {
                let tls = self.tls.then(|| self.certificates.clone()).flatten();
                return Address::parse(host, tls, origin.to_owned());
            }
        }
        if let Some(address) = self.of_context()? {
            return Ok(address);
        }
        let socket = self.sockets.iter().find(|socket| socket.exists());
        let address = |socket: &PathBuf| Address {
            endpoint: Endpoint::Unix(socket.clone()),
            origin: "a usual place".into(),
        };
        socket.map(address).ok_or_else(|| {
            let looked: Vec<_> = self.sockets.iter().map(|socket| socket.display().to_string()).collect();
            let message = format!("no docker engine: none of the sockets {} is there", looked.join(", "));
            PlatformError::new(ErrorKind::Unavailable, message)
                .with_hint("start an engine, or say where it is with `DOCKER_HOST`")
        })
    }

    fn of_context(&self) -> Result<Option<Address>, PlatformError> {
        let Some(configuration) = &self.configuration else { return Ok(None) };
        let configured = || {
            let file = fs::read(configuration.join("config.json")).ok()?;
            serde_json::from_slice::<Configuration>(&file).ok()?.current_context
        };
        let Some(name) = self.docker_context.clone().or_else(configured) else { return Ok(None) };
        if name.is_empty() || name == NO_CONTEXT {
            return Ok(None);
        }
        let origin = format!("the docker context `{name}`");
        let id = Digest::of(name.as_bytes()).to_string();
        let path = configuration.join("contexts/meta").join(&id).join("meta.json");
        let host = read_context(&path).map_err(|why| {
            let message = format!("{origin} cannot be used: {} {why}", path.display());
            PlatformError::new(ErrorKind::Invalid, message)
                .with_hint("choose another one with `docker context use`, or set `DOCKER_HOST`")
        })?;
        let certificates = configuration.join("contexts/tls").join(&id).join("docker");
        Address::parse(&host, certificates.is_dir().then_some(certificates), origin).map(Some)
    }
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Context {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Option<DockerEndpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEndpoint {
    host: Option<String>,
}

fn read_context(path: &Path) -> Result<String, String> {
    let file = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let context: Context =
        serde_json::from_slice(&file).map_err(|error| format!("is not understood: {error}"))?;
    let host = context.endpoints.docker.and_then(|docker| docker.host).filter(|host| !host.is_empty());
    host.ok_or_else(|| "names no docker engine".to_owned())
}

impl Address {
    fn parse(host: &str, certificates: Option<PathBuf>, origin: String) -> Result<Self, PlatformError> {
        let refuse = |why: &str| {
            let message = format!("{origin} says `{host}`, {why}");
            PlatformError::new(ErrorKind::Invalid, message)
                .with_hint("write `unix:///path/to/docker.sock` or `tcp://HOST:PORT`")
        };
        let (scheme, rest) = match host.split_once("://") {
            Some(parts) => parts,
            None if host.starts_with('/') => ("unix", host),
            None => return Err(refuse("which is no address")),
        };
        if rest.is_empty() {
            return Err(refuse("which names no place"));
        }
        let endpoint = match (scheme, certificates) {
            ("unix", _) => Endpoint::Unix(rest.into()),
            ("tcp" | "https", Some(certificates)) => Endpoint::Tls { host: rest.to_owned(), certificates },
            ("https", None) => return Err(refuse("but `DOCKER_CERT_PATH` names no certificates")),
            ("tcp" | "http", _) => Endpoint::Tcp(rest.to_owned()),
            ("ssh", _) => {
                return Err(refuse("which is not supported: forward its socket with `ssh -L` and name that"));
            }
            _ => return Err(refuse("which is no way to reach an engine")),
        };
        Ok(Self { endpoint, origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(surroundings: &Surroundings) -> Endpoint {
        surroundings.address().unwrap().endpoint
    }

    fn unix(path: &str) -> Endpoint {
        Endpoint::Unix(path.into())
    }

    #[test]
    fn the_nearest_word_decides() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        fs::write(&socket, "").unwrap();
        let mut around = Surroundings {
            configuration: Some(directory.path().into()),
            sockets: vec!["/nowhere/docker.sock".into(), socket.clone()],
            ..Surroundings::default()
        };
        assert_eq!(endpoint(&around), Endpoint::Unix(socket));

        let context = |name: &str, host: &str| {
            let id = Digest::of(name.as_bytes()).to_string();
            let meta = directory.path().join("contexts/meta").join(id);
            fs::create_dir_all(&meta).unwrap();
            let text = format!(
                r#"{{"Name":"{name}","Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#
            );
            fs::write(meta.join("meta.json"), text).unwrap();
        };
        context("colima", "unix:///colima.sock");
        context("far", "tcp://far:2376");
        fs::write(directory.path().join("config.json"), r#"{"auths":{},"currentContext":"colima"}"#).unwrap();
        assert_eq!(endpoint(&around), unix("/colima.sock"));

        let tls = directory.path().join("contexts/tls").join(Digest::of(b"far").to_string()).join("docker");
        fs::create_dir_all(&tls).unwrap();
        around.docker_context = Some("far".into());
        assert_eq!(endpoint(&around), Endpoint::Tls { host: "far:2376".into(), certificates: tls });

        around.docker_host = Some("tcp://near:2375".into());
        assert_eq!(endpoint(&around), Endpoint::Tcp("near:2375".into()));
        around.tls = true;
        around.certificates = Some("/certificates".into());
        let secured = Endpoint::Tls { host: "near:2375".into(), certificates: "/certificates".into() };
        assert_eq!(endpoint(&around), secured);

        around.configured = Some("/my.sock".into());
        assert_eq!(endpoint(&around), unix("/my.sock"));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let said = |host: &str| {
            let around = Surroundings { configured: Some(host.into()), ..Surroundings::default() };
            around.address().unwrap_err().message
        };
        assert!(said("ssh://me@far").contains("forward its socket"), "{}", said("ssh://me@far"));
        assert!(said("far").contains("which is no address"));
        assert!(said("tcp://").contains("names no place"));
        let nowhere = Surroundings { sockets: vec!["/nowhere.sock".into()], ..Surroundings::default() };
        assert!(
            nowhere.address().unwrap_err().message.contains("none of the sockets /nowhere.sock is there")
        );

        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), r#"{"currentContext":"gone"}"#).unwrap();
        let around = Surroundings { configuration: Some(directory.path().into()), ..Surroundings::default() };
        let error = around.address().unwrap_err();
        assert!(error.message.contains("the docker context `gone` cannot be used"), "{error}");
    }

    #[test]
    fn the_default_context_is_none() {
        let around = Surroundings {
            docker_context: Some(NO_CONTEXT.into()),
            configuration: Some("/nowhere".into()),
            sockets: vec!["/dev/null".into()],
            ..Surroundings::default()
        };
        assert_eq!(endpoint(&around), unix("/dev/null"));
    }
}
