//! A transport that behaves badly: it cuts bytes anywhere, hesitates, keeps what it was given, breaks
//! off, and alters bytes. MQTT must not notice, as long as no byte is lost.

use std::convert::Infallible;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use fastrand::Rng;
use midge::io::{DirectWrite, Incoming, Listener, Tcp, Transport, Unread};
use midge::{ListenAddr, TcpSettings};
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// Bytes that are kept until they are flushed.
const KEPT: usize = 1024;
/// The longest piece is two to the power of this.
const PIECE: u32 = 12;

/// What a transport does wrong. By default it cuts and hesitates, which must not show.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Faults {
    /// Decides about lengths of pieces and about hesitations.
    pub seed: u64,
    /// Breaks off when so many bytes have been read.
    pub cut_after: Option<u64>,
    /// Alters the byte at this place of the input.
    pub alters: Option<u64>,
}

impl Faults {
    /// Pieces of any length, and hesitations.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            cut_after: None,
            alters: None,
        }
    }
}

/// A transport around another one. Only the task of its connection writes to it.
pub struct Faulty<T: Transport> {
    inner: T,
    unread: Option<Arc<dyn Unread>>,
    faults: Faults,
    rng: Rng,
    /// Bytes read so far.
    read: u64,
    /// Written, and not passed on yet.
    kept: Vec<u8>,
    /// The last call has hesitated.
    hesitated: bool,
}

/// Asks the direct part of a transport that is not written to directly.
struct Asked<D>(Mutex<D>);

impl<D: DirectWrite> Unread for Asked<D> {
    fn has_unread(&self) -> bool {
        self.0.lock().unwrap().has_unread()
    }
}

impl<T: Transport> Faulty<T> {
    /// Lays faults around a transport.
    pub fn new(inner: T, faults: Faults) -> Self {
        Self {
            inner,
            unread: None,
            rng: Rng::with_seed(faults.seed),
            faults,
            read: 0,
            kept: Vec::new(),
            hesitated: false,
        }
    }

    /// Whether this call is put off; the task is woken at once.
    fn hesitates(&mut self, cx: &Context<'_>) -> bool {
        self.hesitated = !self.hesitated && self.rng.u8(..4) == 0;
        if self.hesitated {
            cx.waker().wake_by_ref();
        }
        self.hesitated
    }

    fn piece(&mut self) -> usize {
        1 << self.rng.u32(..=PIECE)
    }

    /// Passes on what is kept, in pieces.
    fn pass_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            if self.hesitates(cx) {
                return Poll::Pending;
            }
            let piece = self.piece().min(self.kept.len());
            let slices = [IoSlice::new(&self.kept[..piece])];
            let written = ready!(self.inner.poll_write(cx, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.kept.drain(..written);
        }
        self.inner.poll_flush(cx)
    }
}

impl<T: Transport> Transport for Faulty<T> {
    type Direct = Infallible;

    fn unread(&self) -> Option<Arc<dyn Unread>> {
        self.unread.clone()
    }

    fn move_to(mut self, runtime: &Handle) -> io::Result<Self> {
        self.inner = self.inner.move_to(runtime)?;
        self.unread = match self.inner.direct() {
            Some(direct) => Some(Arc::new(Asked(Mutex::new(direct)))),
            None => self.inner.unread(),
        };
        Ok(self)
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.hesitates(cx) {
            return Poll::Pending;
        }

        let mut most = self.piece().min(buffer.remaining());
        if let Some(end) = self.faults.cut_after {
            let left = usize::try_from(end - self.read).unwrap_or(usize::MAX);
            if left == 0 {
                return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
            }
            most = most.min(left);
        }

        let mut piece = buffer.take(most);
        ready!(self.inner.poll_read(cx, &mut piece))?;
        let read = piece.filled_mut();
        if let Some(place) = self.faults.alters
            && let Ok(at) = usize::try_from(place.wrapping_sub(self.read))
            && let Some(byte) = read.get_mut(at)
        {
            *byte = !*byte;
        }
        let bytes = read.to_vec();
        self.read += bytes.len() as u64;
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.hesitates(cx) {
            return Poll::Pending;
        }
        if self.kept.len() >= KEPT {
            ready!(self.pass_on(cx))?;
        }

        let most = self.piece();
        let bytes = slices.iter().flat_map(|slice| slice.iter());
        let before = self.kept.len();
        self.kept.extend(bytes.take(most));
        Poll::Ready(Ok(self.kept.len() - before))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pass_on(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_shutdown(cx)
    }
}

/// A TCP listener of a test, whose connections have faults.
pub struct FaultyTcp {
    bound: std::net::TcpListener,
    /// From the first poll on, which is on the broker's runtime.
    listener: Option<TcpListener>,
    faults: Faults,
}

impl FaultyTcp {
    /// On a free port of the loopback interface. Each connection gets the faults, with a seed of its own.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn bind(faults: Faults) -> io::Result<Self> {
        let bound = std::net::TcpListener::bind("127.0.0.1:0")?;
        bound.set_nonblocking(true)?;
        Ok(Self {
            bound,
            listener: None,
            faults,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.bound.local_addr()
    }
}

impl Listener for FaultyTcp {
    type Transport = Faulty<Tcp>;

    fn address(&self) -> Option<ListenAddr> {
        self.local_addr().ok().map(ListenAddr::Tcp)
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Incoming<Faulty<Tcp>>>>> {
        let listener = match &self.listener {
            Some(listener) => listener,
            None => {
                let registered = self.bound.try_clone().and_then(TcpListener::from_std);
                match registered {
                    Ok(listener) => self.listener.insert(listener),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
        };

        let accepted = ready!(listener.poll_accept(cx)).map(|(stream, peer)| {
            self.faults.seed = self.faults.seed.wrapping_add(1);
            let transport = Tcp::new(stream, &TcpSettings::default());
            let transport = Faulty::new(transport, self.faults.clone());
            Incoming::new(transport, peer.to_string())
        });
        Poll::Ready(Some(accepted))
    }
}
