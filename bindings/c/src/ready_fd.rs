//! A file descriptor that is readable while something waits: for epoll, poll, libuv, Qt, GLib.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::process::Uncancelled;

/// Readable while it is set. Never blocks, closed on exec.
#[derive(Debug)]
pub(crate) struct ReadyFd {
    read: File,
    /// `None` if what is read from can be written to as well.
    write: Option<File>,
    set: bool,
}

impl ReadyFd {
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and has no other owner.
        let read = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self {
            read,
            write: None,
            set: false,
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = std::io::pipe()?;
        for fd in [read.as_raw_fd(), write.as_raw_fd()] {
            // SAFETY: a plain system call on a descriptor that is open.
            unsafe {
                let flags = libc::fcntl(fd, libc::F_GETFL);
                libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
            }
        }
        Ok(Self {
            read: File::from(OwnedFd::from(read)),
            write: Some(File::from(OwnedFd::from(write))),
            set: false,
        })
    }

    pub(crate) fn number(&self) -> i32 {
        self.read.as_raw_fd()
    }

    /// What makes it readable when it is written to.
    pub(crate) fn write_end(&self) -> i32 {
        self.write.as_ref().unwrap_or(&self.read).as_raw_fd()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set
    }

    /// Makes it readable, or not.
    pub(crate) fn set(&mut self, ready: bool) {
        if ready == self.set {
            return;
        }
        self.set = ready;
        let _uncancelled = Uncancelled::new();
        // One write of eight bytes, one read of them: neither an eventfd nor an empty pipe blocks.
        if ready {
            let mut write = self.write.as_ref().unwrap_or(&self.read);
            let _ = write.write(&1u64.to_ne_bytes());
        } else {
            self.clear();
        }
    }

    /// Makes it not readable, whatever has written to it.
    pub(crate) fn clear(&mut self) {
        self.set = false;
        let _uncancelled = Uncancelled::new();
        // An eventfd gives everything at once; a pipe as much as there is.
        while (&self.read).read(&mut [0; 8]).is_ok_and(|count| count > 0) {
            if self.write.is_none() {
                break;
            }
        }
    }
}
