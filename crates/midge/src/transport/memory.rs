//! A connection inside the process, without a socket.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{Transport, Unread};

/// Bytes that one direction of an in-memory connection holds.
const CAPACITY: usize = 64 * 1024;

/// Byte counts of one direction of an in-memory connection, from the client to the broker.
#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    read: AtomicU64,
}

impl Unread for Counts {
    fn has_unread(&self) -> bool {
        self.written.load(Ordering::Acquire) != self.read.load(Ordering::Acquire)
    }
}

impl Counts {
    /// Marks the end of the stream as unread input until the driver reads it.
    fn end(&self) {
        self.written.store(u64::MAX, Ordering::Release);
    }
}

/// The client's end of an in-memory connection: a byte stream that speaks MQTT, on any runtime.
#[derive(Debug)]
pub struct MemoryStream {
    stream: DuplexStream,
    unread: Arc<Counts>,
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.unread.end();
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            (self.unread.written).fetch_add(count as u64, Ordering::Release);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unread.end();
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The broker's end of an in-memory connection.
pub(crate) struct Memory {
    stream: DuplexStream,
    unread: Arc<Counts>,
}

/// Both ends.
pub(crate) fn memory_pair() -> (MemoryStream, Memory) {
    let (client, broker) = tokio::io::duplex(CAPACITY);
    let unread = Arc::<Counts>::default();
    let client = MemoryStream {
        stream: client,
        unread: unread.clone(),
    };
    let broker = Memory {
        stream: broker,
        unread,
    };
    (client, broker)
}

impl Transport for Memory {
    type Direct = Infallible;

    fn unread(&self) -> Option<Arc<dyn Unread>> {
        Some(self.unread.clone())
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);

        let count = buffer.filled().len() - before;
        if count > 0 {
            (self.unread.read).fetch_add(count as u64, Ordering::Release);
        }
        read
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
