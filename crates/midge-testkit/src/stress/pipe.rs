//! A connection to a whole broker: through a socket pair, or over TCP where there are none.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
#[cfg(not(unix))]
use std::net::TcpStream as Stream;
#[cfg(unix)]
use std::os::unix::net::UnixStream as Stream;

use midge::Broker;

use super::line::{Ended, Line};
use crate::client::DEADLINE;

/// A connection whose IO on the broker's side is done by the broker's threads.
pub(super) struct PipeLine {
    stream: Stream,
    ended: bool,
    /// The broker neither took nor said anything within [`DEADLINE`].
    stuck: bool,
}

impl PipeLine {
    pub(super) fn open(broker: &Broker) -> Option<Self> {
        let stream = open(broker)?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.set_write_timeout(Some(DEADLINE)).ok()?;
        Some(Self {
            stream,
            ended: false,
            stuck: false,
        })
    }

    /// Reads once; whether something came.
    fn read_once(&mut self, into: &mut Vec<u8>, wait: bool) -> bool {
        let mut chunk = [0; 16 * 1024];
        if self.ended || self.stream.set_nonblocking(!wait).is_err() {
            return false;
        }

        let result = self.stream.read(&mut chunk);
        if !wait {
            let _ = self.stream.set_nonblocking(false); // writing waits
        }

        match result {
            Ok(0) => self.ended = true,
            Ok(count) => {
                into.extend_from_slice(&chunk[..count]);
                return true;
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    self.stuck |= wait;
                    self.ended |= wait;
                }
                ErrorKind::Interrupted => {}
                _ => self.ended = true,
            },
        }

        false
    }
}

#[cfg(unix)]
fn open(broker: &Broker) -> Option<Stream> {
    broker.connect_fd().ok().map(Stream::from)
}

#[cfg(not(unix))]
fn open(broker: &Broker) -> Option<Stream> {
    let stream = Stream::connect(broker.addr()?).ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

impl Line for PipeLine {
    fn write(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            self.stuck |= matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        }
    }

    fn work(&mut self) -> bool {
        false
    }

    fn read(&mut self, into: &mut Vec<u8>, wait: bool) -> bool {
        let came = self.read_once(into, wait);
        if came {
            while self.read_once(into, false) {}
        }
        came
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn is_waiting(&self) -> bool {
        false
    }

    fn is_direct(&self) -> bool {
        false
    }

    fn is_stuck(&self) -> bool {
        self.stuck
    }

    fn unread(&self) -> usize {
        0
    }

    fn forget(&mut self, _keep: usize) {}

    fn close(mut self: Box<Self>, into: &mut Vec<u8>, reads: bool) -> Ended {
        if !reads && !self.ended {
            return Ended::Sometime;
        }
        let _ = self.stream.shutdown(Shutdown::Write); // the broker may have closed before
        while !self.ended {
            self.read_once(into, true);
        }
        if self.stuck { Ended::Never } else { Ended::Now }
    }

    fn silent_output(&mut self) -> usize {
        0
    }
}
