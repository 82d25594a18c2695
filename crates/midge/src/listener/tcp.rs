//! TCP.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::task::{Context, Poll, ready};

use midge_core::TcpSettings;
use socket2::{Domain, Protocol, Socket, Type};

use super::{BACKLOG, Incoming, ListenAddr, Listener};
use crate::transport::Tcp;

/// Accepts TCP connections.
pub(crate) struct TcpPort {
    listener: tokio::net::TcpListener,
    settings: TcpSettings,
}

impl TcpPort {
    /// On the runtime that has been entered.
    pub(crate) fn new(listener: TcpListener, settings: TcpSettings) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::from_std(listener)?;

        Ok(Self { listener, settings })
    }
}

impl Listener for TcpPort {
    type Transport = Tcp;

    fn address(&self) -> Option<ListenAddr> {
        self.listener.local_addr().ok().map(ListenAddr::Tcp)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Incoming<Tcp>>>> {
        let accepted = ready!(self.listener.poll_accept(cx));
        let incoming = accepted.map(|(stream, peer)| {
            let transport = Tcp::new(stream, &self.settings);
            Incoming::new(transport, peer.to_string())
        });
        Poll::Ready(Some(incoming))
    }
}

/// The system's number of the error that it has no such family of addresses.
#[cfg(unix)]
const NO_FAMILY: i32 = libc::EAFNOSUPPORT;
#[cfg(not(unix))]
const NO_FAMILY: i32 = 10047; // WSAEAFNOSUPPORT

/// Whether this machine has no such address.
pub(super) fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_FAMILY)
}

/// Binds an address.
pub(super) fn bind(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of an earlier run in TIME-WAIT must not block the port. On Windows they do not, and the
    // option would let another process take it.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
