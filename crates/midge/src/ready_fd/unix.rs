//! An eventfd, or a pipe where there is none.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::ReadyFd;

#[derive(Debug)]
pub(super) struct Ends {
    read: OwnedFd,
    /// `None` if the descriptor that is read can be written to as well.
    write: Option<OwnedFd>,
}

impl Ends {
    #[cfg(target_os = "linux")]
    pub(super) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let read = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { read, write: None })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = io::pipe()?;
        rustix::io::ioctl_fionbio(&read, true)?;
        rustix::io::ioctl_fionbio(&write, true)?;
        Ok(Self {
            read: read.into(),
            write: Some(write.into()),
        })
    }

    pub(super) fn write_end(&self) -> BorrowedFd<'_> {
        self.write.as_ref().unwrap_or(&self.read).as_fd()
    }

    pub(super) fn wake(&self) {
        // Neither an eventfd nor a pipe that holds a few bytes is full.
        let _ = rustix::io::write(self.write_end(), &1u64.to_ne_bytes());
    }

    pub(super) fn drain(&self) {
        // An eventfd gives everything at once; a pipe as much as there is room for.
        while rustix::io::read(&self.read, &mut [0; 8]).is_ok_and(|count| count > 0) {
            if self.write.is_none() {
                break;
            }
        }
    }
}

impl AsFd for ReadyFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ends.read.as_fd()
    }
}

impl AsRawFd for ReadyFd {
    fn as_raw_fd(&self) -> RawFd {
        self.ends.read.as_raw_fd()
    }
}
