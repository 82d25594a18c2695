//! TCP connections.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use midge_core::TcpSettings;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::{TcpStream, tcp};
use tokio::runtime::Handle;

use super::socket::{has_unread, send, socket_transport};
use super::{DirectWrite, Transport};

/// Bytes that the kernel takes from us and has not sent yet. Unlimited it takes megabytes, which it
/// then sends all at once when a slow client makes room, on whichever processor is at hand: others
/// wait for that. What is on its way is not limited, so that a long way costs no throughput.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_HIGH: u32 = 256 * 1024;

/// Sets the options of a connection that has come in. None is worth losing the connection for.
pub(crate) fn prepare(stream: SockRef<'_>, settings: &TcpSettings) {
    // Coalescing is the broker's own work: never wait for more.
    let _ = stream.set_tcp_nodelay(true);
    // Unlike elsewhere, sockets that were accepted are inherited by child processes.
    #[cfg(windows)]
    let _ = stream.set_no_inherit(true);
    if settings.keepalive_s > 0 {
        let seconds = |seconds: u16| Duration::from_secs(seconds.into());
        let keepalive = TcpKeepalive::new()
            .with_time(seconds(settings.keepalive_s))
            .with_interval(seconds(settings.keepalive_interval_s))
            .with_retries(settings.keepalive_probes.into());
        let _ = stream.set_tcp_keepalive(&keepalive);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = stream.set_tcp_notsent_lowat(UNSENT_HIGH);
}

socket_transport!(
    Tcp,
    TcpDirect,
    TcpStream,
    std::net::TcpStream,
    tcp,
    "TCP socket"
);

impl Tcp {
    /// A connection that has come in, kept as `settings` say. It belongs to the runtime of the stream
    /// until the broker moves it.
    pub fn new(stream: TcpStream, settings: &TcpSettings) -> Self {
        prepare(SockRef::from(&stream), settings);

        Self::of(stream)
    }
}

/// Two sockets that are connected, both blocking, over the loopback interface: for where there are no
/// socket pairs. Child processes do not inherit them.
#[cfg(windows)]
pub(crate) fn loopback() -> io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let first = std::net::TcpStream::connect(listener.local_addr()?)?;
    let expected = first.local_addr()?;

    loop {
        let (second, peer) = listener.accept()?;
        // Another program may have found the port.
        if peer == expected {
            SockRef::from(&second).set_no_inherit(true)?;
            return Ok((first, second));
        }
    }
}

/// The two ends of a connection to itself: the client's, which blocks, and the broker's, which does not.
#[cfg(windows)]
pub(crate) fn tcp_pair() -> io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let (client, broker) = loopback()?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    broker.set_nonblocking(true)?;
    Ok((client, broker))
}

#[cfg(windows)]
impl Tcp {
    /// A socket that does not block, on the runtime that has been entered.
    pub(crate) fn of_std_here(socket: std::net::TcpStream) -> io::Result<Self> {
        TcpStream::from_std(socket).map(Self::of)
    }
}

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
        prepare(SockRef::from(&stream), &TcpSettings::default());
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_HIGH);
    }

    #[tokio::test]
    async fn the_system_asks_whether_the_other_side_is_there_unless_it_is_told_not_to() {
        let (stream, mut settings) = (connection().await.unwrap(), TcpSettings::default());
        settings.keepalive_s = 0;
        prepare(SockRef::from(&stream), &settings);
        let socket = SockRef::from(&stream);
        assert!(!socket.keepalive().unwrap());

        let by_default = TcpSettings::default();
        prepare(SockRef::from(&stream), &by_default);
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
