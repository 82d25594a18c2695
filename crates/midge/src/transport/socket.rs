//! TCP and Unix sockets.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use super::Transport;
use crate::outlet::{DirectWrite, Flushed, Outlet, poll_until_writable};

/// A host publishes on threads of its own, whose signals are its own business: a write to a closed
/// connection must be an error, never a SIGPIPE. The vectored write of the standard library has no
/// such flag, a vectored send has. Apple systems know an option of the socket instead, which the
/// standard library sets.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: libc::c_int = 0;

macro_rules! socket_transport {
    ($name:ident, $stream:ty, $read:ty, $write:ty, $doc:literal) => {
        #[doc = $doc]
        pub(crate) struct $name {
            read: $read,
            write: Arc<$write>,
        }

        impl $name {
            pub(crate) fn new(stream: $stream) -> Self {
                let (read, write) = stream.into_split();
                Self {
                    read,
                    write: Arc::new(write),
                }
            }
        }

        impl DirectWrite for $write {
            fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
                let stream: &$stream = self.as_ref();
                stream.try_io(Interest::WRITABLE, || match slices {
                    [one] => SockRef::from(stream).send_with_flags(one, SEND_FLAGS),
                    many => SockRef::from(stream).send_vectored_with_flags(many, SEND_FLAGS),
                })
            }
        }

        impl Transport for $name {
            type Read = $read;

            fn direct(&self) -> Option<Arc<dyn DirectWrite>> {
                Some(self.write.clone())
            }

            fn reader(&mut self) -> &mut Self::Read {
                &mut self.read
            }

            fn poll_flush(&mut self, cx: &mut Context<'_>, outlet: &Arc<Outlet>) -> Poll<Flushed> {
                let stream: &$stream = (*self.write).as_ref();
                poll_until_writable(|| stream.poll_write_ready(cx), || outlet.flush_direct())
            }

            fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                let stream: &$stream = (*self.write).as_ref();
                Poll::Ready(SockRef::from(stream).shutdown(Shutdown::Write))
            }
        }
    };
}

socket_transport!(
    Tcp,
    TcpStream,
    tcp::OwnedReadHalf,
    tcp::OwnedWriteHalf,
    "A TCP connection."
);
socket_transport!(
    Unix,
    UnixStream,
    unix::OwnedReadHalf,
    unix::OwnedWriteHalf,
    "A connection over a Unix socket."
);
