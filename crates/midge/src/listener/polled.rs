//! Listeners of a broker that its host drives.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mio::Interest;
use mio::event::Source;

use super::{Incoming, ListenAddr, Listener};
use crate::reactor::{Direction, Reactor, Registered};
use crate::transport::{Polled, Stream};

/// A socket that accepts, as the reactor has it.
pub(crate) trait Socket: Source + Send + 'static {
    type Stream: Stream;

    /// The stream, and the address of the client.
    fn accept(&self) -> io::Result<(Self::Stream, Arc<str>)>;
}

impl Socket for mio::net::TcpListener {
    type Stream = mio::net::TcpStream;

    fn accept(&self) -> io::Result<(Self::Stream, Arc<str>)> {
        let (stream, peer) = Self::accept(self)?;
        Ok((stream, peer.to_string().into()))
    }
}

#[cfg(all(unix, feature = "unix"))]
impl Socket for mio::net::UnixListener {
    type Stream = mio::net::UnixStream;

    fn accept(&self) -> io::Result<(Self::Stream, Arc<str>)> {
        let (stream, _) = Self::accept(self)?;
        Ok((stream, "unix".into()))
    }
}

/// Accepts on a socket of the reactor. `K` is kept until then, and dropped before the socket.
pub(crate) struct PolledPort<L: Socket, K> {
    kept: K,
    address: Option<ListenAddr>,
    prepare: fn(&K, &L::Stream),
    socket: Registered<L>,
    reactor: Arc<Reactor>,
}

impl<L: Socket, K> PolledPort<L, K> {
    /// A socket that does not block. `prepare` sets the options of a connection.
    ///
    /// # Errors
    /// The reactor cannot take it.
    pub(crate) fn new(
        socket: L,
        address: Option<ListenAddr>,
        kept: K,
        prepare: fn(&K, &L::Stream),
        reactor: &Arc<Reactor>,
    ) -> io::Result<Self> {
        Ok(Self {
            kept,
            address,
            prepare,
            socket: Registered::new(socket, Interest::READABLE, reactor)?,
            reactor: reactor.clone(),
        })
    }
}

impl<L: Socket, K: Send + 'static> Listener for PolledPort<L, K> {
    type Transport = Polled<L::Stream>;

    fn address(&self) -> Option<ListenAddr> {
        self.address.clone()
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Incoming<Self::Transport>>>> {
        let accepted = ready!((self.socket).poll_io(Direction::Read, cx, Socket::accept));
        let incoming = accepted.and_then(|(stream, peer)| {
            (self.prepare)(&self.kept, &stream);
            let transport = Polled::new(stream, &self.reactor)?;
            Ok(Incoming::new(transport, peer))
        });
        Poll::Ready(Some(incoming))
    }
}
