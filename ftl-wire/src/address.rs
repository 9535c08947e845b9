//! Where an FTL process listens: `unix:PATH` or `tcp:HOST:PORT`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where somebody listens, as it stands in a boot document.
///
/// ```
/// use ftl_wire::Address;
/// for text in ["unix:/run/ftl/wire", "tcp:127.0.0.1:8893", "tcp:[::1]:8893"] {
///     assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
/// }
/// assert!("tcp:192.0.2.1:8893".parse::<Address>().is_err(), "not on this machine, and there is no TLS");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address; only loopback is dialled or listened on, until TLS is underneath.
    Tcp(SocketAddr),
}

impl Address {
    /// Whether it is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => address.ip().is_loopback(),
        }
    }
}

/// A text that is not an address, or an address that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address: write `unix:PATH` or `tcp:ADDRESS:PORT` with a loopback address")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError(text.to_owned());
        let address = match text.split_once(':').ok_or_else(refused)? {
            ("unix", path) if !path.is_empty() => Self::Unix(path.into()),
            ("tcp", address) => Self::Tcp(address.parse().map_err(|_| refused())?),
            _ => return Err(refused()),
        };
        if address.is_local() { Ok(address) } else { Err(refused()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}
