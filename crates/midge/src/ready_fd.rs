//! A descriptor for event loops: readable while something waits.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A file descriptor that is readable while it is set: what epoll, poll and other event loops wait for,
/// so that no thread has to. It never blocks, and is closed on exec. A binding sets it when a queue gets
/// something, see [`Subscription::on_ready`](crate::Subscription::on_ready), and clears it when the
/// queue is empty.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut ready = midge::ReadyFd::new()?;
/// ready.set(true);
/// assert!(ready.is_set());
/// ready.set(false);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ReadyFd {
    read: OwnedFd,
    /// `None` if the descriptor that is read can be written to as well.
    write: Option<OwnedFd>,
    is_set: bool,
}

impl ReadyFd {
    /// A descriptor that is not set.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let (read, write) = open()?;
        Ok(Self {
            read,
            write,
            is_set: false,
        })
    }

    /// What becomes readable when eight bytes, a number of one in the order of the machine, are written
    /// to it: for a signal handler, which may call nothing but `write`. [`ReadyFd::clear`] takes that
    /// back.
    pub fn write_end(&self) -> BorrowedFd<'_> {
        self.write.as_ref().unwrap_or(&self.read).as_fd()
    }

    /// Makes it readable, from any thread; [`ReadyFd::is_set`] does not know of it.
    pub fn wake(&self) {
        // Neither an eventfd nor a pipe that holds a few bytes is full.
        let _ = rustix::io::write(self.write_end(), &1u64.to_ne_bytes());
    }

    /// Takes back what has made it readable, as [`ReadyFd::clear`] does, from any thread.
    pub fn drain(&self) {
        // An eventfd gives everything at once; a pipe as much as there is room for.
        while rustix::io::read(&self.read, &mut [0; 8]).is_ok_and(|count| count > 0) {
            if self.write.is_none() {
                break;
            }
        }
    }

    /// Whether [`ReadyFd::set`] has made it readable.
    pub fn is_set(&self) -> bool {
        self.is_set
    }

    /// Makes it readable, or not. Costs a system call where that is a change of what the last `set` or
    /// `clear` said: a wake-up by [`ReadyFd::wake`] is taken back by `drain` or `clear` alone.
    pub fn set(&mut self, is_set: bool) {
        match (self.is_set, is_set) {
            (false, true) => {
                self.is_set = true;
                self.wake();
            }
            (true, false) => self.clear(),
            _ => {}
        }
    }

    /// Makes it not readable, also if others have written to its end.
    pub fn clear(&mut self) {
        self.is_set = false;
        self.drain();
    }
}

impl AsFd for ReadyFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

impl AsRawFd for ReadyFd {
    fn as_raw_fd(&self) -> RawFd {
        self.read.as_raw_fd()
    }
}

#[cfg(target_os = "linux")]
fn open() -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    use rustix::event::{EventfdFlags, eventfd};
    let read = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    Ok((read, None))
}

#[cfg(not(target_os = "linux"))]
fn open() -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    let (read, write) = io::pipe()?;
    rustix::io::ioctl_fionbio(&read, true)?;
    rustix::io::ioctl_fionbio(&write, true)?;
    Ok((read.into(), Some(write.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(ready: &ReadyFd) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(ready, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn it_is_readable_while_it_is_set() {
        let mut ready = ReadyFd::new().unwrap();
        assert!(!is_readable(&ready));
        for _ in 0..3 {
            ready.set(true);
            ready.set(true);
            assert!(ready.is_set() && is_readable(&ready));
            ready.set(false);
            ready.set(false);
            assert!(!ready.is_set() && !is_readable(&ready));
        }
    }

    #[test]
    fn what_others_have_written_is_cleared_too() {
        let mut ready = ReadyFd::new().unwrap();
        for is_set in [false, true] {
            ready.set(is_set);
            rustix::io::write(ready.write_end(), &1u64.to_ne_bytes()).unwrap();
            ready.wake();
            assert!(is_readable(&ready));
            ready.clear();
            assert!(!ready.is_set() && !is_readable(&ready));
        }
    }

    #[test]
    fn it_is_closed_on_exec() {
        let ready = ReadyFd::new().unwrap();
        for fd in [ready.as_fd(), ready.write_end()] {
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }
}
