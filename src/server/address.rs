//! Where flyball listens: an address of the network, or a unix socket of this machine.

use crate::unix;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Of the network.
    Tcp(SocketAddr),
    /// A unix socket's path.
    Unix(PathBuf),
}

impl Address {
    /// Nobody on another machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().is_loopback(),
            Address::Unix(_) => true,
        }
    }

    /// It is one of the network by which this machine calls itself. A web page can make a browser ask there, under a name of its own; it
    /// cannot at a unix socket.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.is_local() && self.tcp().is_some()
    }

    /// That of the network, if it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// What a client asks, with this scheme.
    #[must_use]
    pub fn url(&self, scheme: &str) -> String {
        match self {
            Address::Tcp(address) => format!("{scheme}://{address}"),
            Address::Unix(path) => format!("{}:{}", unix::SCHEME, path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "{}:{}", unix::SCHEME, path.display()),
        }
    }
}
