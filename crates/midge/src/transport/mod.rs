//! Transports: anything that carries the bytes of one connection. A transport knows nothing of MQTT,
//! nor of the connection that uses it.

mod memory;
mod polled;
mod socket;
mod tcp;
#[cfg(all(unix, feature = "unix"))]
mod unix;

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::runtime::Handle;

pub use memory::MemoryStream;
pub(crate) use memory::memory_pair;
pub(crate) use polled::{Polled, Stream};
pub(crate) use tcp::prepare;
pub use tcp::{Tcp, TcpDirect};
#[cfg(windows)]
pub(crate) use tcp::{loopback, tcp_pair};
#[cfg(all(unix, feature = "unix"))]
pub(crate) use unix::unix_pair;
#[cfg(all(unix, feature = "unix"))]
pub use unix::{Unix, UnixDirect};

/// The bytes of one connection: what a [`Listener`](crate::io::Listener) accepts, or a host gives to
/// [`Broker::attach`](crate::Broker::attach).
///
/// The task of the connection polls it; each method that returns [`Poll::Pending`] has that task woken
/// when it is worth another try. An error ends the connection. No method may call the broker: writing
/// and flushing, here and with the direct part, happen under one lock, so never at the same time. Reading
/// may happen while another thread uses the direct part.
///
/// Speed depends on [`Transport::direct`]: output for a client mostly arises on the threads that publish,
/// and a transport without a direct part has its task woken for each message.
pub trait Transport: Send + Unpin + 'static {
    /// The part that any thread may write to; [`Infallible`] without one.
    type Direct: DirectWrite;

    /// Gives the part that any thread may write to. Called once, before anything is polled. `None`
    /// leaves all writing to the connection's task.
    fn direct(&mut self) -> Option<Self::Direct> {
        None
    }

    /// Gives the knowledge of unread input, for a transport without a direct part. Called once, before
    /// anything is polled. With `None` a client whose input arrives while the broker does not read may
    /// be taken for silent.
    fn unread(&self) -> Option<Arc<dyn Unread>> {
        None
    }

    /// Moves to the runtime that polls it from now on. Called once, before everything else, on another
    /// runtime perhaps. Only a transport that is registered with a runtime has something to do.
    ///
    /// # Errors
    /// It cannot be registered there. The connection is not made then.
    fn move_to(self, runtime: &Handle) -> io::Result<Self>
    where
        Self: Sized,
    {
        let _ = runtime;
        Ok(self)
    }

    /// Reads what there is, as [`tokio::io::AsyncRead`] does: nothing read is the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>)
    -> Poll<io::Result<()>>;

    /// Writes some of the bytes.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Ready when everything that was written has left a transport that keeps some of it, such as an
    /// encrypted record. Called before more is written.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }

    /// Says to the other side that nothing more comes. It is not called again.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// The part of a [`Transport`] that any thread may write to, without waiting. One lock is around all
/// calls, so they must not call the broker. Dropped before the transport, when the connection has ended.
pub trait DirectWrite: Send + 'static {
    /// Writes some of the bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is taken at present: the connection's task goes on with
    /// [`Transport::poll_write`]. Any other error ends the connection.
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// As [`Transport::poll_flush`].
    ///
    /// # Errors
    /// As [`DirectWrite::try_write`].
    fn try_flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether there is unread input, the end of the stream included: something that
    /// [`Transport::poll_read`] gives. A client is not taken for silent for as long as there is, so a
    /// part of an encrypted record, from which nothing can be read yet, does not count.
    fn has_unread(&self) -> bool;
}

/// No transport without a direct part has one of these.
impl DirectWrite for Infallible {
    fn try_write(&mut self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }

    fn has_unread(&self) -> bool {
        match *self {}
    }
}

/// Tells whether a [`Transport`] without a direct part has unread input, the end of the stream included.
/// Asked from any thread.
pub trait Unread: Send + Sync {
    /// As [`DirectWrite::has_unread`].
    fn has_unread(&self) -> bool;
}
