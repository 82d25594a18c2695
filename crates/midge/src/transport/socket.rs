//! TCP and Unix sockets.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::runtime::Handle;

use super::{Ends, Transport};
use crate::outlet::{Flushed, Outlet, poll_until_writable};

/// A host publishes on threads of its own, whose signals are its own business: a write to a closed
/// connection must be an error, never a SIGPIPE. The vectored write of the standard library has no
/// such flag, a vectored send has. Apple systems know an option of the socket instead, which the
/// standard library sets.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: libc::c_int = 0;

/// The writing half of a socket.
pub(crate) enum DirectWrite {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

impl DirectWrite {
    /// Writes without waiting.
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => {
                let stream: &TcpStream = half.as_ref();
                stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), slices))
            }
            Self::Unix(half) => {
                let stream: &UnixStream = half.as_ref();
                stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), slices))
            }
        }
    }
}

fn send(socket: SockRef<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match slices {
        [one] => socket.send_with_flags(one, SEND_FLAGS),
        many => socket.send_vectored_with_flags(many, SEND_FLAGS),
    }
}

macro_rules! socket_transport {
    ($name:ident, $stream:ty, $std:ty, $read:ty, $doc:literal) => {
        #[doc = $doc]
        pub(crate) struct $name {
            read: $read,
        }

        impl $name {
            /// A stream of the runtime that this is called on, moved to the runtime `home`.
            pub(crate) fn new(stream: $stream, home: &Handle) -> io::Result<Ends<Self>> {
                if Handle::current().id() == home.id() {
                    return Ok(Self::ends(stream));
                }
                Self::of_std(stream.into_std()?, home)
            }

            /// A socket that does not block, on the runtime `home`.
            pub(crate) fn of_std(socket: $std, home: &Handle) -> io::Result<Ends<Self>> {
                let _entered = home.enter();
                <$stream>::from_std(socket).map(Self::ends)
            }

            fn ends(stream: $stream) -> Ends<Self> {
                let (read, write) = stream.into_split();
                (Self { read }, Some(DirectWrite::$name(write)))
            }
        }

        impl Transport for $name {
            type Read = $read;

            fn reader(&mut self) -> &mut Self::Read {
                &mut self.read
            }

            fn poll_flush(&mut self, cx: &mut Context<'_>, outlet: &Arc<Outlet>) -> Poll<Flushed> {
                let stream: &$stream = self.read.as_ref();
                poll_until_writable(|| stream.poll_write_ready(cx), || outlet.flush_direct())
            }

            fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                let stream: &$stream = self.read.as_ref();
                Poll::Ready(SockRef::from(stream).shutdown(Shutdown::Write))
            }
        }
    };
}

socket_transport!(
    Tcp,
    TcpStream,
    std::net::TcpStream,
    tcp::OwnedReadHalf,
    "A TCP connection."
);
socket_transport!(
    Unix,
    UnixStream,
    std::os::unix::net::UnixStream,
    unix::OwnedReadHalf,
    "A connection over a Unix socket."
);
