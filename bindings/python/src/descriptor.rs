//! Numbers of descriptors, as Python knows them: file descriptors, and sockets on Windows.

#[cfg(unix)]
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
#[cfg(windows)]
use std::os::windows::io::{AsRawSocket, IntoRawSocket, OwnedSocket};

use midge::ReadyFd;

#[cfg(unix)]
pub(crate) type Number = std::os::fd::RawFd;
#[cfg(windows)]
pub(crate) type Number = std::os::windows::io::RawSocket;

/// What to wait for; it stays the descriptor of `ready`.
#[cfg(unix)]
pub(crate) fn of(ready: &ReadyFd) -> Number {
    ready.as_raw_fd()
}

#[cfg(windows)]
pub(crate) fn of(ready: &ReadyFd) -> Number {
    ready.as_raw_socket()
}

/// A descriptor that becomes Python's.
#[cfg(unix)]
pub(crate) fn give(socket: OwnedFd) -> Number {
    socket.into_raw_fd()
}

#[cfg(windows)]
pub(crate) fn give(socket: OwnedSocket) -> Number {
    socket.into_raw_socket()
}
