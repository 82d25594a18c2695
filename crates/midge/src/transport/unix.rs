//! Connections over Unix sockets.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::{UnixStream, unix};
use tokio::runtime::Handle;

use super::socket::{has_unread, send, socket_transport};
use super::{DirectWrite, Transport};

socket_transport!(
    Unix,
    UnixDirect,
    UnixStream,
    std::os::unix::net::UnixStream,
    unix,
    "Unix socket"
);

impl Unix {
    /// A connection that has come in. It belongs to the runtime of the stream until the broker moves it.
    pub fn new(stream: UnixStream) -> Self {
        Self::of(stream)
    }

    /// A socket that does not block, on the runtime that has been entered.
    pub(crate) fn of_std_here(socket: std::os::unix::net::UnixStream) -> io::Result<Self> {
        UnixStream::from_std(socket).map(Self::of)
    }
}

/// The two ends of a socket pair: the client's, which blocks, and the broker's, which does not.
pub(crate) fn unix_pair() -> io::Result<(
    std::os::unix::net::UnixStream,
    std::os::unix::net::UnixStream,
)> {
    let (client, broker) = std::os::unix::net::UnixStream::pair()?;
    broker.set_nonblocking(true)?;
    Ok((client, broker))
}
