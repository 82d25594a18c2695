//! A host that owns the loop: a thread that waits for the descriptor of a broker without threads and its
//! next deadline, as epoll or libuv would, and polls it without waiting.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use midge::{Broker, PollError, ReadyFd, WeakBroker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The loop of a host, until it is dropped. It does not keep its broker running.
pub struct PollingHost {
    end: ReadyFd,
    thread: Option<JoinHandle<()>>,
}

impl PollingHost {
    /// Begins to poll a broker.
    ///
    /// # Errors
    /// It has threads, or there is no descriptor or thread left.
    pub fn start(broker: &Broker) -> io::Result<Self> {
        let fd = broker.poll_fd().map_err(io::Error::other)?;
        let (fd, ready) = (fd.try_clone_to_owned()?, ReadyFd::new()?);
        let ended = ready.as_fd().try_clone_to_owned()?;
        let weak = broker.downgrade();

        let thread = std::thread::Builder::new()
            .name("host-loop".into())
            .spawn(move || run(&weak, &fd, &ended))?;
        Ok(Self {
            end: ready,
            thread: Some(thread),
        })
    }
}

impl Drop for PollingHost {
    fn drop(&mut self) {
        self.end.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(broker: &WeakBroker, fd: &OwnedFd, ended: &OwnedFd) {
    loop {
        let Some(strong) = broker.upgrade() else {
            return;
        };
        let polled = strong.poll(Duration::ZERO);
        let timeout = strong.poll_timeout();
        drop(strong);

        match polled {
            Ok(_) => {}
            // A test that waits polls, too.
            Err(PollError::Busy) => std::thread::yield_now(),
            Err(_) => return,
        }

        let timeout = timeout.ok().flatten().map(|time| Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().cast_signed().into(),
        });
        let mut fds = [
            PollFd::new(fd, PollFlags::IN),
            PollFd::new(ended, PollFlags::IN),
        ];
        let waited = poll(&mut fds, timeout.as_ref());
        let is_over = !fds[1].revents().is_empty();
        if waited.is_ok() && is_over {
            return;
        }
    }
}
