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

    /// The broker's end of a socket pair, on the runtime that has been entered, and the client's, which
    /// blocks.
    pub(crate) fn pair() -> io::Result<(std::os::unix::net::UnixStream, Self)> {
        let (client, broker) = std::os::unix::net::UnixStream::pair()?;
        broker.set_nonblocking(true)?;

        UnixStream::from_std(broker).map(|broker| (client, Self::of(broker)))
    }
}
