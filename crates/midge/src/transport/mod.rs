//! Transports: anything that reads and writes bytes. Sockets can be written to directly, from any
//! thread; everything else is written by the connection's driver.

mod memory;
mod socket;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncRead;

use crate::outlet::{Flushed, Outlet};

pub use memory::MemoryStream;
pub(crate) use memory::memory_pair;
pub(crate) use socket::{DirectWrite, Tcp, Unix, prepare_tcp};

/// A new connection: what its driver keeps, and the half that anybody may write to directly, on any
/// thread, if it has one.
pub(crate) type Ends<T> = (T, Option<DirectWrite>);

/// One connection's bytes, as the driver sees them.
pub(crate) trait Transport: Send + Unpin + 'static {
    /// What reads.
    type Read: AsyncRead + Unpin;
    /// The half that is read from.
    fn reader(&mut self) -> &mut Self::Read;
    /// Writes what the outlet has; pending while the transport is full.
    fn poll_flush(&mut self, cx: &mut Context<'_>, outlet: &Arc<Outlet>) -> Poll<Flushed>;
    /// Says that nothing more will be written.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}
