//! Accepts connections.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};

use super::runtime::Core;
use crate::connection::driver::connect;
use crate::listener::bind::Bound;
use crate::transport::{Tcp, Unix, prepare_tcp};

/// Connections accepted before everybody else gets a turn.
const ACCEPTS: u32 = 16;
/// Pause after an error of accept (no descriptors left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Interval of warnings while accept keeps failing.
const REMINDER: Duration = Duration::from_secs(60);

impl Bound {
    /// Accepts until the broker stops. To be called on the runtime.
    pub(crate) async fn serve(self, core: Arc<Core>) -> io::Result<()> {
        let name: Arc<str> = self.address()?.to_string().into();
        let mut turn = Turn::default();

        match self {
            Self::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                while let Some(accepted) = core.until_closing(listener.accept()).await {
                    let taken = accepted.and_then(|(stream, peer)| {
                        prepare_tcp(&stream, &core.hub.config().tcp);
                        let home = core.runtimes.emptiest();
                        let ends = Tcp::new(stream, &home.runtime)?;
                        connect(&core, home, ends, peer.to_string().into(), name.clone());
                        Ok(())
                    });
                    turn.end(taken, &core, &name).await;
                }
            }
            Self::Unix(file, listener) => {
                let listener = UnixListener::from_std(listener)?;
                // Dropped before the listener, also if this task is aborted.
                let _file = file;
                while let Some(accepted) = core.until_closing(listener.accept()).await {
                    let taken = accepted.and_then(|(stream, _)| {
                        let home = core.runtimes.emptiest();
                        let ends = Unix::new(stream, &home.runtime)?;
                        connect(&core, home, ends, "unix".into(), name.clone());
                        Ok(())
                    });
                    turn.end(taken, &core, &name).await;
                }
            }
        }
        Ok(())
    }
}

/// Gives way now and then, so that many who come at once do not hold up those who are there.
#[derive(Default)]
struct Turn {
    accepted: u32,
    trouble: Trouble,
}

impl Turn {
    async fn end(&mut self, taken: io::Result<()>, core: &Core, name: &str) {
        match taken {
            Ok(()) => {
                if let Some(times) = self.trouble.over() {
                    tracing::warn!(listener = name, times, "accepting again after errors");
                }
                self.accepted = self.accepted.wrapping_add(1);
                if self.accepted.is_multiple_of(ACCEPTS) {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(listener = name, %error, "a connection was gone when it was accepted");
                tokio::task::yield_now().await;
            }
            Err(error) => {
                match self.trouble.again(Instant::now()) {
                    Some(1) => tracing::warn!(listener = name, %error, "accept failed"),
                    Some(times) => {
                        tracing::warn!(listener = name, %error, times, "accept still fails");
                    }
                    None => {}
                }
                core.until_closing(tokio::time::sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
}

/// Whether an error concerns only the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// Coalesces warnings of a repeated error, such as no free descriptor.
#[derive(Default)]
struct Trouble {
    times: u64,
    told: Option<Instant>,
}

impl Trouble {
    /// Counts an error. Returns the count if a warning is due.
    fn again(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        let is_due = (self.told).is_none_or(|told| now.duration_since(told) >= REMINDER);
        is_due.then(|| {
            self.told = Some(now);
            self.times
        })
    }

    /// Ends a series of errors. Returns its count if there was one.
    fn over(&mut self) -> Option<u64> {
        self.told.take()?;
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_goes_on_is_told_seldom_and_with_its_number() {
        let mut trouble = Trouble::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(trouble.over(), None);
        let told: Vec<_> = (0..130).filter_map(|s| trouble.again(at(s))).collect();
        assert_eq!(told, [1, 61, 121]);
        assert_eq!(trouble.over(), Some(130));
        assert_eq!(trouble.over(), None);
        assert_eq!(trouble.again(at(131)), Some(1));
    }

    #[test]
    fn who_hung_up_before_he_was_accepted_is_no_trouble() {
        let of_one = |code| is_of_one_connection(&io::Error::from_raw_os_error(code));
        assert!(of_one(libc::ECONNABORTED) && of_one(libc::EINTR));
        assert!(!of_one(libc::EMFILE) && !of_one(libc::ENFILE) && !of_one(libc::ENOBUFS));
    }
}
