//! TCP and Unix sockets.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use midge_core::TcpSettings;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::runtime::Handle;

use super::{Ends, Shared, Transport};

/// A host publishes on threads of its own, whose signals are its own business: a write to a closed
/// connection must be an error, never a SIGPIPE. The vectored write of the standard library has no
/// such flag, a vectored send has. Apple systems know an option of the socket instead, which the
/// standard library sets.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: libc::c_int = 0;

/// Bytes that the kernel takes from us and has not sent yet. Unlimited it takes megabytes, which it
/// then sends all at once when a slow client makes room, on whichever processor is at hand: others
/// wait for that. What is on its way is not limited, so that a long way costs no throughput.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_HIGH: u32 = 256 * 1024;

/// Sets the options of a connection that has come in. None is worth losing the connection for.
pub(crate) fn prepare_tcp(stream: &TcpStream, settings: &TcpSettings) {
    // Coalescing is the broker's own work: never wait for more.
    let _ = stream.set_nodelay(true);
    if settings.keepalive_s > 0 {
        let seconds = |seconds: u16| Duration::from_secs(seconds.into());
        let keepalive = TcpKeepalive::new()
            .with_time(seconds(settings.keepalive_s))
            .with_interval(seconds(settings.keepalive_interval_s))
            .with_retries(settings.keepalive_probes.into());
        let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_HIGH);
}

/// The writing half of a socket.
pub(crate) enum DirectWrite {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

impl DirectWrite {
    /// Writes without waiting to a connection that can be written to directly.
    pub(crate) fn try_write_to(direct: Option<&Self>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match direct {
            Some(direct) => direct.try_write(slices),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Whether the socket has unread input, an end of the stream or an error.
    pub(crate) fn has_unread(&self) -> bool {
        let mut first = [MaybeUninit::uninit()];
        let looked = match self {
            Self::Tcp(half) => SockRef::from(half.as_ref() as &TcpStream).peek(&mut first),
            Self::Unix(half) => SockRef::from(half.as_ref() as &UnixStream).peek(&mut first),
        };
        !looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Writes without waiting.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
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
                (Self { read }, Shared::Direct(DirectWrite::$name(write)))
            }
        }

        impl Transport for $name {
            type Read = $read;

            fn reader(&mut self) -> &mut Self::Read {
                &mut self.read
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

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    async fn connection() -> io::Result<TcpStream> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        TcpStream::connect(listener.local_addr()?).await
    }

    #[tokio::test]
    async fn a_connection_sends_at_once_and_keeps_little_in_the_kernel() {
        let stream = connection().await.unwrap();
        prepare_tcp(&stream, &TcpSettings::default());
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_HIGH);
    }

    #[tokio::test]
    async fn the_system_asks_whether_the_other_side_is_there_unless_it_is_told_not_to() {
        let (stream, mut settings) = (connection().await.unwrap(), TcpSettings::default());
        settings.keepalive_s = 0;
        prepare_tcp(&stream, &settings);
        let socket = SockRef::from(&stream);
        assert!(!socket.keepalive().unwrap());

        let by_default = TcpSettings::default();
        prepare_tcp(&stream, &by_default);
        assert!(socket.keepalive().unwrap());
        let seconds = |time: io::Result<Duration>| time.unwrap().as_secs();
        let (time, interval) = (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval());
        assert_eq!(seconds(time), u64::from(by_default.keepalive_s));
        assert_eq!(
            seconds(interval),
            u64::from(by_default.keepalive_interval_s)
        );
        let probes = u32::from(by_default.keepalive_probes);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), probes);
    }
}
