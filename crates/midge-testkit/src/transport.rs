//! What a client needs of its byte stream.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A byte stream with a time limit.
pub trait Transport: Read + Write + Send {
    /// Sets the time after which reading or writing fails.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    fn set_deadline(&self, limit: Duration) -> Result<()>;

    /// Ends the direction towards the broker, so that it reads the end of the stream.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    fn end(&self) -> Result<()>;
}

impl Transport for TcpStream {
    fn set_deadline(&self, limit: Duration) -> Result<()> {
        self.set_nodelay(true)?;
        self.set_read_timeout(Some(limit))?;
        self.set_write_timeout(Some(limit))
    }

    fn end(&self) -> Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

#[cfg(unix)]
impl Transport for UnixStream {
    fn set_deadline(&self, limit: Duration) -> Result<()> {
        self.set_read_timeout(Some(limit))?;
        self.set_write_timeout(Some(limit))
    }

    fn end(&self) -> Result<()> {
        self.shutdown(Shutdown::Write)
    }
}
