//! Transports: anything that reads and writes bytes. Sockets can be written to directly, from any
//! thread; everything else is written by the connection's driver.

mod memory;
mod socket;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncRead;

use crate::outlet::{DirectWrite, Flushed, Outlet};

pub use memory::MemoryStream;
pub(crate) use memory::memory_pair;
pub(crate) use socket::{Tcp, Unix};

/// One connection's bytes, as the driver sees them.
pub(crate) trait Transport: Send + Unpin + 'static {
    /// What reads.
    type Read: AsyncRead + Unpin;
    /// A half that can be written to directly, from any thread.
    fn direct(&self) -> Option<Arc<dyn DirectWrite>>;
    /// The half that is read from.
    fn reader(&mut self) -> &mut Self::Read;
    /// Writes what the outlet has; pending while the transport is full.
    fn poll_flush(&mut self, cx: &mut Context<'_>, outlet: &Arc<Outlet>) -> Poll<Flushed>;
    /// Says that nothing more will be written.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}
