//! A connection inside the process, without a socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{Ends, Transport};
use crate::outlet::{Flushed, Outlet};

/// Bytes that one direction of an in-memory connection holds.
const CAPACITY: usize = 64 * 1024;

/// The client's end of an in-memory connection: a byte stream that speaks MQTT, on any runtime.
#[derive(Debug)]
pub struct MemoryStream(DuplexStream);

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The broker's end of an in-memory connection.
pub(crate) struct Memory(DuplexStream);

/// Both ends.
pub(crate) fn memory_pair() -> (MemoryStream, Ends<Memory>) {
    let (client, broker) = tokio::io::duplex(CAPACITY);
    (MemoryStream(client), (Memory(broker), None))
}

impl Transport for Memory {
    type Read = DuplexStream;

    fn reader(&mut self) -> &mut DuplexStream {
        &mut self.0
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, outlet: &Arc<Outlet>) -> Poll<Flushed> {
        let flushed = outlet.flush_with(|slices| {
            match Pin::new(&mut self.0).poll_write_vectored(cx, slices) {
                Poll::Ready(result) => result,
                Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match flushed {
            Flushed::Blocked => Poll::Pending,
            flushed => Poll::Ready(flushed),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_flush(cx))?;
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
