//! Where an FTL process listens: `unix:PATH` or `tcp:HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where somebody listens, as it stands in a boot document.
///
/// What is said can be read on the way, so only addresses that do not leave the machine or its private networks are
/// dialled: loopback, private ranges, and the name that a container has for its host.
///
/// ```
/// use ftl_wire::Address;
/// for text in ["unix:/run/ftl/wire", "tcp:127.0.0.1:8893", "tcp:[::1]:8893", "tcp:172.18.0.1:8893", "tcp:host.docker.internal:8893"] {
///     assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
/// }
/// assert!("tcp:192.0.2.1:8893".parse::<Address>().is_err(), "anybody's, and there is no TLS");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address of this machine or of a private network.
    Tcp(SocketAddr),
    /// A name, looked up when it is dialled, and a TCP port.
    Host(String, u16),
}

impl Address {
    /// Whether what is said to it stays on this machine or in a private network, as far as the address tells.
    #[must_use]
    pub fn is_near(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Host(..) => true,
            Self::Tcp(address) => is_near(address.ip()),
        }
    }
}

/// Whether an address is loopback or of a private range.
pub(crate) fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// A text that is not an address, or an address that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address: write `unix:PATH` or `tcp:HOST:PORT` with a host that is on this machine or in a private network"
)]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError(text.to_owned());
        let address = match text.split_once(':').ok_or_else(refused)? {
            ("unix", path) if !path.is_empty() => Self::Unix(path.into()),
            ("tcp", address) => tcp(address).ok_or_else(refused)?,
            _ => return Err(refused()),
        };
        if address.is_near() { Ok(address) } else { Err(refused()) }
    }
}

fn tcp(text: &str) -> Option<Address> {
    if let Ok(address) = text.parse() {
        return Some(Address::Tcp(address));
    }
    let (host, port) = text.rsplit_once(':')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let named =
        !host.is_empty() && host.chars().all(is_name) && host.contains(|c: char| c.is_ascii_alphabetic());
    named.then_some(Address::Host(host.to_owned(), port.parse().ok()?))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Host(host, port) => write!(f, "tcp:{host}:{port}"),
        }
    }
}
