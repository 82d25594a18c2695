//! Sockets of a broker that its host drives: they belong to a reactor, not to a runtime.

use std::io::{self, IoSlice, Read};
use std::sync::Arc;
use std::task::{Context, Poll};

use mio::Interest;
use mio::event::Source;
use socket2::SockRef;
use tokio::io::ReadBuf;

use super::socket::{has_unread, send};
use super::{DirectWrite, Transport};
use crate::reactor::{Direction, Reactor, Registered};

/// A stream socket as the reactor has it.
pub(crate) trait Stream: Source + Send + Sync + 'static {
    /// Tries something that may block, in a way that Windows notices that it would.
    fn attempt<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T>;

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    fn socket(&self) -> SockRef<'_>;
}

macro_rules! stream {
    ($type:ty) => {
        impl Stream for $type {
            fn attempt<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
                self.try_io(attempt)
            }

            fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                let mut stream = self;
                Read::read(&mut stream, buffer)
            }

            fn socket(&self) -> SockRef<'_> {
                SockRef::from(self)
            }
        }
    };
}

stream!(mio::net::TcpStream);
#[cfg(all(unix, feature = "unix"))]
stream!(mio::net::UnixStream);

/// A connection over a socket, which any thread may write to.
pub(crate) struct Polled<S: Stream>(Arc<Registered<S>>);

/// What any thread may write to.
pub(crate) struct PolledDirect<S: Stream>(Arc<Registered<S>>);

impl<S: Stream> Polled<S> {
    /// A socket that does not block.
    ///
    /// # Errors
    /// The reactor cannot take it.
    pub(crate) fn new(stream: S, reactor: &Arc<Reactor>) -> io::Result<Self> {
        let both = Interest::READABLE | Interest::WRITABLE;
        Registered::new(stream, both, reactor).map(|registered| Self(Arc::new(registered)))
    }
}

fn write<S: Stream>(stream: &S, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    stream.attempt(|| send(stream.socket(), slices))
}

impl<S: Stream> Transport for Polled<S> {
    type Direct = PolledDirect<S>;

    fn direct(&mut self) -> Option<PolledDirect<S>> {
        Some(PolledDirect(self.0.clone()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        let read = (self.0).poll_io(Direction::Read, cx, |stream| stream.read(room));

        read.map_ok(|count| buffer.advance(count))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        (self.0).poll_io(Direction::Write, cx, |stream| write(stream, slices))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.io().socket().shutdown(std::net::Shutdown::Write))
    }
}

impl<S: Stream> DirectWrite for PolledDirect<S> {
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (self.0).try_io(Direction::Write, |stream| write(stream, slices))
    }

    fn has_unread(&self) -> bool {
        has_unread(&self.0.io().socket())
    }
}
