//! Numbers of descriptors, as C knows them: file descriptors, and sockets on Windows.

use broker::ReadyFd;

use crate::status::Fault;

#[cfg(unix)]
mod system {
    use std::os::fd::{AsRawFd, OwnedFd};

    use super::{Fault, ReadyFd};

    pub(crate) fn of(ready: &ReadyFd) -> Result<i32, Fault> {
        Ok(ready.as_raw_fd())
    }

    pub(crate) fn give(socket: OwnedFd) -> Result<i32, Fault> {
        use std::os::fd::IntoRawFd;
        Ok(socket.into_raw_fd())
    }
}

#[cfg(windows)]
mod system {
    use std::io;
    use std::os::windows::io::{AsRawSocket, IntoRawSocket, OwnedSocket, RawSocket};

    use super::{Fault, ReadyFd};

    pub(crate) fn of(ready: &ReadyFd) -> Result<i32, Fault> {
        number(ready.as_raw_socket())
    }

    pub(crate) fn give(socket: OwnedSocket) -> Result<i32, Fault> {
        let number = number(socket.as_raw_socket())?;
        let _ = socket.into_raw_socket();
        Ok(number)
    }

    /// Handles of Windows have 32 bits that count, so that programs of 32 and 64 bits can share them.
    fn number(socket: RawSocket) -> Result<i32, Fault> {
        let refused = io::Error::from(io::ErrorKind::Unsupported);
        i32::try_from(socket)
            .map_err(|_| Fault::io("the number of the socket is too large", &refused))
    }
}

/// The number of a descriptor that becomes the host's.
pub(crate) use system::give;
/// The number of what to wait for, which stays ours.
pub(crate) use system::of;
