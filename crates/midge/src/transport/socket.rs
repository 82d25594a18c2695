//! What sockets have in common, whatever their address.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use socket2::SockRef;

/// A host publishes on threads of its own, whose signals are its own business: a write to a closed
/// connection must be an error, never a SIGPIPE. The vectored write of the standard library has no
/// such flag, a vectored send has. Apple systems know an option of the socket instead, which the
/// standard library sets.
#[cfg(all(unix, not(target_vendor = "apple")))]
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
const SEND_FLAGS: i32 = 0;

/// Writes without waiting.
pub(super) fn send(socket: SockRef<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match slices {
        [one] => socket.send_with_flags(one, SEND_FLAGS),
        many => socket.send_vectored_with_flags(many, SEND_FLAGS),
    }
}

/// Whether a socket has unread input, an end of the stream or an error.
pub(super) fn has_unread(socket: &SockRef<'_>) -> bool {
    let mut first = [MaybeUninit::uninit()];
    let looked = socket.peek(&mut first);
    !looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// A transport over a stream of tokio, whose writing half may be used from any thread.
macro_rules! socket_transport {
    ($name:ident, $direct:ident, $stream:ty, $std:ty, $halves:ident, $what:literal) => {
        #[doc = concat!("A connection over a ", $what, ", which any thread may write to.")]
        #[derive(Debug)]
        pub struct $name {
            read: $halves::OwnedReadHalf,
            /// Until the connection takes it.
            write: Option<$halves::OwnedWriteHalf>,
        }

        #[doc = concat!("The half of a [`", stringify!($name), "`] that any thread may write to.")]
        #[derive(Debug)]
        pub struct $direct($halves::OwnedWriteHalf);

        impl $name {
            fn of(stream: $stream) -> Self {
                let (read, write) = stream.into_split();
                let write = Some(write);
                Self { read, write }
            }

            /// A socket that does not block, on the runtime `home`.
            fn of_std(socket: $std, home: &Handle) -> io::Result<Self> {
                let _entered = home.enter();
                <$stream>::from_std(socket).map(Self::of)
            }

            fn into_std(self) -> io::Result<$std> {
                let split = || io::Error::from(io::ErrorKind::InvalidInput);
                let write = self.write.ok_or_else(split)?;
                let whole = self.read.reunite(write).map_err(|_| split())?;
                whole.into_std()
            }
        }

        impl Transport for $name {
            type Direct = $direct;

            fn direct(&mut self) -> Option<$direct> {
                self.write.take().map($direct)
            }

            fn move_to(self, runtime: &Handle) -> io::Result<Self> {
                if Handle::try_current().is_ok_and(|here| here.id() == runtime.id()) {
                    return Ok(self);
                }
                Self::of_std(self.into_std()?, runtime)
            }

            fn poll_read(
                &mut self,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.read).poll_read(cx, buffer)
            }

            fn poll_write(
                &mut self,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let stream: &$stream = self.read.as_ref();
                loop {
                    let sent =
                        stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), slices));
                    match sent {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            ready!(stream.poll_write_ready(cx))?;
                        }
                        result => return Poll::Ready(result),
                    }
                }
            }

            fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                let stream: &$stream = self.read.as_ref();
                Poll::Ready(SockRef::from(stream).shutdown(Shutdown::Write))
            }
        }

        impl DirectWrite for $direct {
            #[inline]
            fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
                let stream: &$stream = self.0.as_ref();
                stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), slices))
            }

            fn has_unread(&self) -> bool {
                let stream: &$stream = self.0.as_ref();
                has_unread(&SockRef::from(stream))
            }
        }
    };
}

pub(super) use socket_transport;
