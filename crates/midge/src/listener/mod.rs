//! Listeners: where connections come from.

mod address;
mod bind;
mod polled;
mod tcp;
#[cfg(all(unix, feature = "unix"))]
mod unix;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};

use midge_core::TcpSettings;

use crate::transport::Transport;

pub(crate) use bind::{Bound, bind_all};
pub(crate) use polled::PolledPort;
pub(crate) use tcp::TcpPort;
#[cfg(all(unix, feature = "unix"))]
pub(crate) use unix::{SocketFile, UnixSocket};

/// Connections that may wait to be accepted. Systems take less where they have a lower limit.
const BACKLOG: i32 = 4096;

/// Accepts connections. The listeners that the broker has itself, for TCP and Unix sockets, are made with
/// [`ListenerOptions`]; another crate brings its own, such as one that lays TLS around what it accepts:
/// see [`Builder::listener_of`](crate::Builder::listener_of).
///
/// One task accepts for each listener, some connections at a time, and pauses after errors. Limits of
/// the broker are looked at before a connection is served: `limits.connections`,
/// `limits.connect_rate`, and `limits.connect_timeout_ms` until CONNECT, a handshake of the transport
/// included.
pub trait Listener: Send + 'static {
    /// What is accepted.
    type Transport: Transport;

    /// Where it listens, for [`Broker::addrs`](crate::Broker::addrs); `None` if that is no address.
    fn address(&self) -> Option<ListenAddr> {
        None
    }

    /// Accepts a connection; `None` ends the listener. The task is woken when there is one to accept.
    /// It must not wait for a handshake: that belongs into the transport.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Incoming<Self::Transport>>>>;
}

/// A connection that has come in.
#[derive(Debug)]
#[non_exhaustive]
pub struct Incoming<T> {
    /// Its bytes.
    pub transport: T,
    /// The address of the client, for hooks and events.
    pub peer: Arc<str>,
}

impl<T> Incoming<T> {
    /// A connection from `peer`.
    pub fn new(transport: T, peer: impl Into<Arc<str>>) -> Self {
        Self {
            transport,
            peer: peer.into(),
        }
    }
}

/// A listener of the broker's own, with its options.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenerOptions {
    /// The address: `tcp://host:port`, `unix:///path`, `unix:///path?mode=0660`.
    pub address: String,
    /// How TCP connections are kept; those of the broker ([`Config::tcp`](crate::Config)) by default.
    pub tcp: Option<TcpSettings>,
    /// The permissions of a socket's file, in place of those in the address; those of the umask by
    /// default.
    pub mode: Option<u32>,
}

impl ListenerOptions {
    /// Defaults for an address.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            tcp: None,
            mode: None,
        }
    }

    /// Sets how TCP connections are kept.
    #[must_use]
    pub fn tcp(mut self, settings: TcpSettings) -> Self {
        self.tcp = Some(settings);
        self
    }

    /// Sets the permissions of a socket's file.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }
}

impl<A: Into<String>> From<A> for ListenerOptions {
    fn from(address: A) -> Self {
        Self::new(address)
    }
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenAddr {
    /// A TCP address; the port is the real one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "mqtt://{addr}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}
