//! TCP and Unix sockets.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use super::Transport;
use crate::outlet::{DirectWrite, Flushed, Outlet, poll_until_writable};

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
                match slices {
                    [one] => self.try_write(one),
                    many => self.try_write_vectored(many),
                }
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
