//! One engine: connects when it is needed, bounds every request in time, and connects anew when the engine was away.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::models::SystemInfo;
use bollard::{API_DEFAULT_VERSION, Docker};
use ftl_core::platform::{ErrorKind, PlatformError};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tracing::debug;

use super::address::{Address, Endpoint, Surroundings};
use crate::error::{Doing, refused, timed_out, unreachable};
use crate::options::Timings;

/// The oldest API that has all that is used here: Docker 20.10.
const API_MIN: (usize, usize) = (1, 41);
/// The driver's own limit; ours are shorter and include the body of an answer.
const DRIVER_TIME: Duration = Duration::from_secs(3600);

/// How far away the containers of an engine are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this machine: a network's gateway is an address of it.
    Native,
    /// In Docker Desktop's virtual machine.
    Desktop,
    /// On this machine, in a user's network namespace.
    Rootless,
    /// On another machine, as far as can be told.
    Remote,
}

/// An engine that may come and go.
pub(crate) struct Engine {
    surroundings: Surroundings,
    pub(crate) timings: Timings,
    connected: Mutex<Option<Connected>>,
}

#[derive(Clone)]
struct Connected {
    client: Docker,
    place: Place,
}

impl Engine {
    pub(crate) fn new(surroundings: Surroundings, timings: Timings) -> Self {
        Self { surroundings, timings, connected: Mutex::default() }
    }

    /// The driver, connected and negotiated.
    pub(crate) async fn client(&self) -> Result<Docker, PlatformError> {
        Ok(self.connected().await?.client)
    }

    /// Where the engine's containers are.
    pub(crate) async fn place(&self) -> Result<Place, PlatformError> {
        Ok(self.connected().await?.place)
    }

    /// Sends a request that completes "docker cannot …". Nothing was sent while nobody could be reached, so then it is
    /// tried once more over a new connection.
    pub(crate) async fn call<T, F>(
        &self,
        what: &str,
        doing: Doing,
        time: Duration,
        request: impl Fn(Docker) -> F + Send,
    ) -> Result<T, PlatformError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>> + Send,
    {
        let ask = async |client| match timeout(time, request(client)).await {
            Ok(answer) => answer.map_err(|error| refused(what, doing, error)),
            Err(_) => Err(timed_out(what, doing, Some(time))),
        };
        let answer = ask(self.client().await?).await;
        match answer {
            Err(error) if is_away(&error) => {
                self.forget();
                ask(self.client().await?).await
            }
            answer => answer,
        }
    }

    /// A request that changes nothing.
    pub(crate) async fn read<T, F>(
        &self,
        what: &str,
        request: impl Fn(Docker) -> F + Send,
    ) -> Result<T, PlatformError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>> + Send,
    {
        self.call(what, Doing::Reading, self.timings.read, request).await
    }

    /// A request that changes something.
    pub(crate) async fn change<T, F>(
        &self,
        what: &str,
        request: impl Fn(Docker) -> F + Send,
    ) -> Result<T, PlatformError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>> + Send,
    {
        self.call(what, Doing::Changing, self.timings.change, request).await
    }

    /// Whether the engine answers.
    pub(crate) async fn ping(&self) -> Result<(), PlatformError> {
        self.read("say that it is alive", async |client: Docker| client.ping().await).await.map(drop)
    }

    async fn connected(&self) -> Result<Connected, PlatformError> {
        let known = self.connected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let address = self.surroundings.address()?;
        let connecting = timeout(self.timings.read, connect(&address));
        let connected = connecting
            .await
            .unwrap_or_else(|_| Err(timed_out("say what it is", Doing::Reading, Some(self.timings.read))))?;
        debug!(engine = %address.endpoint, place = ?connected.place, "connected to the docker engine");
        // Several may have connected at once; each connection is as good.
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = Some(connected.clone());
        Ok(connected)
    }

    fn forget(&self) {
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Whether a request failed before it was sent.
fn is_away(error: &PlatformError) -> bool {
    matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Denied)
        && error.effect == ftl_core::platform::Effect::None
        && error.source.is_some()
}

async fn connect(address: &Address) -> Result<Connected, PlatformError> {
    const WHAT: &str = "be used";
    let failed = |error| refused(WHAT, Doing::Reading, error);
    let seconds = DRIVER_TIME.as_secs();
    let client = match &address.endpoint {
        Endpoint::Unix(socket) => {
            // The driver tells a missing socket from a dead one, but not why it may not be used.
            UnixStream::connect(socket).await.map_err(|error| unreachable(socket, &address.origin, error))?;
            Docker::connect_with_unix(&text(socket)?, seconds, API_DEFAULT_VERSION)
        }
        Endpoint::Tcp(host) => Docker::connect_with_http(host, seconds, API_DEFAULT_VERSION),
        Endpoint::Tls { host, certificates } => {
            let file = |name| certificates.join(name);
            let (key, certificate, authority) = (file("key.pem"), file("cert.pem"), file("ca.pem"));
            Docker::connect_with_ssl(host, &key, &certificate, &authority, seconds, API_DEFAULT_VERSION)
        }
    };
    let client = client.map_err(failed)?;
    let version = client.version().await.map_err(failed)?;
    check_version(version.api_version.as_deref(), version.version.as_deref(), address)?;
    let client = client.negotiate_version().await.map_err(failed)?;
    let place = place(&address.endpoint, &client.info().await.map_err(failed)?);
    Ok(Connected { client, place })
}

fn text(socket: &Path) -> Result<String, PlatformError> {
    socket.to_str().map(str::to_owned).ok_or_else(|| {
        PlatformError::new(
            ErrorKind::Invalid,
            format!("the socket {} is not written in UTF-8", socket.display()),
        )
    })
}

/// Refuses an engine that is too old, in words.
fn check_version(api: Option<&str>, engine: Option<&str>, address: &Address) -> Result<(), PlatformError> {
    let number = api.and_then(|api| {
        let (major, minor) = api.split_once('.')?;
        Some((major.parse::<usize>().ok()?, minor.parse::<usize>().ok()?))
    });
    if number.is_some_and(|number| number >= API_MIN) {
        return Ok(());
    }
    let message = format!(
        "the docker engine at {} is too old: version {} speaks API {}, and {}.{} is needed",
        address.endpoint,
        engine.unwrap_or("unknown"),
        api.unwrap_or("unknown"),
        API_MIN.0,
        API_MIN.1
    );
    Err(PlatformError::new(ErrorKind::Unsupported, message).with_hint("update it to Docker 20.10 or newer"))
}

fn place(endpoint: &Endpoint, info: &SystemInfo) -> Place {
    let rootless =
        info.security_options.iter().flatten().any(|option| option.split(',').any(|o| o == "name=rootless"));
    match endpoint {
        _ if info.operating_system.as_deref() == Some("Docker Desktop") => Place::Desktop,
        _ if rootless => Place::Rootless,
        Endpoint::Unix(_) => Place::Native,
        Endpoint::Tcp(_) | Endpoint::Tls { .. } => Place::Remote,
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
            Self::Tls { host, .. } => write!(f, "tcp://{host} (TLS)"),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("surroundings", &self.surroundings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_too_old_is_refused_in_words() {
        let address = Address { endpoint: Endpoint::Unix("/x.sock".into()), origin: "a test".into() };
        let check = |api| check_version(api, Some("19.03"), &address);
        assert!(check(Some("1.41")).is_ok() && check(Some("1.100")).is_ok() && check(Some("2.0")).is_ok());
        let error = check(Some("1.40")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(
            error.message.contains("unix:///x.sock is too old: version 19.03 speaks API 1.40"),
            "{error}"
        );
        assert!(check(None).is_err() && check(Some("new")).is_err());
    }

    #[test]
    fn how_far_away_containers_are_follows_from_what_the_engine_says() {
        let (unix, tcp) = (Endpoint::Unix("/x.sock".into()), Endpoint::Tcp("far:2375".into()));
        let mut info = SystemInfo::default();
        assert_eq!((place(&unix, &info), place(&tcp, &info)), (Place::Native, Place::Remote));
        info.security_options = Some(vec!["name=seccomp,profile=default".into(), "name=rootless".into()]);
        assert_eq!(place(&unix, &info), Place::Rootless);
        info.operating_system = Some("Docker Desktop".into());
        assert_eq!(place(&tcp, &info), Place::Desktop);
    }
}
