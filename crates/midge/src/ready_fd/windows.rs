//! Two sockets that are connected: event loops of Windows wait for sockets, not for pipes.
//!
//! What is sent arrives a moment later. So that nothing is left on its way when the socket is cleared, at
//! most one byte is there for a wake-up, and clearing waits for it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::windows::io::{AsRawSocket, AsSocket, BorrowedSocket, RawSocket};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::ReadyFd;
use crate::transport::loopback;

/// Bound of the wait for a byte that was sent. The loopback interface needs microseconds.
const ARRIVES: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Ends {
    read: TcpStream,
    write: TcpStream,
    /// Bytes that were sent, or are about to be, and not read: 1 at most, but for those that the system
    /// was late with.
    sent: AtomicU32,
}

impl Ends {
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = loopback()?;
        write.set_nodelay(true)?;
        read.set_read_timeout(Some(ARRIVES))?;
        Ok(Self {
            read,
            write,
            sent: AtomicU32::new(0),
        })
    }

    pub(super) fn wake(&self) {
        let claimed = self.sent.compare_exchange(0, 1, SeqCst, SeqCst).is_ok();
        if claimed && (&self.write).write(&[1]).is_err() {
            self.sent.store(0, SeqCst);
        }
    }

    pub(super) fn drain(&self) {
        let mut left = self.sent.swap(0, SeqCst);
        while left > 0 {
            match (&self.read).read(&mut [0]) {
                Ok(1) => left -= 1,
                // Nothing comes any more.
                Ok(_) => return,
                // Late, or the host does not let it block: the next time takes it.
                Err(_) => {
                    self.sent.fetch_add(left, SeqCst);
                    return;
                }
            }
        }
    }
}

impl AsSocket for ReadyFd {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.ends.read.as_socket()
    }
}

impl AsRawSocket for ReadyFd {
    fn as_raw_socket(&self) -> RawSocket {
        self.ends.read.as_raw_socket()
    }
}
