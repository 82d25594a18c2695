//! Transports: anything that reads and writes bytes. Sockets can be written to directly, from any
//! thread; everything else is written by the connection's driver.

mod memory;
mod socket;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncRead;

pub use memory::MemoryStream;
pub(crate) use memory::{Unread, memory_pair};
pub(crate) use socket::{DirectWrite, Tcp, Unix, prepare_tcp};

/// A new connection: the driver's part, and the part that any thread may use.
pub(crate) type Ends<T> = (T, Shared);

/// The part of a connection that any thread may use.
pub(crate) enum Shared {
    /// A socket, which can be written to directly.
    Direct(DirectWrite),
    /// A stream that only its driver writes to, with counted input.
    Counted(Arc<Unread>),
}

impl Shared {
    /// Whether there is unread input, the end of the stream included.
    pub(crate) fn has_unread(&self) -> bool {
        match self {
            Self::Direct(direct) => direct.has_unread(),
            Self::Counted(unread) => unread.any(),
        }
    }

    /// The half to write to directly.
    pub(crate) fn direct(&self) -> Option<&DirectWrite> {
        match self {
            Self::Direct(direct) => Some(direct),
            Self::Counted(_) => None,
        }
    }
}

/// One connection's bytes, as the driver sees them.
pub(crate) trait Transport: Send + Unpin + 'static {
    /// What reads.
    type Read: AsyncRead + Unpin;
    /// The half that is read from.
    fn reader(&mut self) -> &mut Self::Read;
    /// Writes some of the bytes. Pending while the transport takes no more: the task is woken when it
    /// does.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;
    /// Says that nothing more will be written.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}
