//! What event loops wait for: readable while something waits.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

/// A file descriptor that is readable while it is set: what epoll, poll and other event loops wait for,
/// so that no thread has to. It never blocks, and is closed on exec. A binding sets it when a queue gets
/// something, see [`Subscription::on_ready`](crate::Subscription::on_ready), and clears it when the
/// queue is empty.
///
/// On Windows it is a socket, one of a pair over the loopback interface, which is what `select`,
/// `WSAPoll` and `WSAEventSelect` wait for, and `AsSocket` and `AsRawSocket` stand for `AsFd` and
/// `AsRawFd`. Child processes do not inherit it.
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
    ends: system::Ends,
    is_set: bool,
}

impl ReadyFd {
    /// A descriptor that is not set.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let ends = system::Ends::new()?;
        Ok(Self {
            ends,
            is_set: false,
        })
    }

    /// What becomes readable when eight bytes, a number of one in the order of the machine, are written
    /// to it: for a signal handler, which may call nothing but `write`. [`ReadyFd::clear`] takes that
    /// back. (Unix.)
    #[cfg(unix)]
    pub fn write_end(&self) -> std::os::fd::BorrowedFd<'_> {
        self.ends.write_end()
    }

    /// Makes it readable, from any thread; [`ReadyFd::is_set`] does not know of it.
    pub fn wake(&self) {
        self.ends.wake();
    }

    /// Takes back what has made it readable, as [`ReadyFd::clear`] does, from any thread.
    pub fn drain(&self) {
        self.ends.drain();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn is_readable(ready: &ReadyFd) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(ready, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
    }

    #[cfg(windows)]
    fn is_readable(ready: &ReadyFd) -> bool {
        use std::mem::MaybeUninit;
        let socket = socket2::SockRef::from(ready);
        socket.set_nonblocking(true).unwrap();
        let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
        socket.set_nonblocking(false).unwrap();
        peeked.is_ok()
    }

    /// What is sent on one side of a connection comes soon on the other.
    fn becomes_readable(ready: &ReadyFd) {
        while !is_readable(ready) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_is_readable_while_it_is_set() {
        let mut ready = ReadyFd::new().unwrap();
        assert!(!is_readable(&ready));
        for _ in 0..3 {
            ready.set(true);
            ready.set(true);
            assert!(ready.is_set());
            becomes_readable(&ready);
            ready.set(false);
            ready.set(false);
            assert!(!ready.is_set() && !is_readable(&ready));
        }
    }

    #[test]
    fn what_was_on_its_way_is_taken_back_too() {
        let ready = ReadyFd::new().unwrap();
        for _ in 0..1000 {
            ready.wake();
            ready.wake();
            ready.drain();
            ready.drain();
        }
        assert!(!is_readable(&ready));
    }

    #[test]
    fn a_wake_up_is_cleared_too() {
        let mut ready = ReadyFd::new().unwrap();
        for is_set in [false, true] {
            ready.set(is_set);
            #[cfg(unix)]
            rustix::io::write(ready.write_end(), &1u64.to_ne_bytes()).unwrap();
            ready.wake();
            becomes_readable(&ready);
            ready.clear();
            assert!(!ready.is_set() && !is_readable(&ready));
        }
    }

    #[cfg(unix)]
    #[test]
    fn it_is_closed_on_exec() {
        use std::os::fd::AsFd;
        let ready = ReadyFd::new().unwrap();
        for fd in [ready.as_fd(), ready.write_end()] {
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }
}
